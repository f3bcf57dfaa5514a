//! `tidegate filter bench`, as the authors of filters run it.

use expect_test::expect;
use regex::Regex;
use serde_json::Value;

use super::dev::Crate;
use super::filter_new::succeed;
use super::filter_test::Workshop;

/// A filter that counts to `count` at a request's headers, and has `pages` of memory.
fn counting(count: u32, pages: u32) -> Vec<u8> {
    let text = format!(
        r#"(module
          (memory (export "memory") {pages})
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
          (func (export "proxy_on_context_create") (param i32 i32))
          (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (local $n i32)
            (local.set $n (i32.const {count}))
            (loop $on (br_if $on (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (i32.const 0))
          (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0)))"#
    );
    wat::parse_str(text).expect("it is a module")
}

fn shop(module: &[u8]) -> Workshop {
    let cases = "cases:\n  - {name: one, request: GET /}\n  - {name: two, request: {method: POST, body: abc}}\n  - {name: none, config: x, config_refused: y}\n";
    Workshop::with(module, cases)
}

/// Times are measured for as short as can be: nothing here depends on them.
fn quick<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["bench", "filter.wasm", "--time", "1ms"], arguments].concat()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[test]
fn what_callbacks_cost_is_counted_exactly_and_the_same_in_every_run() {
    let shop = shop(&counting(1000, 2));
    let [first, again] = [(); 2].map(|()| {
        let exit = shop.run(&quick(&["--cases", "cases.yaml", "--format", "json"]));
        assert_eq!((exit.code, &*exit.stderr), (Some(0), ""));
        let mut report = json(&exit.stdout);
        let machine = report["machine"].take();
        assert!(machine["compile_ns"]["median"].as_f64().is_some_and(|time| time > 0.0), "{machine}");
        assert!(machine["start_ns"]["median"].as_f64().is_some_and(|time| time > 0.0), "{machine}");
        for callback in report["callbacks"].as_array_mut().expect("there are some") {
            let times = callback["nanoseconds"].take();
            assert!(times["p10"].as_f64() <= times["median"].as_f64(), "{times}");
            assert!(times["median"].as_f64() <= times["p90"].as_f64(), "{times}");
            assert!(times["median"].as_f64().is_some_and(|time| time > 0.0), "{times}");
        }
        report
    });
    assert_eq!(first, again);
    expect![[r#"
        {
          "version": 1,
          "module": "filter.wasm",
          "size_bytes": 255,
          "memory_bytes": {
            "start": 131072,
            "end": 131072
          },
          "start_instructions": 1,
          "requests": [
            {
              "name": "one",
              "count": 1
            },
            {
              "name": "two",
              "count": 1
            }
          ],
          "callbacks": [
            {
              "name": "proxy_on_context_create",
              "requests": 2,
              "calls": 2,
              "instructions": {
                "median": 1,
                "max": 1
              },
              "nanoseconds": null
            },
            {
              "name": "proxy_on_request_headers",
              "requests": 2,
              "calls": 2,
              "instructions": {
                "median": 5004,
                "max": 5004
              },
              "nanoseconds": null
            },
            {
              "name": "proxy_on_request_body",
              "requests": 1,
              "calls": 1,
              "instructions": {
                "median": 2,
                "max": 2
              },
              "nanoseconds": null
            },
            {
              "name": "all",
              "requests": 2,
              "calls": 5,
              "instructions": {
                "median": 5005,
                "max": 5007
              },
              "nanoseconds": null
            }
          ],
          "machine": null
        }"#]]
    .assert_eq(&format!("{first:#}"));
}

#[test]
fn people_read_the_same_as_a_table() {
    let exit = shop(&counting(1000, 2)).run(&quick(&["--cases", "cases.yaml"]));
    let varies = r"\d[\d,.]* (ns|µs|ms)( +| *–|\)|–)?|of \d[\d,]* requests";
    let text = Regex::new(varies).expect("it is one").replace_all(&exit.stdout, "# ");
    let text = text.lines().filter(|line| !line.starts_with("this is an unoptimised")).map(str::trim_end);
    let text = text.collect::<Vec<_>>();
    let spaces = Regex::new(" +").expect("it is one");
    expect![[r#"
        filter.wasm: 255 bytes
         compiles in # , starts in # (# # and 1 instructions
         memory: 128 KiB after its start, 128 KiB at most after a script

        for one request of 2; times are # , # of each call are for reading the clock

        callback calls instructions most time p10–p90
        proxy_on_context_create 1 1 1 # # #
        proxy_on_request_headers 1 5,004 5,004 # # #
        proxy_on_request_body 1 2 2 # # #
        a request 2.5 5,005 5,007 # # #
    "#]]
    .assert_eq(&spaces.replace_all(&text.join("\n"), " "));
}

#[test]
fn without_cases_a_few_plain_requests_are_sent() {
    let exit = shop(&counting(10, 2)).run(&quick(&["--format", "json"]));
    let report = json(&exit.stdout);
    let names: Vec<_> = report["requests"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["GET", "POST of 1 KiB", "POST of 64 KiB"]);
    assert_eq!(report["callbacks"][2]["requests"], 2, "{report}");
}

#[test]
fn a_module_that_has_not_changed_holds_against_its_baseline() {
    let shop = shop(&counting(1000, 2));
    assert_eq!(shop.run(&quick(&["--save", "base.json"])).code, Some(0));
    assert_eq!(json(&shop.read("base.json"))["version"], 1);
    let exit = shop.run(&quick(&["--baseline", "base.json", "--tolerance", "0"]));
    assert_eq!(exit.code, Some(0), "{}", exit.stdout);
    assert!(exit.stdout.ends_with("\n✓ nothing has changed since base.json"), "{}", exit.stdout);
}

#[test]
fn what_has_grown_beyond_the_tolerance_fails_and_what_has_shrunk_does_not() {
    let shop = shop(&counting(1000, 2));
    shop.run(&quick(&["--save", "base.json"]));
    let compared = |module: &[u8], more: &[&str]| {
        shop.write("filter.wasm", module);
        let exit = shop.run(&quick(&[&["--baseline", "base.json"], more].concat()));
        let (_, said) = exit.stdout.split_once("\nsince base.json").expect("it is said");
        (exit.code, said.to_owned())
    };
    let (code, said) = compared(&counting(1100, 3), &[]);
    assert_eq!(code, Some(1));
    expect![[r#"
        , of which 1 % more are let pass:
          ✗ memory after start: 196,608, was 131,072 (+50.0 %)
          ✗ memory at the end: 196,608, was 131,072 (+50.0 %)
          ✗ proxy_on_request_headers, median of instructions: 5,504, was 5,004 (+10.0 %)
          ✗ proxy_on_request_headers, most instructions: 5,504, was 5,004 (+10.0 %)
          ✗ a request, median of instructions: 5,507, was 5,007 (+10.0 %)
          ✗ a request, most instructions: 5,507, was 5,007 (+10.0 %)"#]]
    .assert_eq(&said);
    assert_eq!(compared(&counting(1100, 2), &["--tolerance", "11%"]).0, Some(0));
    let (code, said) = compared(&counting(900, 2), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("  ✓ proxy_on_request_headers, most instructions: "), "{said}");
    let exit = shop.run(&quick(&["--baseline", "base.json", "--format", "json"]));
    let report = json(&exit.stdout);
    assert_eq!(report["baseline"]["holds"], true);
    assert!(report["baseline"]["changes"][0]["growth"].as_f64().is_some_and(|growth| growth < 0.0));
}

#[test]
fn two_modules_are_measured_in_turn_and_held_against_each_other() {
    let shop = shop(&counting(3000, 2));
    shop.write("old.wasm", counting(1000, 2));
    let exit = shop.run(&quick(&["--against", "old.wasm"]));
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""));
    let (_, said) = exit.stdout.split_once("filter.wasm in times of old.wasm\n").expect("it is said");
    assert!(said.contains("\nproxy_on_request_headers                      3.00 "), "{said}");
    let exit = shop.run(&quick(&["--against", "old.wasm", "--format", "json"]));
    assert_eq!(json(&exit.stdout)["against"]["module"], "old.wasm");
}

#[test]
fn whoever_cannot_be_served_is_told_what_to_do() {
    let shop = shop(&counting(10, 2));
    shop.run(&quick(&["--save", "base.json"]));
    shop.write("other.json", shop.read("base.json").replace("\"version\": 1", "\"version\": 2"));
    shop.write("text.json", "text");
    shop.write("refusals.yaml", "cases: [{name: a, config_refused: b}]");
    let mut text = String::new();
    for arguments in [
        &["--cases", "cases.yaml", "--baseline", "base.json"][..],
        &["--baseline", "other.json"],
        &["--baseline", "text.json"],
        &["--baseline", "none.json"],
        &["--cases", "refusals.yaml"],
        &["--save", "no/such/folder.json"],
    ] {
        let exit = shop.run(&quick(arguments));
        assert_eq!((exit.code, &*exit.stdout), (Some(1), ""), "{arguments:?}");
        text.push_str(&format!("{}\n{}\n\n", arguments.join(" "), exit.stderr));
    }
    expect![[r#"
        --cases cases.yaml --baseline base.json
        error: the baseline is of other requests: it has `GET` (1), `POST of 1 KiB` (1), `POST of 64 KiB` (1), and these are `one` (1), `two` (1); measure the same, or write a new one with --save

        --baseline other.json
        error: other.json is of version 2, and this tidegate reads 1: write it anew with --save

        --baseline text.json
        error: text.json is no baseline: `--save` writes one: expected ident at line 1 column 2

        --baseline none.json
        error: none.json cannot be read: No such file or directory (os error 2); `--save` writes one

        --cases refusals.yaml
        error: the cases send no request: leave --cases out to send a few plain ones

        --save no/such/folder.json
        error: cannot write no/such/folder.json: No such file or directory (os error 2)

    "#]].assert_eq(&text);
}

#[test]
fn a_filter_that_fails_is_not_measured() {
    let panicking = std::fs::read(guests::module("sdk")).expect("it was built");
    let cases = "cases: [{name: it panics, request: {headers: {x-do: panic}}}]";
    let exit = Workshop::with(&panicking, cases).run(&quick(&["--cases", "cases.yaml"]));
    assert_eq!((exit.code, &*exit.stdout), (Some(1), ""));
    let says = "error: the filter failed in `it panics`: trap fault in proxy_on_request_headers";
    assert!(exit.stderr.starts_with(says), "{}", exit.stderr);
    assert!(exit.stderr.ends_with("`tidegate filter test` with these cases shows more"), "{}", exit.stderr);
}

#[test]
fn of_a_crate_what_ships_is_measured_and_lies_there_afterwards() {
    let shop = Crate::new();
    let files = ["shop.wasm", "shop.debug.wasm"].map(|name| shop.path("target/wasm/modules").join(name));
    let sizes = || files.clone().map(|file| std::fs::metadata(file).map_or(0, |file| file.len()));
    let [module, debug] = sizes();
    assert!(0 < module && module < debug, "{module} {debug}");
    let bench = ["filter", "bench", "--profile", "dev", "--time", "1ms", "--format", "json"];
    let report = json(&succeed(&shop.path(""), &bench));
    assert_eq!(report["size_bytes"], module);
    succeed(&shop.path(""), &["filter", "test", "--profile", "dev"]);
    assert_eq!(sizes(), [module, debug]);
}
