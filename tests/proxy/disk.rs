//! Trouble with the disk: whatever happens to the folder of compiled modules, the proxy serves, and says what is wrong.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::reload::{filled, filtering, marking};
use crate::equipment::{Proxy, Start, Upstream, forwarding, in_listener, message, text};

/// A proxy with the filter `mark`, whose compiled modules are kept in a folder.
fn keeping(upstream: &Upstream, cache: &Path) -> Start {
    let start = Proxy::with(&filtering(upstream, &["mark"])).file("mark.wasm", marking("1").build());
    start.env("TIDEGATE_CACHE_DIR", cache.to_str().expect("temporary folders have plain names"))
}

fn serves(proxy: &Proxy) {
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
}

fn warnings(proxy: &Proxy) -> Vec<Value> {
    let mut log = proxy.log();
    log.retain(|event| matches!(event["level"].as_str(), Some("WARN" | "ERROR")));
    log
}

/// The modules that are kept.
fn kept(cache: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(cache.join("compiled"))
        .expect("it was made")
        .map(|file| file.expect("it can be listed").path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "compiled")).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

#[test]
fn a_compiled_module_that_is_damaged_is_compiled_anew_and_replaced() {
    let (upstream, folder) = (Upstream::ok("hello"), folder());
    let start = || keeping(&upstream, folder.path()).start();
    serves(&start());
    let files = kept(folder.path());
    let [file] = files.as_slice() else { panic!("one module is kept, not {files:?}") };
    let whole = fs::read(file).expect("it can be read");
    let flipped = {
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1; // still what a decompressor may take
        bytes
    };
    for damaged in [flipped, whole[..whole.len() / 2].to_vec(), Vec::new()] {
        fs::write(file, &damaged).expect("it can be written");
        let proxy = start();
        serves(&proxy);
        let warnings = warnings(&proxy);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(message(&warnings[0]).contains("it is compiled anew"), "{warnings:?}");
        assert_eq!(text(&warnings[0], "file"), file.to_string_lossy());
        assert_ne!(fs::read(file).expect("it can be read"), damaged);
        let again = start();
        serves(&again);
        assert_eq!(self::warnings(&again), [] as [Value; 0], "it was replaced");
    }
}

#[test]
fn an_image_that_is_the_same_at_each_start_is_kept_and_no_other() {
    // Both begin with what they are told when they start; the second is never told the same.
    let [steady, changing] = ["(i64.store (i32.const 0) (i64.const 1))", "(drop (call $time (i32.const 0)))"];
    for (start, images) in [(steady, 1), (changing, 0)] {
        let module = format!(
            r#"(module
            (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) {start} (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))"#
        );
        let (upstream, folder) = (Upstream::ok("hello"), folder());
        let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
        let config = config + "filters:\n  f: {module: ./f.wasm, isolation: exchange}\n";
        let serve = || {
            let proxy = Proxy::with(&config).file("f.wasm", wat::parse_str(&module).expect("it is a module"));
            let cache = folder.path().to_str().expect("temporary folders have plain names");
            assert_eq!(proxy.env("TIDEGATE_CACHE_DIR", cache).start().client().get("/").status(), 200);
            let mut files: Vec<_> = kept(folder.path())
                .into_iter()
                .map(|file| (fs::metadata(&file).expect("it is there").ino(), file))
                .collect();
            files.sort();
            files
        };
        let first = serve();
        assert_eq!(first.len(), 1 + images, "the module, and what it is after its start: {first:?}");
        assert_eq!(serve(), first, "nothing was compiled anew");
    }
}

#[test]
fn where_nothing_can_be_kept_the_proxy_serves_and_says_so_once() {
    let (upstream, folder) = (Upstream::ok("hello"), folder());
    let no_folder = folder.path().join("a file");
    fs::write(&no_folder, "").expect("it can be written");
    let proxy = keeping(&upstream, &no_folder).start();
    serves(&proxy);
    let warnings = warnings(&proxy);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(message(&warnings[0]).contains("compiled modules are not kept"), "{warnings:?}");
}

#[test]
fn on_a_disk_that_is_full_the_proxy_serves_and_says_so() {
    let (upstream, folder) = (Upstream::ok("hello"), folder());
    // Much code and little data: a guest's memory is a file to the kernel too.
    let large = filled(marking("1"), 1, 20_000);
    let start = Proxy::with(&filtering(&upstream, &["mark"])).file("mark.wasm", large.build());
    let start = start.env("TIDEGATE_CACHE_DIR", folder.path().to_str().expect("a plain name"));
    // 64 blocks of 512 bytes: enough for the log, too few for the module. Beyond it writing fails, as on a full disk.
    let mut proxy = start.after(&[], "trap '' XFSZ && ulimit -f 64").start();
    serves(&proxy);
    let warnings = warnings(&proxy);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(message(&warnings[0]).contains("a compiled module is not kept"), "{warnings:?}");
    assert_eq!(kept(folder.path()), [] as [PathBuf; 0]);
    proxy.put("mark.wasm", marking("1").build());
    assert!(proxy.reload());
    serves(&proxy);
}

#[test]
fn processes_that_share_a_folder_do_not_disturb_each_other() {
    const PROCESSES: usize = 4;
    let (upstream, folder) = (Upstream::ok("hello"), folder());
    std::thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                let proxy = keeping(&upstream, folder.path()).start();
                serves(&proxy);
                assert_eq!(warnings(&proxy), [] as [Value; 0]);
            });
        }
    });
    assert_eq!(kept(folder.path()).len(), 1);
    let proxy = keeping(&upstream, folder.path()).start();
    serves(&proxy);
    assert_eq!(warnings(&proxy), [] as [Value; 0], "what they left is whole");
}

#[test]
fn what_a_process_that_was_killed_left_is_cleared_up() {
    let (upstream, folder) = (Upstream::ok("hello"), folder());
    let mut killed = keeping(&upstream, folder.path()).start();
    killed.signal(rustix::process::Signal::KILL);
    killed.wait();
    let desks = || {
        let files = fs::read_dir(folder.path().join("compiled")).expect("it was made");
        let names = files.map(|file| file.expect("it can be listed").file_name().into_string());
        names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("desk-"))).count()
    };
    assert_eq!(desks(), 2, "a folder and its lock");
    let mut proxy = keeping(&upstream, folder.path()).start();
    assert_eq!(desks(), 2, "those of the process that runs");
    proxy.terminate();
    proxy.wait();
    assert_eq!(desks(), 0);
}
