//! Who signed a module: the commands, and listeners that want to know.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::equipment::tool;
use crate::equipment::{Exit, Proxy, Upstream, in_listener};

use super::fetching::{bytes, filtering, folder, keeping, marking};
use super::watch::{wait_for_refusals, wait_for_version};

/// A folder with the keys of `ann` and `bob` in it, made as the documentation says.
pub(super) fn keys() -> Option<TempDir> {
    if !tool::is_installed("openssl", Path::new("/usr/bin/openssl"), "packages.sh openssl") {
        return None;
    }
    let folder = folder();
    for name in ["ann", "bob"] {
        let private = format!("{name}.pem");
        let public = format!("{name}.pub.pem");
        for arguments in [
            &["genpkey", "-algorithm", "ed25519", "-out", &private][..],
            &["pkey", "-in", &private, "-pubout", "-out", &public],
        ] {
            let status = Command::new("openssl").args(arguments).current_dir(folder.path()).status();
            assert!(status.expect("openssl is there").success());
        }
    }
    Some(folder)
}

/// `tidegate filter ARGUMENTS`, where an argument that begins with `@` is a file in the folder.
fn filter(folder: &TempDir, arguments: &[&str]) -> Exit {
    let in_folder = |argument: &&str| match argument.strip_prefix('@') {
        Some(name) => folder.path().join(name).to_str().expect("it has a plain name").to_owned(),
        None => (*argument).to_owned(),
    };
    let arguments: Vec<String> = [&["filter"], arguments].concat().iter().map(in_folder).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Proxy::with_text("").run_in(&arguments)
}

/// A module that these keys signed, in itself.
pub(super) fn signed(folder: &TempDir, module: &[u8], by: &[&str]) -> Vec<u8> {
    std::fs::write(folder.path().join("m.wasm"), module).expect("it can be written");
    for name in by {
        let exit = filter(folder, &["sign", "--key", &format!("@{name}.pem"), "@m.wasm"]);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    }
    std::fs::read(folder.path().join("m.wasm")).expect("it is there")
}

/// Everything through a filter `mark` that has to be signed by one of these keys.
pub(super) fn requiring(upstream: &Upstream, folder: &TempDir, by: &str, module: &str) -> String {
    let config = filtering(upstream, &[("mark", &format!("module: {module}"))]);
    let at = folder.path().display();
    in_listener(&config, &[&format!("require_signature_by: [{by}]")])
        + &format!(
            "trusted_keys:\n  ann: {{from_file: {at}/ann.pub.pem}}\n  bob: {{from_file: {at}/bob.pub.pem}}\n"
        )
}

#[test]
fn a_module_is_signed_and_verified_in_itself_and_beside() {
    let Some(folder) = keys() else { return };
    let module = marking("1");
    std::fs::write(folder.path().join("m.wasm"), &module).expect("it can be written");
    let verify = |key: &str| filter(&folder, &["verify", "--key", &format!("@{key}.pub.pem"), "@m.wasm"]);
    let unsigned = verify("ann");
    assert_eq!(unsigned.code, Some(1));
    assert!(unsigned.stderr.contains("it has no signature"), "{}", unsigned.stderr);

    assert_eq!(filter(&folder, &["sign", "--key", "@ann.pem", "--detached", "@m.wasm"]).code, Some(0));
    assert_eq!(
        std::fs::read(folder.path().join("m.wasm")).expect("it is there"),
        module,
        "it stays as it is"
    );
    assert_eq!((verify("ann").code, verify("bob").code), (Some(0), Some(1)));
    assert!(verify("bob").stderr.contains("others signed it"));

    assert_eq!(filter(&folder, &["sign", "--key", "@bob.pem", "@m.wasm", "-o", "@both.wasm"]).code, Some(0));
    let by_bob = filter(&folder, &["verify", "--key", "@bob.pub.pem", "@both.wasm"]);
    assert_eq!(by_bob.code, Some(0));
    let signed = filter(&folder, &["sign", "--key", "@bob.pem", "@m.wasm", "-o", "@again.wasm"]).stdout;
    let id = |said: &str| said.split_once(" is signed by ").map(|(_, by)| by.get(..64).map(str::to_owned));
    assert!(id(&signed).flatten().is_some_and(|id| id.chars().all(|c| c.is_ascii_hexdigit())), "{signed}");
    assert_eq!(id(&signed), id(&by_bob.stdout), "whoever verifies names the key as whoever signed did");
    let either = ["verify", "--key", "@ann.pub.pem", "--key", "@bob.pub.pem", "@both.wasm"];
    assert_eq!(filter(&folder, &either).code, Some(0));

    let mut changed = std::fs::read(folder.path().join("both.wasm")).expect("it is there");
    *changed.last_mut().expect("it is not empty") ^= 1;
    std::fs::write(folder.path().join("both.wasm"), changed).expect("it can be written");
    let exit = filter(&folder, &["verify", "--key", "@bob.pub.pem", "@both.wasm"]);
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("it was changed since"), "{}", exit.stderr);
}

#[test]
fn keys_of_the_wrong_kind_are_refused_by_name() {
    let Some(folder) = keys() else { return };
    std::fs::write(folder.path().join("m.wasm"), marking("1")).expect("it can be written");
    let exit = filter(&folder, &["sign", "--key", "@ann.pub.pem", "@m.wasm"]);
    assert!(exit.code == Some(1) && exit.stderr.contains("this is a public key"), "{}", exit.stderr);
    let exit = filter(&folder, &["verify", "--key", "@ann.pem", "@m.wasm"]);
    assert!(exit.code == Some(1) && exit.stderr.contains("this is a private key"), "{}", exit.stderr);
    let exit = filter(&folder, &["sign", "--key", "@ann.pem", "@ann.pem"]);
    assert!(exit.code == Some(1) && exit.stderr.contains("it is no WebAssembly module"), "{}", exit.stderr);
}

#[test]
fn an_encrypted_key_is_refused_with_what_to_do_about_it() {
    let Some(folder) = keys() else { return };
    std::fs::write(folder.path().join("m.wasm"), marking("1")).expect("it can be written");
    let encrypt = ["pkey", "-in", "ann.pem", "-aes256", "-passout", "pass:secret", "-out", "locked.pem"];
    let status = Command::new("openssl").args(encrypt).current_dir(folder.path()).status();
    assert!(status.expect("openssl is there").success());
    let exit = filter(&folder, &["sign", "--key", "@locked.pem", "@m.wasm"]);
    assert!(exit.code == Some(1) && exit.stderr.contains("this private key is encrypted"), "{}", exit.stderr);
    assert!(exit.stderr.contains("openssl pkey -in"), "{}", exit.stderr);
}

#[test]
fn what_a_module_is_and_how_often_it_is_signed_stands_in_its_report() {
    let Some(folder) = keys() else { return };
    let module = signed(&folder, &marking("1"), &["ann", "bob", "ann"]);
    let exit = filter(&folder, &["inspect", "@m.wasm", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&exit.stdout).expect("it is JSON");
    assert_eq!(report["signatures"], 2, "nobody signs twice");
    let digest = crate::equipment::digest(&module);
    assert_eq!(format!("sha256:{}", report["sha256"].as_str().expect("it is a text")), digest);
    let text = filter(&folder, &["inspect", "@m.wasm"]).stdout;
    assert!(text.contains(digest.trim_start_matches("sha256:")) && text.contains("signatures"), "{text}");
}

#[test]
fn a_listener_takes_modules_that_one_of_its_keys_signed_and_no_others() {
    let Some(folder) = keys() else { return };
    let upstream = Upstream::ok("hello");
    let by_ann = signed(&folder, &marking("1"), &["ann"]);
    let by_bob = signed(&folder, &marking("2"), &["bob"]);
    let mut by_both_once = signed(&folder, &marking("3"), &["ann", "bob"]);
    let config = requiring(&upstream, &folder, "ann", "./mark.wasm");
    let mut proxy = Proxy::with(&config).file("mark.wasm", by_ann).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));

    let refused = |proxy: &mut Proxy, why: &str| {
        assert!(!proxy.reload(), "{why}");
        proxy.wait_for_log(why, |event| event["message"].as_str().is_some_and(|text| text.contains(why)));
        assert_eq!(proxy.client().get("/").field("x-version"), Some("1"), "what is served stays");
    };
    proxy.put("mark.wasm", marking("2"));
    refused(&mut proxy, "requires a signature by `ann`, and the module has none");
    proxy.put("mark.wasm", by_bob.clone());
    refused(&mut proxy, "requires a signature by `ann`, and the module has no valid one");

    proxy.put("mark.wasm", by_both_once.clone());
    assert!(proxy.reload());
    assert_eq!(proxy.client().get("/").field("x-version"), Some("3"));
    *by_both_once.last_mut().expect("it is not empty") ^= 1;
    proxy.put("mark.wasm", by_both_once);
    assert!(!proxy.reload());
    proxy.put("mark.wasm", by_bob);
    assert!(proxy.change(&config.replace("require_signature_by: [ann]", "require_signature_by: [ann, bob]")));
    assert_eq!(proxy.client().get("/").field("x-version"), Some("2"));
    assert!(proxy.admin("/config").text().contains("require_signature_by"));
}

#[test]
fn a_signature_may_be_a_file_beside_the_module() {
    let Some(folder) = keys() else { return };
    let upstream = Upstream::ok("hello");
    std::fs::write(folder.path().join("m.wasm"), marking("1")).expect("it can be written");
    assert_eq!(filter(&folder, &["sign", "--key", "@ann.pem", "--detached", "@m.wasm"]).code, Some(0));
    let signature = std::fs::read(folder.path().join("m.wasm.sig")).expect("it is there");
    let config = requiring(&upstream, &folder, "ann", "./mark.wasm");
    let start = Proxy::with(&config).file("mark.wasm", marking("1")).file("mark.wasm.sig", signature.clone());
    assert_eq!(start.start().client().get("/").field("x-version"), Some("1"));
    let exit = Proxy::with(&config)
        .file("mark.wasm", marking("2"))
        .file("mark.wasm.sig", signature.clone())
        .run("check");
    assert!(exit.code == Some(1) && exit.stderr.contains("has no valid one"), "{}", exit.stderr);

    // On a server too; and once fetched, it is kept with the module.
    let server = Upstream::start(move |head| match head.target() {
        "/m.wasm?v=1" => bytes(&marking("1")),
        "/m.wasm.sig?v=1" => bytes(&signature),
        _ => crate::equipment::Answer::sized(404, &[], ""),
    });
    let cache = super::fetching::folder();
    let url = format!("\"http://{}/m.wasm?v=1\"", server.address());
    for _ in 0..2 {
        let proxy = keeping(&requiring(&upstream, &folder, "ann", &url), &cache).start();
        assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    }
    assert_eq!(server.requests().len(), 2);
    let exit = keeping(&requiring(&upstream, &folder, "bob", &url), &cache).run("check");
    assert!(exit.code == Some(1) && exit.stderr.contains("has no valid one"), "{}", exit.stderr);
}

/// A module and the file with ann's signature of it.
pub(super) fn signed_beside(folder: &TempDir, module: &[u8]) -> (Vec<u8>, Vec<u8>) {
    std::fs::write(folder.path().join("m.wasm"), module).expect("it can be written");
    let exit = filter(folder, &["sign", "--key", "@ann.pem", "--detached", "@m.wasm"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    (module.to_vec(), std::fs::read(folder.path().join("m.wasm.sig")).expect("it is there"))
}

#[test]
fn each_version_of_a_folder_has_its_own_signature_which_is_awaited() {
    let Some(folder) = keys() else { return };
    let upstream = Upstream::ok("hello");
    let (first, first_signature) = signed_beside(&folder, &marking("1"));
    let (second, second_signature) = signed_beside(&folder, &marking("2"));
    let proxy = Proxy::with(&requiring(&upstream, &folder, "ann", "./modules"))
        .file("modules/mark-1.0.0.wasm", first)
        .file("modules/mark-1.0.0.wasm.sig", first_signature)
        .watching()
        .start();
    wait_for_version(&proxy, "1");
    proxy.put("modules/mark-2.0.0.wasm", second);
    wait_for_refusals(&proxy, 1);
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"), "what is served stays");
    proxy.put("modules/mark-2.0.0.wasm.sig", second_signature);
    wait_for_version(&proxy, "2");
}

#[test]
fn a_changed_signature_and_a_changed_key_are_noticed() {
    let Some(folder) = keys() else { return };
    let upstream = Upstream::ok("hello");
    let (module, signature) = signed_beside(&folder, &marking("1"));
    let by_bob = signed(&folder, &marking("2"), &["bob"]);
    let proxy = Proxy::with(&requiring(&upstream, &folder, "ann", "{file: ./mark.wasm}"))
        .file("mark.wasm", module)
        .file("mark.wasm.sig", signature.clone())
        .watching()
        .start();
    wait_for_version(&proxy, "1");
    proxy.put("mark.wasm.sig", "no signature");
    wait_for_refusals(&proxy, 1);
    proxy.put("mark.wasm.sig", signature);
    proxy.wait_for_metric("tidegate_config_reloads_total", &[("result", "success")], 1.0);
    std::fs::copy(folder.path().join("bob.pub.pem"), folder.path().join("ann.pub.pem"))
        .expect("it can be copied");
    wait_for_refusals(&proxy, 2);
    proxy.put("mark.wasm", by_bob);
    wait_for_version(&proxy, "2");
}

#[test]
fn what_is_built_in_needs_no_signature() {
    let Some(folder) = keys() else { return };
    let upstream = Upstream::ok("hello");
    let config = requiring(&upstream, &folder, "ann", "builtin:fault");
    assert_eq!(Proxy::with(&config).start().client().get("/").status(), 200);
}
