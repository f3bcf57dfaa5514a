//! Copies of fetched modules on disk: what is remembered of a server's answers, and for how long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::fetching::{bytes, filtering, folder, keeping, marking};
use super::signatures::{keys, requiring, signed, signed_beside};
use crate::equipment::{Answer, Exit, Guest, On, Proxy, Step, Upstream, digest, message, text};

/// A server with one module, which can be another from then on, and no file of signatures.
struct Shelf {
    server: Upstream,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Shelf {
    fn with(content: impl Into<Vec<u8>>) -> Shelf {
        let answer = Arc::new(Mutex::new(content.into()));
        let given = answer.clone();
        let server = Upstream::start(move |head| match head.target().contains(".sig") {
            true => Answer::sized(404, &[], ""),
            false => bytes(&given.lock().expect("nobody panicked")),
        });
        Shelf { server, answer }
    }

    fn put(&self, content: impl Into<Vec<u8>>) {
        *self.answer.lock().expect("nobody panicked") = content.into();
    }

    fn url(&self) -> String {
        format!("http://{}/mark.wasm?key=hidden", self.server.address())
    }

    fn asked(&self) -> usize {
        self.server.requests().len()
    }
}

/// WebAssembly, and no filter.
const NOTHING: &[u8] = b"\0asm\x01\0\0\0";

const PAGE: &str = "<html><title>Please log in</title></html>";

fn is_refused(exit: &Exit, why: &str) {
    assert!(exit.code == Some(1) && exit.stderr.contains(why), "{}", exit.stderr);
}

#[test]
fn a_page_that_a_server_answers_for_a_module_is_not_what_the_address_stands_for() {
    let (upstream, cache, shelf) = (Upstream::ok("hello"), folder(), Shelf::with(PAGE));
    let config = filtering(&upstream, &[("mark", &format!("module: \"{}\"", shelf.url()))]);
    let check = || keeping(&config, &cache).run("check");
    is_refused(&check(), "not a WebAssembly module");
    let kept = cache.path().join("fetched").read_dir().map_or(0, Iterator::count);
    assert_eq!(kept, 0, "nothing of it is kept");
    shelf.put(NOTHING);
    is_refused(&check(), "exports no ABI version");
    shelf.put(marking("1"));
    let exit = check();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(shelf.asked(), 3);
    assert_eq!(check().code, Some(0));
    assert_eq!(shelf.asked(), 3, "what is a filter is on disk from then on");
}

#[test]
fn a_missing_module_that_came_broken_is_asked_for_until_it_is_good() {
    let (upstream, cache) = (Upstream::ok("hello"), folder());
    let asked = Arc::new(AtomicUsize::new(0));
    let server = Upstream::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::sized(503, &[], ""),
        1 => bytes(PAGE.as_bytes()),
        _ => bytes(&marking("1")),
    });
    let url = format!("http://{}/mark.wasm", server.address());
    let module = format!("module: {{url: \"{url}\", retries: 0}}, on_fault: open");
    let proxy = keeping(&filtering(&upstream, &[("mark", &module)]), &cache).start();
    proxy.wait_for_log("the refusal", |event| message(event).contains("not a WebAssembly module"));
    proxy.wait_for_log("the module", |event| message(event) == "modules that were missing are served");
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
}

#[test]
fn a_copy_that_is_no_good_any_more_is_asked_for_anew() {
    let Some(keys) = keys() else { return };
    let (upstream, cache, shelf) = (Upstream::ok("hello"), folder(), Shelf::with(marking("1")));
    let url = format!("\"{}\"", shelf.url());
    let plain = filtering(&upstream, &[("mark", &format!("module: {url}"))]);
    assert_eq!(keeping(&plain, &cache).run("check").code, Some(0));

    // Nobody has signed the copy. Where the server has no other either, that is what is wrong.
    let config = requiring(&upstream, &keys, "ann", &url);
    shelf.put(NOTHING);
    is_refused(&keeping(&config, &cache).run("check"), "requires a signature by `ann`");
    shelf.put(signed(&keys, &marking("2"), &["ann"]));
    let proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("2"));
    let asked = shelf.asked();
    assert_eq!(keeping(&config, &cache).run("check").code, Some(0));
    assert_eq!(shelf.asked(), asked, "the signed one is the copy now");

    // A copy that is no good and a server that is away: the copy is what is told of.
    let config = requiring(&upstream, &keys, "bob", &url);
    drop(shelf);
    let exit = keeping(&config, &cache).run("check");
    is_refused(&exit, "requires a signature by `bob`");
    assert!(exit.stderr.contains("the copy of the module on disk is no good"), "{}", exit.stderr);
}

#[test]
fn signatures_that_say_nothing_are_asked_for_again_also_of_a_pinned_module() {
    let Some(keys) = keys() else { return };
    let (upstream, cache) = (Upstream::ok("hello"), folder());
    let module = marking("1");
    let (_, good) = signed_beside(&keys, &module);
    let signatures = Arc::new(Mutex::new(PAGE.as_bytes().to_vec()));
    let (served, given) = (module.clone(), signatures.clone());
    let server = Upstream::start(move |head| match head.target() {
        "/mark.wasm.sig" => bytes(&given.lock().expect("nobody panicked")),
        _ => bytes(&served),
    });
    let (at, pin) = (server.address(), digest(&module));
    let pinned = format!("{{url: \"http://{at}/mark.wasm\", sha256: {pin}}}");
    let config = requiring(&upstream, &keys, "ann", &pinned);
    let check = || keeping(&config, &cache).run("check");
    assert_eq!(check().code, Some(1));
    *signatures.lock().expect("nobody panicked") = good;
    let exit = check();
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let modules = server.requests().iter().filter(|request| request.head.target() == "/mark.wasm").count();
    assert_eq!(modules, 1, "what is known by its digest is fetched once, whatever else was wrong");
}

#[test]
fn the_log_says_what_was_fetched_and_what_was_there() {
    let (upstream, cache, shelf) = (Upstream::ok("hello"), folder(), Shelf::with(marking("1")));
    let config = filtering(&upstream, &[("mark", &format!("module: \"{}\"", shelf.url()))]);
    let said = |proxy: &Proxy| {
        let log = proxy.log();
        let is_fetched = log.iter().any(|event| message(event) == "module fetched");
        let prepared = log.iter().find(|event| message(event) == "filter prepared");
        (is_fetched, text(prepared.expect("it is said"), "code"))
    };
    let proxy = keeping(&config, &cache).start();
    assert_eq!(said(&proxy), (true, "compiled".to_owned()));
    drop(proxy);
    let proxy = keeping(&config, &cache).start();
    assert_eq!(said(&proxy), (false, "kept".to_owned()));
    let there = proxy.wait_for_log("the copy", |event| message(event).contains("is on disk"));
    assert!(text(&there, "module").ends_with("/mark.wasm"), "{there}");
}

#[test]
fn a_copy_that_does_not_start_is_called_one() {
    let (upstream, cache) = (Upstream::ok("hello"), folder());
    let shelf = Shelf::with(Guest::new().on(On::Configure, [Step::Spin(200_000)]).build());
    let check = |more: &str| {
        let fields = format!("module: \"{}\"{more}", shelf.url());
        keeping(&filtering(&upstream, &[("mark", &fields)]), &cache).run("check")
    };
    assert_eq!(check("").code, Some(0));
    let exit = check(", limits: {instructions: 1000}");
    is_refused(&exit, "limits.instructions");
    assert!(exit.stderr.contains("the module is a copy on disk: `pull: always`"), "{}", exit.stderr);
}
