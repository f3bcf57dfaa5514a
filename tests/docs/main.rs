//! What the documentation says is true: links lead somewhere, configurations are accepted, and the reference pages are
//! what the code says.
//!
//! `links` and `samples` check what people wrote; `hostcalls` reads what the code says of each hostcall; `reference` writes the
//! pages in `docs/src/reference`, which are checked in. `UPDATE_EXPECT=1 cargo test --test docs` writes them anew. Of the part
//! about writing filters `reader` follows pages literally, for `tutorial` and `debugging`; `recipes` and `testing` run samples,
//! `performance` measures, `porting` asks Envoy. Other Rust in the book is compiled by the documentation tests of the SDK.

mod debugging;
mod hostcalls;
mod links;
mod performance;
mod porting;
mod reader;
mod recipes;
mod reference;
mod samples;
mod testing;
#[path = "../equipment/tool.rs"]
mod tool;
mod tutorial;

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the proxy is in a folder of the workspace")
        .to_owned()
}

/// Every Markdown file that people wrote or read here, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    files.sort();
    assert!(files.len() > 10, "the documentation was not found");
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(&file).expect("a page is text"))).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !matches!(name, "target" | "build" | "node_modules") && !name.starts_with('.') {
            collect(&path, files);
        } else if name.ends_with(".md") {
            files.push(path);
        }
    }
}

/// A page's path as one would write it.
fn shown(page: &Path) -> String {
    page.strip_prefix(root()).unwrap_or(page).display().to_string()
}
