//! The recipes of the book: each is built, and does what its cases say.
//!
//! A block marked `rust,recipe` is a filter, or the callbacks of one, around which stands what the page shows first; the next
//! block marked `yaml,cases` has its cases.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::root;

const PAGE: &str = include_str!("../../docs/src/write/recipes.md");

/// A recipe: its heading as a name of a file, the source of its filter, and its cases.
struct Recipe {
    name: String,
    source: String,
    cases: String,
}

fn recipes() -> Vec<Recipe> {
    let block = |text: &str, mark: &str| {
        let (_, rest) = text.split_once(&format!("```{mark}\n"))?;
        rest.split_once("\n```").map(|(block, _)| format!("{block}\n"))
    };
    let around = block(PAGE, "rust,ignore").expect("the page shows what is around a recipe");
    let (before, after) = around.split_once("    // the recipe\n").expect("it says where a recipe stands");
    let recipe = |section: &str| {
        let heading = section.lines().next()?;
        let name = heading.to_lowercase().replace(' ', "_");
        let source = block(section, "rust,recipe").expect("a recipe has its code");
        let source = match source.contains("impl Filter for") {
            true => source,
            false => format!("#![allow(unused_imports)]\n{before}{source}{after}"),
        };
        let cases = block(section, "yaml,cases").expect("a recipe has its cases");
        Some(Recipe { name, source, cases })
    };
    PAGE.split("\n## ").skip(1).filter_map(recipe).collect()
}

#[test]
fn every_recipe_does_what_its_cases_say() {
    let recipes = recipes();
    assert!(recipes.len() >= 15, "the recipes were not found");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recipes");
    write(&folder, &recipes);
    let mut failed = String::new();
    for Recipe { name, cases, .. } in &recipes {
        let module = guests::example_in(&folder, name);
        let file = folder.join(format!("{name}.yaml"));
        fs::write(&file, cases).expect("a file can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let output = command.args(["filter", "test"]).args([&module, &file]).output().expect("it runs");
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let _ = write!(failed, "{name}\n{}\n", String::from_utf8_lossy(&said));
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

/// Writes a crate that has each recipe as an example, with the dependencies of what `tidegate filter new` writes.
fn write(folder: &Path, recipes: &[Recipe]) {
    let sdk = root().join("sdk/tidegate-sdk");
    let mut manifest = format!(
        "[package]\nname = \"recipes\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n\
         [dev-dependencies]\nserde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\n\
         tidegate-sdk = {{ path = {sdk:?} }}\n\n[profile.dev]\nopt-level = 1\n\n[workspace]\n"
    );
    fs::create_dir_all(folder).expect("a folder can be made");
    let keep = |name: &str, text: &str| {
        let file = folder.join(name);
        // What has not changed is not built again.
        if fs::read_to_string(&file).ok().as_deref() != Some(text) {
            fs::write(file, text).expect("a file can be written");
        }
    };
    for Recipe { name, source, .. } in recipes {
        let _ = write!(
            manifest,
            "\n[[example]]\nname = {name:?}\npath = \"{name}.rs\"\ncrate-type = [\"cdylib\"]\n"
        );
        keep(&format!("{name}.rs"), source);
    }
    keep("Cargo.toml", &manifest);
    keep("lib.rs", "");
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the workspace has one");
    if !folder.join("Cargo.lock").exists() {
        keep("Cargo.lock", &lock);
    }
}
