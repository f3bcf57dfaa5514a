//! The bootstrap of Envoy on the page about porting is one that Envoy takes; what stands beside it is checked with every other
//! configuration.

use std::process::Command;

use crate::tool;

const PAGE: &str = include_str!("../../docs/src/write/porting.md");

#[test]
fn the_bootstrap_beside_ours_is_one_that_envoy_takes() {
    let Some(envoy) = tool::find("envoy", "TIDEGATE_ENVOY", "envoy.sh") else { return };
    let (_, rest) = PAGE.split_once("```yaml,envoy\n").expect("the page has one");
    let (bootstrap, _) = rest.split_once("\n```").expect("it ends");
    assert!(bootstrap.contains("/etc/filters/guard.wasm"), "it names a module");
    let module = guests::module("headers").display().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("envoy.yaml");
    let bootstrap = bootstrap.replace("/etc/filters/guard.wasm", &module);
    std::fs::write(&file, bootstrap).expect("a file can be written");
    let output = Command::new(envoy).args(["--mode", "validate", "-c"]).arg(&file).output();
    let output = output.expect("Envoy runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
