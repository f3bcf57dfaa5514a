//! Builds the shipped filters for wasm32, so that the library can embed them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_build::{Build, Toolchain};

/// The shipped filters: folders beside this one.
const FILTERS: [&str; 4] = ["ab-route", "authz", "fault", "rate-limit"];

/// What a module is made of beside its own folder, from the workspace's root.
const SHARED: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "filters/expression/Cargo.toml",
    "filters/expression/src",
    "filters/vocabulary/Cargo.toml",
    "filters/vocabulary/src",
    "sdk/tidegate-sdk/Cargo.toml",
    "sdk/tidegate-sdk/src",
];

fn main() -> ExitCode {
    let Err(problem) = build_filters() else { return ExitCode::SUCCESS };
    println!("cargo::error=the shipped filters cannot be built");
    problem.lines().for_each(|line| println!("cargo::error={line}"));
    ExitCode::FAILURE
}

fn build_filters() -> Result<(), String> {
    let variable =
        |name| env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set: run by cargo only"));
    let (folder, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    let workspace = folder.ancestors().nth(2).unwrap_or(&folder);
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE/out. The tests' guests are built in the same place.
    let target = out.ancestors().nth(4).unwrap_or(&out).join("wasm");
    SHARED.iter().for_each(|path| rerun_if_changed(&workspace.join(path)));

    let toolchain = Toolchain::find().map_err(|error| error.to_string())?;
    let mut entries = String::new();
    for name in FILTERS {
        let filter = workspace.join("filters").join(name);
        rerun_if_changed(&filter.join("Cargo.toml"));
        rerun_if_changed(&filter.join("src"));
        let build = Build::new(&filter).profile("filter").target_dir(&target).locked();
        let module = build.run_with(&toolchain).map_err(|error| error.to_string())?;
        let embedded = out.join(name).with_extension("wasm");
        fs::copy(&module, &embedded).map_err(|error| format!("cannot copy {}: {error}", module.display()))?;
        let schema = filter.join("config.schema.json");
        rerun_if_changed(&schema);
        entries.push_str(&format!(
            "Shipped {{ name: {name:?}, module: include_bytes!({embedded:?}), schema: include_str!({schema:?}) }},"
        ));
    }
    let table = out.join("modules.rs");
    fs::write(&table, format!("&[{entries}]")).map_err(|error| format!("{}: {error}", table.display()))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
