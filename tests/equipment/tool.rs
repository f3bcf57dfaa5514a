//! Programs of others that tests are held against: `make test` puts them into `build/bin`.

use std::path::{Path, PathBuf};

/// A program that `script` in `tests/setup` gets; `variable` names another one of it. Where there is none, a run that must
/// have it fails here; any other is told loudly.
pub(crate) fn find(name: &str, variable: &str, script: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/bin").join(name));
    is_installed(name, &path, script).then_some(path)
}

/// The same for what lies at this path.
pub(crate) fn is_installed(name: &str, path: &Path, script: &str) -> bool {
    if path.exists() {
        return true;
    }
    let is_set = |variable, to| std::env::var(variable).is_ok_and(|value| value == to);
    let required = is_set("CI", "true") || is_set("TIDEGATE_REQUIRE_TOOLS", "1");
    let install = format!("run `make test` or tests/setup/{script}");
    assert!(!required, "{name} is not installed, and this run must have it: {install}");
    eprintln!("SKIPPED: {name} is not installed, so nothing was tested with it: {install}");
    false
}
