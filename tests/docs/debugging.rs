//! The messages that the page on debugging explains are those that are printed.

use crate::reader::follow;
use crate::root;

#[test]
fn every_message_on_the_page_is_printed() {
    let folder = std::fs::read_dir(root().join("tests/docs/broken")).expect("there is a folder");
    let sources = folder.map(|entry| entry.expect("it can be read").path());
    let mut files = Vec::new();
    for source in sources {
        let name = source.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        files.push((format!("{name}.wasm"), wat::parse_file(&source).expect("it is a module")));
    }
    let files: Vec<_> = files.iter().map(|(name, module)| (name.as_str(), module.clone())).collect();
    let blocks = follow(include_str!("../../docs/src/write/debugging.md"), &files);
    assert!(blocks > 8, "the blocks of the page were not found");
}
