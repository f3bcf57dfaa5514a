//! What the page on testing shows: its cases do what it says of them, what it shows of the command is what the command
//! prints, and its tables have every field.
//!
//! A block marked `yaml,cases NAME` is a whole file of cases that pass on that filter, one marked `yaml,fails NAME` of cases of
//! which some fail; its first line may name it, as a comment, and otherwise it is `cases.yaml`. A command in a block marked `console` is
//! run where they are; numbers may differ, as they do from one compiler to the next.

use std::path::Path;
use std::process::{Command, Output};

use regex::Regex;
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/src/testing-filters.md");

/// A block of the page: how it is marked, and what is in it.
fn blocks() -> Vec<(&'static str, String)> {
    let mut blocks = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(mark) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((mark, block.join("\n") + "\n"));
        }
    }
    blocks
}

fn tidegate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(folder).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it is text")
}

/// Without numbers and their units, and with one space for several: what is left does not depend on compilers or machines.
fn plain(text: &str) -> String {
    let number = Regex::new(r"\d[\d,.]*( (ns|µs|ms)\b)?").expect("it is one");
    let spaces = Regex::new(" +").expect("it is one");
    let lines = text.lines().filter(|line| !line.starts_with("this is an unoptimised build"));
    let lines =
        lines.map(|line| spaces.replace_all(&number.replace_all(line, "#"), " ").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[test]
fn every_sample_of_the_page_does_what_the_page_says_of_it() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (mut samples, mut commands) = (0, 0);
    for (mark, block) in blocks() {
        let (passes, module) = match mark.split_once(' ') {
            Some(("yaml,cases", module)) => (true, module),
            Some(("yaml,fails", module)) => (false, module),
            _ if mark == "console" => {
                let (command, shown) = block.split_once('\n').expect("its output follows");
                let arguments: Vec<&str> = command.trim_start_matches("$ tidegate ").split(' ').collect();
                let more: &[&str] = if arguments[1] == "bench" { &["--time", "1ms"] } else { &[] };
                let said = text(&tidegate(folder.path(), &[&arguments[..], more].concat()).stdout);
                assert_eq!(plain(shown), plain(&said), "{command}");
                commands += 1;
                continue;
            }
            _ => continue,
        };
        let name = block.lines().next().and_then(|line| line.strip_prefix("# "));
        let name = name.filter(|name| name.ends_with(".yaml")).unwrap_or("cases.yaml");
        std::fs::write(folder.path().join(name), &block).expect("a file can be written");
        let output = tidegate(folder.path(), &["filter", "test", module, name]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.success(), passes, "{block}\n{said}");
        samples += 1;
    }
    assert!(samples >= 8 && commands >= 3, "the samples of the page were not found");
}

/// The fields of a document and of everything in it.
fn fields(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            found.push(name.clone());
            fields(value, found);
        }),
        Value::Array(list) => list.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn the_page_names_every_field_of_both_commands_json() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).expect("a file can be written");
    };
    write(
        "cases.yaml",
        "config: {rate: 1/s}\ncases: [{name: a, request: GET /, expect: {outcome: replied}}]\n",
    );
    let json = |arguments: &[&str]| -> Value {
        let output = tidegate(folder.path(), &[&["filter"], arguments, &["--format", "json"]].concat());
        serde_json::from_slice(&output.stdout).expect("it is JSON")
    };
    let bench = ["bench", "builtin:rate-limit", "--cases", "cases.yaml", "--time", "1ms"];
    let mut base = json(&bench);
    base["size_bytes"] = 1.into();
    write("base.json", &base.to_string());
    let compared = [&bench[..], &["--baseline", "base.json", "--against", "builtin:rate-limit"]].concat();
    let (_, after) = PAGE.split_once("### As JSON").expect("it has that part");
    let (test, bench) = after.split_once("### As JSON").expect("and another");
    for (document, part) in
        [(json(&["test", "builtin:rate-limit", "cases.yaml"]), test), (json(&compared), bench)]
    {
        let mut names = Vec::new();
        fields(&document, &mut names);
        assert!(names.len() > 15, "{document}");
        for name in names {
            assert!(part.contains(&format!("`{name}`")), "the page does not say what `{name}` is");
        }
    }
}

#[test]
fn the_page_names_everything_that_can_be_expected() {
    let schema = tidegate::cases::schema();
    let expected = schema["$defs"]["Expect"]["properties"].as_object().expect("it is a structure");
    for (field, _) in expected {
        assert!(
            PAGE.contains(&format!("| `{field}`")) || PAGE.contains(&format!(", `{field}` |")),
            "{field}"
        );
    }
}
