//! Servers of modules that are not there, or keep a proxy waiting: what it says meanwhile, and what it goes on doing.

use std::sync::atomic::{AtomicBool, Ordering};

use super::fetching::{bytes, filtering, folder, keeping, marking, refused};
use super::reload::answering;
use super::signatures::{keys, requiring, signed};
use crate::equipment::{Act, Answer, Gate, Proxy, Upstream, digest, eventually, message, with_admin};

/// A server that takes requests and answers none until the gate opens.
fn silent(gate: &Gate) -> Upstream {
    let held = gate.clone();
    Upstream::start(move |_| Answer::default().read_body().wait(&held).act(Act::Close))
}

/// A configuration that answers with a text, and has a filter of this server's too.
fn fetching_from(server: &Upstream, fields: &str, answer: &str) -> String {
    let module = format!("{{url: \"http://{}/mark.wasm\"{fields}}}", server.address());
    with_admin(&format!("{}filters: {{mark: {{module: {module}}}}}\n", answering(answer)))
}

/// A server that gives one answer and then none until the gate opens, and a configuration with a module of it.
fn once_and_then_silent(answer: Answer, gate: &Gate, fields: &str) -> (Upstream, String) {
    let (held, first) = (gate.clone(), AtomicBool::new(true));
    let server = Upstream::start(move |_| match first.swap(false, Ordering::Relaxed) {
        true => answer.clone(),
        false => Answer::default().read_body().wait(&held).act(Act::Close),
    });
    let config = fetching_from(&server, &format!(", timeout: 2m{fields}"), "one");
    (server, config)
}

fn wait_for_answer(proxy: &Proxy, text: &str) {
    let mut client = proxy.client();
    eventually(&format!("the answer {text}"), || (client.get("/").text() == text).then_some(()));
}

#[test]
fn a_newer_change_is_served_while_the_one_before_waits_for_a_server() {
    let gate = Gate::new();
    let server = silent(&gate);
    let proxy = Proxy::with(&answering("one")).watching().start();
    for (asked, answer) in ["two", "three"].into_iter().enumerate() {
        proxy.put("tidegate.yaml", fetching_from(&server, ", timeout: 2m", "held"));
        server.wait_for_heads(asked + 1);
        proxy.put("tidegate.yaml", with_admin(&answering(answer)));
        wait_for_answer(&proxy, answer);
    }
    proxy.wait_for_log("that it was given up", |event| message(event).contains("it is given up"));
    assert_eq!(proxy.status()["last_reload"]["result"], "success");
    assert_eq!(proxy.metrics().sum("tidegate_config_reloads_total", &[("result", "failure")]), 0.0);
    gate.open();
    server.pardon();
}

#[test]
fn whoever_asked_for_a_reload_that_is_given_up_hears_how_the_next_one_went() {
    let gate = Gate::new();
    let (server, config) = once_and_then_silent(bytes(&marking("1")), &gate, ", pull: always");
    let proxy = keeping(&config, &folder()).watching().start();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| proxy.post_reload());
        server.wait_for_heads(2);
        proxy.put("tidegate.yaml", with_admin(&answering("two")));
        assert_eq!(asked.join().expect("it is answered").status(), 200);
    });
    wait_for_answer(&proxy, "two");
    gate.open();
    server.pardon();
}

#[test]
fn a_newer_wish_ends_a_fetch_that_waits_where_nothing_is_watched() {
    let gate = Gate::new();
    let server = silent(&gate);
    let proxy = Proxy::start(&answering("one"));
    assert_eq!(proxy.status()["watching"], false);
    std::thread::scope(|scope| {
        proxy.put("tidegate.yaml", fetching_from(&server, ", timeout: 2m", "held"));
        let first = scope.spawn(|| proxy.post_reload());
        server.wait_for_heads(1);
        proxy.put("tidegate.yaml", with_admin(&answering("two")));
        assert_eq!(proxy.post_reload().status(), 200);
        assert_eq!(first.join().expect("it is answered").status(), 200);
    });
    wait_for_answer(&proxy, "two");
    gate.open();
    server.pardon();
}

#[test]
fn who_waits_for_a_server_may_change_files_as_before() {
    let gate = Gate::new();
    let server = silent(&gate);
    let proxy = Proxy::with(&answering("one")).watching().start();
    // Longer than what may be worked without a pause.
    proxy.put("tidegate.yaml", fetching_from(&server, ", timeout: 5500ms, retries: 0", "held"));
    proxy.wait_for_log("the refusal", |event| message(event).contains("within 5500ms"));
    proxy.put("tidegate.yaml", with_admin(&answering("two")));
    wait_for_answer(&proxy, "two");
    assert!(proxy.log().iter().all(|event| !message(event).contains("change faster")), "there is no pause");
    gate.open();
    server.pardon();
}

#[test]
fn a_change_is_served_while_a_missing_module_is_looked_for() {
    let gate = Gate::new();
    let (server, config) = once_and_then_silent(Answer::sized(503, &[], ""), &gate, ", retries: 0");
    let proxy = keeping(&config, &folder()).watching().start_unready();
    server.wait_for_heads(2);
    proxy.put("tidegate.yaml", with_admin(&answering("two")));
    wait_for_answer(&proxy, "two");
    gate.open();
    server.pardon();
}

#[test]
fn readiness_says_which_filters_are_without_their_modules_and_why() {
    let upstream = Upstream::ok("hello");
    let server = Upstream::start(|_| Answer::sized(503, &[], ""));
    let at = server.address();
    let module = format!("module: {{url: \"http://{at}/mark.wasm?key=hidden\", retries: 0}}");
    let open = format!("module: {{url: \"http://{at}/other.wasm\", retries: 0}}, on_fault: open");
    let config = filtering(&upstream, &[("mark", &module), ("other", &open)]);
    let cache = folder();
    let proxy = keeping(&config, &cache).start_unready();
    let of = |filter: &str, path: &str| {
        format!("filter {filter} is without its module: cannot fetch http://{at}/{path}: {at} answered 503\n")
    };
    let ready = proxy.admin("/ready");
    let expected = format!("starting\n{}{}", of("mark", "mark.wasm"), of("other", "other.wasm"));
    assert_eq!((ready.status(), ready.text()), (503, expected));
    drop(proxy);
    let proxy = keeping(&filtering(&upstream, &[("other", &open)]), &cache).start();
    let ready = proxy.admin("/ready");
    assert_eq!((ready.status(), ready.text()), (200, format!("ready\n{}", of("other", "other.wasm"))));
}

#[test]
fn what_is_wrong_with_a_fetch_is_told_in_words_that_fit() {
    let server = Upstream::start(|head| match head.target() {
        "/page" => Answer::ok("<html>log in</html>"),
        "/empty" => bytes(b"\0asm\x01\0\0\0"),
        "/module" => bytes(&marking("1")),
        _ => Answer::sized(404, &[], ""),
    });
    let at = server.address();
    // What a server of HTTP says to a greeting of TLS: 400.
    let plain = Proxy::start(&answering("one"));
    let plain_at = plain.address("in");
    let other = digest(&marking("2"));
    let cases = [
        (format!("{{url: \"https://{plain_at}/module\"}}"), "does not speak TLS", "give `http://`"),
        (format!("{{oci: \"{plain_at}/me/mark:1\"}}"), "does not speak TLS", "`plain_http: true`"),
        (
            format!("{{url: \"http://{at}/module\", sha256: {other}}}"),
            "/module: its SHA-256 is",
            "is it a new version?",
        ),
        (format!("\"http://{at}/nothing\""), "answered 404", "is the address right?"),
        (format!("{{oci: \"{at}/me/mark:1\", plain_http: true}}"), "answered 404", "A private registry"),
        (
            format!("\"http://{at}/page\""),
            "not a WebAssembly module",
            "it was fetched, and is what the server",
        ),
        (format!("\"http://{at}/empty\""), "exports no ABI version", "it was fetched: download it"),
    ];
    for (module, why, hint) in cases {
        let text = refused(&format!("module: {module}"));
        assert!(text.contains(why) && text.contains(hint), "{module}: {text}");
        let is_at_odds = text.contains("cannot fetch") && why.contains("SHA-256")
            || text.contains("private registry") && module.contains("http://");
        assert!(!is_at_odds && !text.contains("corrupt message"), "{module}: {text}");
    }
    server.pardon();
}

#[test]
fn a_plain_fetch_is_warned_of_once_and_not_where_signatures_are_wanted_everywhere() {
    let Some(keys) = keys() else { return };
    let (upstream, cache) = (Upstream::ok("hello"), folder());
    let module = signed(&keys, &marking("1"), &["ann"]);
    let server = Upstream::start(move |_| bytes(&module));
    let url = |name: &str| format!("\"http://{}/{name}.wasm\"", server.address());
    let warning = "anybody on the way can replace it";
    let config = requiring(&upstream, &keys, "ann", &url("mark"));
    let exit = keeping(&config, &cache).run("check");
    assert!(exit.code == Some(0) && !exit.stderr.contains(warning), "{}", exit.stderr);
    let both = config.replace("listeners:\n", "listeners:\n- {name: other, address: \"127.0.0.1:0\", filters: [mark], routes: [{match: {path: {prefix: /}}, respond: {status: 204}}]}\n");
    let exit = keeping(&both, &cache).run("check");
    assert!(exit.code == Some(0) && exit.stderr.contains(warning), "{}", exit.stderr);

    let of = |name: &str| (name.to_owned(), format!("module: {}", url(name)));
    let filters = |names: &[&str]| {
        let filters: Vec<_> = names.iter().map(|name| of(name)).collect();
        let filters: Vec<_> = filters.iter().map(|(name, fields)| (&**name, &**fields)).collect();
        filtering(&upstream, &filters)
    };
    let mut proxy = keeping(&filters(&["one"]), &cache).start();
    let warnings = |proxy: &Proxy| {
        proxy
            .log()
            .iter()
            .filter(|event| message(event).contains(warning))
            .map(message)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(proxy.reload());
    assert!(warnings(&proxy).is_empty(), "it was said at the start");
    assert!(proxy.change(&filters(&["one", "two"])));
    let said = warnings(&proxy);
    assert!(said.len() == 1 && said[0].contains("two.wasm") && !said[0].contains("one.wasm"), "{said:?}");
    let served = proxy.wait_for_log("the second reload", |event| event["generation"] == 3);
    assert_eq!(message(&served), "the configuration is served");
}
