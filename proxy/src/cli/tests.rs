//! The command line as its users see it: help texts and what is refused.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use expect_test::{Expect, expect};

use super::voice::describe;
use super::{Command, CommandLine};

/// The long help of a command, by its name; of all with none.
fn help(name: Option<&str>) -> String {
    let mut command = CommandLine::command().term_width(100);
    command.build();
    let text = match name {
        None => command.render_long_help(),
        Some(name) => command.find_subcommand_mut(name).expect("a command").render_long_help(),
    };
    // Where clap fills lines up, trailing blanks are left.
    text.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn check_help(name: Option<&str>, expected: Expect) {
    expected.assert_eq(&help(name));
}

#[test]
fn the_help_says_what_can_be_done() {
    check_help(
        None,
        expect![[r#"
            A programmable proxy for service-to-service traffic: every request passes through a chain of
            WebAssembly filters

            Usage: tidegate [OPTIONS] <COMMAND>

            Commands:
              run          Serve traffic until SIGTERM or SIGINT, then drain
              check        Check a configuration as `run` would, and serve nothing
              top          Show what the filters of a running proxy cost, live
              canary       Show and steer the second versions of a running proxy's filters
              dev          Develop a filter: build, serve, watch, swap, and show what it does to each request
              schema       Print the JSON Schema of the configuration
              filter       Make, build, test, measure, inspect, sign, record and replay filters
              completions  Print what a shell needs to complete this command line
              man          Print a manual page, or write all of them into a folder
              help         Print this message or the help of the given subcommand(s)

            Options:
              -h, --help
                      Print help (see a summary with '-h')

              -V, --version
                      Print version

            Logging:
                  --log-level <LEVEL>
                      Least level that is logged

                      In its place, the environment variable TIDEGATE_LOG takes levels by module, such as
                      `warn,tidegate::wasm=debug`. The default is info for `run` and warn for `check`.

                      [possible values: off, error, warn, info, debug, trace]

                  --log-format <FORMAT>
                      How the log is written to stderr

                      With json, `run` says in it too what is wrong with its configuration, and what is likely
                      not meant.

                      Possible values:
                      - text: For people
                      - json: One JSON object a line

                      [default: text]

            Examples:
              tidegate check tidegate.yaml              is it valid, and do its filters start?
              tidegate run tidegate.yaml                serve until SIGTERM, then drain
              tidegate top                              what do its filters cost, now?
              tidegate canary list                      how do filters' second versions do?
              tidegate schema > tidegate.schema.json    for editors
              tidegate dev                              what does the filter do that is being written here?
              tidegate filter new my-filter             a filter of one's own, which builds and runs
              tidegate filter inspect filter.wasm       what is in it, and will it load?
              tidegate filter sign --key private.pem filter.wasm
              TIDEGATE_LOG=info,tidegate::wasm=debug tidegate run tidegate.yaml

            Next: tidegate check tidegate.yaml, or for a filter of your own: tidegate filter new my-filter
        "#]],
    );
}

#[test]
fn the_help_of_run_says_how() {
    check_help(
        Some("run"),
        expect![[r#"
            Serve traffic until SIGTERM or SIGINT, then drain

            Starts as a whole or not at all: with a configuration that is not valid, a port in use or a filter
            that does not start it says so and ends with 1. When the file or a module changes, and at SIGHUP, it
            reads them again; what cannot be served then changes nothing.

            Usage: tidegate run [OPTIONS] <FILE>

            Arguments:
              <FILE>
                      The configuration, in YAML

            Options:
                  --workers <N>
                      Worker threads, instead of the configuration's `workers` [default there: one per core]

                  --no-watch
                      Leave changed files alone until SIGHUP, or POST /reload on the admin listener

              -h, --help
                      Print help (see a summary with '-h')

            Logging:
                  --log-level <LEVEL>
                      Least level that is logged

                      In its place, the environment variable TIDEGATE_LOG takes levels by module, such as
                      `warn,tidegate::wasm=debug`. The default is info for `run` and warn for `check`.

                      [possible values: off, error, warn, info, debug, trace]

                  --log-format <FORMAT>
                      How the log is written to stderr

                      With json, `run` says in it too what is wrong with its configuration, and what is likely
                      not meant.

                      Possible values:
                      - text: For people
                      - json: One JSON object a line

                      [default: text]

            Examples:
              tidegate run tidegate.yaml
              tidegate run tidegate.yaml --workers 2

            Next: tidegate top
        "#]],
    );
}

#[test]
fn the_help_of_check_says_how() {
    check_help(
        Some("check"),
        expect![[r#"
            Check a configuration as `run` would, and serve nothing

            Fetches, compiles, starts and configures every filter too, and shows what each asks for in its
            manifest beside what its `capabilities` grant. Ends with 0 if `run` would start with all of it, with
            1 and every problem with its place in the file otherwise. What is allowed but likely not meant is a
            warning, and lets it end with 0.

            Usage: tidegate check [OPTIONS] <FILE>

            Arguments:
              <FILE>
                      The configuration, in YAML; `-` for standard input, where relative paths begin in the
                      current folder

            Options:
                  --deny-warnings
                      End with 1 where there are warnings, those about `capabilities` among them

              -h, --help
                      Print help (see a summary with '-h')

            Logging:
                  --log-level <LEVEL>
                      Least level that is logged

                      In its place, the environment variable TIDEGATE_LOG takes levels by module, such as
                      `warn,tidegate::wasm=debug`. The default is info for `run` and warn for `check`.

                      [possible values: off, error, warn, info, debug, trace]

                  --log-format <FORMAT>
                      How the log is written to stderr

                      With json, `run` says in it too what is wrong with its configuration, and what is likely
                      not meant.

                      Possible values:
                      - text: For people
                      - json: One JSON object a line

                      [default: text]

            Examples:
              tidegate check tidegate.yaml && systemctl restart tidegate
              envsubst < tidegate.yaml.in | tidegate check --deny-warnings -

            Next: tidegate run tidegate.yaml
        "#]],
    );
}

#[test]
fn the_help_of_schema_says_how() {
    check_help(
        Some("schema"),
        expect![[r#"
            Print the JSON Schema of the configuration

            Usage: tidegate schema [OPTIONS]

            Options:
              -h, --help
                      Print help (see a summary with '-h')

            Logging:
                  --log-level <LEVEL>
                      Least level that is logged

                      In its place, the environment variable TIDEGATE_LOG takes levels by module, such as
                      `warn,tidegate::wasm=debug`. The default is info for `run` and warn for `check`.

                      [possible values: off, error, warn, info, debug, trace]

                  --log-format <FORMAT>
                      How the log is written to stderr

                      With json, `run` says in it too what is wrong with its configuration, and what is likely
                      not meant.

                      Possible values:
                      - text: For people
                      - json: One JSON object a line

                      [default: text]

            Examples:
              tidegate schema > tidegate.schema.json

            Next: put `# yaml-language-server: $schema=tidegate.schema.json` at the top of a configuration
        "#]],
    );
}

/// Every command with its words, those that have commands of their own too.
fn walk(command: &clap::Command, words: &[String], visit: &mut impl FnMut(&[String], &clap::Command)) {
    visit(words, command);
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        walk(below, &[words, &[below.get_name().to_owned()]].concat(), visit);
    }
}

/// The command lines of an example: what is behind it, or said about it, is not one.
fn command_lines(line: &str) -> Vec<Vec<String>> {
    let parts = line.split(['|', '>', ';']).flat_map(|part| part.split("&&"));
    let of_tidegate = parts.filter_map(|part| {
        let part = part.trim().trim_start_matches("source <(");
        let part = part.split("  ").next().unwrap_or(part).trim_end_matches(')');
        let words = part.split(' ').skip_while(|word| word.contains('=')).map(str::to_owned);
        Some(words.collect::<Vec<_>>()).filter(|words| words.first().is_some_and(|word| word == "tidegate"))
    });
    of_tidegate.collect()
}

#[cfg(feature = "kit")]
#[test]
fn every_help_text_has_examples_of_its_command_that_are_command_lines_and_says_what_comes_next() {
    let mut seen = 0;
    let mut root = CommandLine::command();
    root.build();
    walk(&root, &["tidegate".to_owned()], &mut |words, command| {
        let name = words.join(" ");
        let text = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
        let (examples, next) = text.split_once("\n\nNext: ").unwrap_or_else(|| panic!("{name} has no next"));
        let (heading, examples) = examples.split_once('\n').unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(["Example:", "Examples:"].contains(&heading), "{name}: {heading}");
        assert!(!next.trim().is_empty() && !next.contains('\n'), "{name}: {next}");
        let mut are_its = 0;
        for line in examples.lines() {
            assert!(line.starts_with("  "), "{name}: {line}");
            for words_of_example in command_lines(line) {
                if let Err(error) = CommandLine::try_parse_from(&words_of_example) {
                    panic!("{line}: {error}");
                }
                are_its += usize::from(words_of_example.starts_with(words));
            }
        }
        assert!(are_its > 0, "{name} has no example of itself: {examples}");
        seen += 1;
    });
    assert!(seen > 15, "{seen}");
}

fn parse(line: &str) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    CommandLine::command().debug_assert();
}

#[test]
fn workers_are_between_one_and_a_bound() {
    let Ok(CommandLine { command: Command::Run(run), .. }) = parse("tidegate run f.yaml --workers 2") else {
        panic!("it is allowed");
    };
    assert_eq!(run.workers, Some(2));
    for refused in ["0", "1025", "-1", "many"] {
        parse(&format!("tidegate run f.yaml --workers={refused}")).expect_err(refused);
    }
}

#[test]
fn top_takes_an_address_however_it_is_copied_and_an_interval_within_its_range() {
    for taken in
        ["--admin 10.0.0.1:9901", "--admin http://localhost:9901/", "--admin [::1]:1", "--interval 100ms"]
    {
        parse(&format!("tidegate top {taken}")).expect(taken);
    }
    for refused in
        ["--admin 9901", "--admin :9901", "--admin a:b", "--interval 99ms", "--interval 5", "--interval 2h"]
    {
        parse(&format!("tidegate top {refused}")).expect_err(refused);
    }
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    for line in ["tidegate run", "tidegate serve f.yaml", "tidegate run f.yaml --log-level loud", "tidegate"]
    {
        assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
    }
    let version = parse("tidegate --version").expect_err("it prints and ends");
    assert_eq!((version.kind(), version.exit_code()), (ErrorKind::DisplayVersion, 0));
}

#[test]
fn logging_is_asked_for_before_or_after_the_command() {
    parse("tidegate --log-level debug run f.yaml").expect("before");
    parse("tidegate run f.yaml --log-level debug --log-format json").expect("after");
}

#[test]
fn an_error_is_one_line_with_its_causes() {
    let error = anyhow::anyhow!("permission denied").context("127.0.0.1:80 cannot be bound");
    assert_eq!(describe(&error, false), "error: 127.0.0.1:80 cannot be bound: permission denied");
}
