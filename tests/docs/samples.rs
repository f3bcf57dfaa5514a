//! Configurations: every one in an example or in a page is accepted, by the code that `tidegate check` runs. Commands that
//! build filters are those that tests run.
//!
//! A block marked `yaml` is a whole file. One marked `yaml,part` is some of its sections, or a listener's `routes`: what
//! is missing around it is added here. What is no configuration of tidegate is marked `text`.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate::config;

use crate::{pages, root, shown};

#[test]
fn every_configuration_in_the_pages_is_accepted() {
    let mut refused = Vec::new();
    let mut seen = 0;
    for (page, text) in pages() {
        for (kind, block) in blocks(&text) {
            let file = if kind == "yaml,part" { complete(&block) } else { block };
            seen += 1;
            if let Some(problems) = refuse(&file, kind) {
                refused.push(format!("{}:\n{problems}", shown(&page)));
            }
        }
    }
    assert!(seen > 5, "no configurations were found");
    assert!(refused.is_empty(), "{}", refused.join("\n\n"));
}

#[test]
fn every_example_has_a_page_and_a_configuration_that_is_accepted() {
    for example in folders(&root().join("examples")) {
        assert!(example.join("README.md").is_file(), "{} has no README.md", shown(&example));
        let file = example.join("tidegate.yaml");
        match config::load(&file) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false)),
            Err(problems) => panic!("{}", problems.render(false)),
        }
    }
}

#[test]
fn every_command_that_builds_the_filter_of_a_language_is_in_the_page_and_no_other() {
    let page = fs::read_to_string(root().join("docs/src/writing-filters.md")).expect("a page is text");
    let (_, section) = page.split_once("### Other languages").expect("it has this section");
    let (section, _) = section.split_once("\n## ").expect("another follows");
    let shown =
        section.split("```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()));
    let mut shown: Vec<String> = shown.collect();
    let languages = folders(&root().join("tests/languages"));
    let files = languages.iter().flat_map(|language| fs::read_dir(language).expect("a folder can be read"));
    let scripts = files.map(|file| file.expect("a folder can be read").path());
    let scripts = scripts.filter(|file| file.extension().is_some_and(|extension| extension == "sh"));
    let mut run: Vec<String> =
        scripts.map(|file| fs::read_to_string(file).expect("a script is text")).collect();
    shown.sort();
    run.sort();
    assert_eq!(shown, run);
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read");
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
}

/// A page's YAML blocks and how they are marked.
fn blocks(text: &str) -> Vec<(&'static str, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let kind = match line.trim_start().strip_prefix("```") {
            Some("yaml") => "yaml",
            Some("yaml,part") => "yaml,part",
            Some(_) => {
                lines.by_ref().find(|line| line.trim_start().starts_with("```"));
                continue;
            }
            None => continue,
        };
        let block: Vec<&str> =
            lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
        blocks.push((kind, block.join("\n") + "\n"));
    }
    blocks
}

/// A whole file around some of its sections.
fn complete(part: &str) -> String {
    let has = |section: &str| part.lines().any(|line| line.starts_with(section));
    let mut file = if has("routes:") {
        let routes: String = part.lines().map(|line| format!("    {line}\n")).collect();
        format!("listeners:\n  - name: ingress\n    address: 127.0.0.1:8080\n{routes}")
    } else {
        part.to_owned()
    };
    if !file.contains("listeners:") {
        file.push_str(
            "listeners: [{name: ingress, address: 127.0.0.1:8080, routes: [{match: {}, cluster: api}]}]\n",
        );
    }
    if !has("clusters:") {
        file.push_str(
            "clusters:\n  api: {endpoints: [127.0.0.1:9001]}\n  api-canary: {endpoints: [127.0.0.1:9002]}\n",
        );
    }
    file
}

/// A public key, that of RFC 8032's first test, where a page names one.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// Why a configuration is not what a page should show. Parts may leave things unused. The files that it takes text from
/// are there.
fn refuse(text: &str, kind: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let root = folder.path().to_str().expect("temporary folders have plain names");
    let mut text = text.to_owned();
    for (at, after) in text.clone().split("from_file: ").skip(1).enumerate() {
        let named = after.split('}').next().unwrap_or_default();
        let file = format!("{root}/{at}");
        let content = match named.rsplit_once('.') {
            Some((_, "pem")) => KEY,
            Some((_, "key")) => "as long as a key for cookies has to be",
            _ => "text",
        };
        fs::write(&file, content).expect("a temporary file can be written");
        text = text.replace(named, &file);
    }
    // Certificates and keys are those of the example.
    for (field, file) in [("certificate: ", "cert.pem"), ("private_key: ", "key.pem"), ("ca: ", "cert.pem")] {
        let file = format!("{}/../examples/tls/{file}", env!("CARGO_MANIFEST_DIR"));
        for after in text.clone().split(field).skip(1) {
            let named = after.split([',', '}', '\n']).next().unwrap_or_default();
            text = text.replace(&format!("{field}{named}"), &format!("{field}{file}"));
        }
    }
    match config::parse(&text, &folder.path().join("page.yaml")) {
        Ok(loaded) if loaded.warnings.is_empty() || kind == "yaml,part" => None,
        Ok(loaded) => Some(loaded.warnings.render(false)),
        Err(problems) => Some(problems.render(false)),
    }
}
