//! What filters are configured with may be in files.

use std::fs;
use std::path::Path;

use expect_test::expect;
use tempfile::TempDir;

use super::super::{Loaded, Problems, effective, parse};
use super::with_filter;

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// Parses a configuration with one filter, which is configured like this, in a folder.
fn parsed(folder: &Path, config: &str) -> Result<Loaded, Problems> {
    parse(&with_filter(&format!("    module: builtin:x\n    {config}\n")), &folder.join("tidegate.yaml"))
}

/// What the guest reads, and what is shown of it.
fn given(folder: &TempDir, config: &str) -> (String, String) {
    let config = parsed(folder.path(), config).unwrap_or_else(|problems| panic!("{problems}")).config;
    let read = String::from_utf8(config.filters[0].config.to_vec()).unwrap();
    let shown = effective(&config)["filters"]["f"]["config"].to_string();
    (read, shown.replace(&format!("{}/", folder.path().display()), ""))
}

fn problems(folder: &TempDir, config: &str) -> String {
    let problems = parsed(folder.path(), config).expect_err("this is wrong").render(false);
    problems.replace(&format!("{}/", folder.path().display()), "") + "\n"
}

#[test]
fn the_text_of_a_file_stands_where_it_is_named() {
    let folder =
        folder(&[("jwks.json", b"{\"keys\": []}\n"), ("users", "ann:é\n".as_bytes()), ("empty", b"")]);
    let config =
        "config: {b: {keys: {from_file: ./jwks.json}}, a: [1, {from_file: users}, x], c: {from_file: empty}}";
    let (read, shown) = given(&folder, config);
    assert_eq!(read, r#"{"b":{"keys":"{\"keys\": []}\n"},"a":[1,"ann:é\n","x"],"c":""}"#);
    assert_eq!(
        shown,
        r#"{"b":{"keys":{"from_file":"./jwks.json"}},"a":[1,{"from_file":"users"},"x"],"c":{"from_file":"empty"}}"#
    );
}

#[test]
fn a_whole_configuration_may_be_a_file() {
    let folder = folder(&[("policy.json", b"{\"deny\": true}")]);
    let (read, shown) = given(&folder, "config: {from_file: policy.json}");
    assert_eq!(read, r#"{"deny": true}"#);
    assert_eq!(shown, r#"{"from_file":"policy.json"}"#);
}

#[test]
fn a_mapping_with_other_keys_beside_it_is_no_file() {
    let folder = folder(&[]);
    let (read, shown) = given(&folder, "config: {from_file: a, to_file: b}");
    assert_eq!(read, r#"{"from_file":"a","to_file":"b"}"#);
    assert_eq!(shown, read);
}

#[test]
fn an_absolute_path_is_taken_as_it_is() {
    let folder = folder(&[("key", b"secret")]);
    let path = folder.path().join("key");
    assert_eq!(
        given(&folder, &format!("config: {{k: {{from_file: {}}}}}", path.display())).0,
        r#"{"k":"secret"}"#
    );
}

#[test]
fn what_a_file_shows_is_a_configuration_that_means_the_same() {
    let folder = folder(&[("key", b"secret")]);
    let loaded = parsed(folder.path(), "config: {k: {from_file: key}, v: [1.5, -2, null, true]}").unwrap();
    let shown = effective(&loaded.config);
    let again = parse(&shown.to_string(), Path::new("/elsewhere/tidegate.yaml")).unwrap();
    assert_eq!(effective(&again.config), shown);
    assert_eq!(again.config.filters[0].config, loaded.config.filters[0].config);
    assert!(!shown.to_string().contains("secret"));
}

#[test]
fn a_file_that_cannot_be_taken_is_told_at_its_place() {
    let large = vec![b'x'; (1 << 20) + 1];
    let folder = folder(&[("large", &large), ("binary", b"one\ntwo \xff"), ("most", &large[1..])]);
    expect![[r#"
        error: `missing.json` cannot be read: No such file or directory (os error 2)
         --> tidegate.yaml:7:25
          |
        7 |       keys: {from_file: missing.json}
          |                         ^^^^^^^^^^^^
          |
          = help: a relative path is relative to the folder of this configuration

        error: `large` is larger than 1 MiB
         --> tidegate.yaml:8:27
          |
        8 |       users: [{from_file: large}, {from_file: most}]
          |                           ^^^^^
          |
          = help: is it the right file?

        error: `binary` is not UTF-8 text: see its line 2
         --> tidegate.yaml:9:27
          |
        9 |       secret: {from_file: binary}
          |                           ^^^^^^
          |
          = help: save it as UTF-8

        error: `.` is not a file
          --> tidegate.yaml:10:27
           |
        10 |       folder: {from_file: .}
           |                           ^
           |
           = help: name a plain file

        error: expected the name of a file
          --> tidegate.yaml:11:27
           |
        11 |       number: {from_file: 5}
           |                           ^
           |
           = help: write it as text: `{from_file: ./keys.json}`

        error: expected the name of a file
          --> tidegate.yaml:12:17
           |
        12 |       nothing: {from_file: }
           |                 ^^^^^^^^^
           |
           = help: write it as text: `{from_file: ./keys.json}`
    "#]]
    .assert_eq(&problems(
        &folder,
        "config:
      keys: {from_file: missing.json}
      users: [{from_file: large}, {from_file: most}]
      secret: {from_file: binary}
      folder: {from_file: .}
      number: {from_file: 5}
      nothing: {from_file: }",
    ));
}

#[test]
fn a_filter_takes_so_many_files_and_no_more() {
    let folder = folder(&[("a", b"1")]);
    let files = |count: usize| format!("config: [{}]", vec!["{from_file: a}"; count].join(", "));
    assert_eq!(given(&folder, &files(16)).0, format!("[{}]", vec!["\"1\""; 16].join(",")));
    let told = problems(&folder, &files(17));
    assert!(told.contains("error: a filter's `config` takes at most 16 files"), "{told}");
    let column = "    config: [".len() + 16 * "{from_file: a}, ".len() + "{from_file: ".len() + 1;
    assert!(told.contains(&format!("tidegate.yaml:6:{column}\n")), "{told}");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = folder(&[]);
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert!(problems(&folder, "config: {from_file: pipe}").contains("`pipe` is not a file"));
}
