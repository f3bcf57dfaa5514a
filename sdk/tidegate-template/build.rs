//! Puts the SDK into the library: its sources as they are, and a manifest that needs no workspace around it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value};

/// Who builds a filter is not to be shown what a later compiler thinks of the SDK.
const QUIET: &str = "
[lints.rust]
warnings = \"allow\"

[lints.clippy]
all = { level = \"allow\", priority = -1 }
";

fn main() -> ExitCode {
    let Err(problem) = embed() else { return ExitCode::SUCCESS };
    println!("cargo::error=the SDK cannot be embedded: {problem}");
    ExitCode::FAILURE
}

fn embed() -> Result<(), String> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set"));
    let (folder, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    let workspace = folder.ancestors().nth(2).unwrap_or(&folder);
    let sdk = folder.with_file_name("tidegate-sdk");

    let manifest = alone(&read(&sdk.join("Cargo.toml"))?, &read(&workspace.join("Cargo.toml"))?)?;
    let written = out.join("sdk.toml");
    fs::write(&written, manifest).map_err(|error| format!("{}: {error}", written.display()))?;

    let sources = sdk.join("src");
    println!("cargo::rerun-if-changed={}", sources.display());
    let mut files = Vec::new();
    collect(&sources, &mut files).map_err(|error| format!("{}: {error}", sources.display()))?;
    files.sort();
    let mut table = format!("(\"Cargo.toml\", include_str!({written:?})),");
    for file in &files {
        let path = file.strip_prefix(&sdk).unwrap_or(file);
        let _ = write!(table, "({path:?}, include_str!({file:?})),");
    }
    let path = out.join("sdk.rs");
    fs::write(&path, format!("&[{table}]")).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension() {
            _ if path.is_dir() => collect(&path, files)?,
            Some(extension) if extension == "rs" => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// A member's manifest with what it takes from its workspace in it, and without what only its own tests need.
fn alone(member: &str, workspace: &str) -> Result<String, String> {
    let read = |text: &str| text.parse::<DocumentMut>().map_err(|error| error.to_string());
    let (mut manifest, workspace) = (read(member)?, read(workspace)?);
    let shared = |table: &str, key: &str| {
        let item = workspace.get("workspace").and_then(|item| item.get(table)?.get(key));
        item.cloned().ok_or_else(|| format!("the workspace has no {table}.{key}"))
    };
    for (key, item) in tables(&mut manifest, "package")?.iter_mut() {
        if inherits(item) {
            *item = shared("package", key.get())?;
        }
    }
    for (key, item) in tables(&mut manifest, "dependencies")?.iter_mut() {
        if inherits(item) {
            *item = dependency(shared("dependencies", key.get())?, item)?;
        }
    }
    manifest.remove("dev-dependencies");
    manifest.remove("lints");
    Ok(format!("{manifest}{QUIET}"))
}

fn tables<'a>(manifest: &'a mut DocumentMut, name: &str) -> Result<&'a mut dyn TableLike, String> {
    manifest.get_mut(name).and_then(Item::as_table_like_mut).ok_or_else(|| format!("the SDK has no [{name}]"))
}

fn inherits(item: &Item) -> bool {
    item.get("workspace").and_then(Item::as_bool) == Some(true)
}

/// What the workspace says of a dependency, with the features that the member adds.
fn dependency(shared: Item, member: &Item) -> Result<Item, String> {
    let added = member.get("features").and_then(Item::as_array);
    let mut table = match (shared.into_value(), added) {
        (Ok(Value::InlineTable(table)), _) => table,
        (Ok(version), None) => return Ok(Item::Value(version)),
        (Ok(version), Some(_)) => InlineTable::from_iter([("version", version)]),
        (Err(item), _) => return Err(format!("{item} is no dependency")),
    };
    if table.contains_key("path") {
        return Err(format!("the SDK depends on {table}, which a filter's author does not have"));
    }
    if let Some(added) = added {
        let mut features =
            table.get("features").and_then(Value::as_array).cloned().unwrap_or_else(Array::new);
        features.extend(added.iter().cloned());
        table.insert("features", features.into());
    }
    table.fmt();
    Ok(Item::Value(table.into()))
}
