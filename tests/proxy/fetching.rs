//! Modules from servers: bounded, tried again, pinned, kept on disk, and what becomes of traffic while they are missing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Act, Answer, Gate, Guest, On, Proxy, Start, Step, Upstream, When, base64, digest, forwarding,
    in_listener, message, refusing_address, text,
};

/// Says in responses which version it is.
pub(super) fn marking(version: &str) -> Vec<u8> {
    Guest::new().on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-version", version)]).build()
}

/// The same, and it traps on requests with `x-fail: yes`.
fn fragile(version: &str) -> Vec<u8> {
    let fails = When::Header(RequestHeaders, "x-fail", "yes");
    Guest::new()
        .quiet()
        .on(On::RequestHeaders, [Step::If(fails, vec![Step::Trap])])
        .on(On::ResponseHeaders, [Step::add(ResponseHeaders, "x-version", version)])
        .build()
}

/// An answer with these bytes.
pub(super) fn bytes(content: &[u8]) -> Answer {
    let length = content.len().to_string();
    let answer = Answer::default().read_body().head(200, &[("content-length", &length)]);
    answer.act(Act::Send(content.to_vec()))
}

/// A server with one module, for every request.
fn serving(module: Vec<u8>) -> Upstream {
    Upstream::start(move |_| bytes(&module))
}

/// Everything to this upstream, through these filters: each a name and its fields, as YAML in flow style.
pub(super) fn filtering(upstream: &Upstream, filters: &[(&str, &str)]) -> String {
    let names: Vec<&str> = filters.iter().map(|(name, _)| *name).collect();
    let chain = format!("filters: [{}]", names.join(", "));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &[&chain]);
    filters
        .iter()
        .fold(config + "filters:\n", |config, (name, fields)| config + &format!("  {name}: {{{fields}}}\n"))
}

/// A proxy that keeps what it fetches in this folder.
pub(super) fn keeping(config: &str, cache: &TempDir) -> Start {
    Proxy::with(config).env("TIDEGATE_CACHE_DIR", cache.path().to_str().expect("it has a plain name"))
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn url(server: SocketAddr) -> String {
    format!("http://{server}/mark.wasm")
}

/// What `check` says of a filter with these fields, which is wrong.
pub(super) fn refused(fields: &str) -> String {
    let upstream = Upstream::ok("hello");
    let exit = keeping(&filtering(&upstream, &[("mark", fields)]), &folder()).run("check");
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    exit.stderr
}

#[test]
fn a_module_comes_from_a_server_and_later_from_the_disk() {
    let upstream = Upstream::ok("hello");
    let server = serving(marking("1"));
    let cache = folder();
    let config = filtering(&upstream, &[("mark", &format!("module: \"{}\"", url(server.address())))]);
    let proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    drop(proxy);
    assert_eq!(server.requests().len(), 1);
    drop(server);
    let proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
}

#[test]
fn a_module_that_is_pulled_always_is_asked_for_at_each_reading() {
    let upstream = Upstream::ok("hello");
    let version = Arc::new(Mutex::new(marking("1")));
    let server = Upstream::start({
        let version = version.clone();
        move |_| bytes(&version.lock().expect("nobody panicked"))
    });
    let module = format!("module: {{url: \"{}\", pull: always}}", url(server.address()));
    let cache = folder();
    let mut proxy = keeping(&filtering(&upstream, &[("mark", &module)]), &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    *version.lock().expect("nobody panicked") = marking("2");
    assert!(proxy.reload());
    assert_eq!(proxy.client().get("/").field("x-version"), Some("2"));
}

#[test]
fn two_filters_with_one_module_fetch_it_once() {
    let upstream = Upstream::ok("hello");
    let server = serving(marking("1"));
    let module = format!("module: \"{}\"", url(server.address()));
    let config = filtering(&upstream, &[("one", &module), ("two", &module)]);
    let cache = folder();
    let proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").head.all("x-version"), ["1", "1"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn two_processes_share_what_is_on_disk() {
    let upstream = Upstream::ok("hello");
    let server = serving(marking("1"));
    let cache = folder();
    let module = format!("module: {{url: \"{}\", pull: always}}", url(server.address()));
    let config = filtering(&upstream, &[("mark", &module)]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let proxy = keeping(&config, &cache).start();
                assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
            });
        }
    });
    let kept = cache.path().join("fetched").read_dir().expect("it is there");
    let kept: Vec<_> = kept.map(|entry| entry.expect("it can be read").file_name()).collect();
    assert_eq!(kept.len(), 2, "one module and one note of where it is from: {kept:?}");
}

#[test]
fn what_was_changed_on_disk_is_fetched_anew() {
    let upstream = Upstream::ok("hello");
    let server = serving(marking("1"));
    let cache = folder();
    let config = filtering(&upstream, &[("mark", &format!("module: \"{}\"", url(server.address())))]);
    drop(keeping(&config, &cache).start());
    let name = digest(&marking("1")).replace("sha256:", "");
    let kept = cache.path().join("fetched").join(format!("{name}.wasm"));
    std::fs::write(&kept, marking("9")).expect("it can be written");
    let proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    assert_eq!(server.requests().len(), 2);
    assert_eq!(std::fs::read(kept).expect("it is there again"), marking("1"));
}

#[test]
fn a_module_comes_through_a_clusters_endpoints_and_the_next_one_is_asked_where_one_fails() {
    let upstream = Upstream::ok("hello");
    let server = serving(marking("1"));
    let (nobody, _socket) = refusing_address();
    let fields = "module: {url: \"http://modules.example/a/mark.wasm?v=1\", cluster: store}";
    let config = filtering(&upstream, &[("mark", fields)]).replace(
        "clusters:\n",
        &format!("clusters:\n  store: {{endpoints: [\"{nobody}\", \"{}\"]}}\n", server.address()),
    );
    let cache = folder();
    let proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    let [request] = &server.requests()[..] else { panic!("it is asked once") };
    assert_eq!(
        (request.head.target(), request.head.field("host")),
        ("/a/mark.wasm?v=1", Some("modules.example"))
    );
}

#[test]
fn a_pinned_module_is_the_one_that_it_is_to_be_or_it_is_refused() {
    let upstream = Upstream::ok("hello");
    let server = serving(marking("1"));
    let url = url(server.address());
    let pin = digest(&marking("1")).replace("sha256:", "");
    let cache = folder();
    let config = filtering(
        &upstream,
        &[("mark", &format!("module: {{url: \"{url}\", pull: always, sha256: {pin}}}"))],
    );
    let mut proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    assert!(proxy.reload());
    assert_eq!(server.requests().len(), 1, "what is known by its digest is asked for once");
    let other = digest(&marking("2")).replace("sha256:", "");
    let text = refused(&format!("module: {{url: \"{url}\", sha256: {other}}}, on_fault: open"));
    assert!(text.contains(&format!("its SHA-256 is {pin}, and `sha256` says {other}")), "{text}");
    assert!(!proxy.change(&config.replace(&pin, &other)), "what is served stays");
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
}

#[test]
fn a_file_can_be_pinned_too() {
    let upstream = Upstream::ok("hello");
    let pin = digest(&marking("1")).replace("sha256:", "");
    let config = filtering(&upstream, &[("mark", &format!("module: {{file: ./mark.wasm, sha256: {pin}}}"))]);
    let mut proxy = Proxy::with(&config).file("mark.wasm", marking("1")).start();
    proxy.put("mark.wasm", marking("2"));
    assert!(!proxy.reload());
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
}

#[test]
fn of_a_folder_the_version_that_would_serve_has_to_be_the_pinned_one() {
    let upstream = Upstream::ok("hello");
    let pinned = format!("module: {{file: ./modules, sha256: {}}}", digest(&marking("1")));
    let start = || {
        Proxy::with(&filtering(&upstream, &[("mark", &pinned)])).file("modules/m-1.0.0.wasm", marking("1"))
    };
    let exit = start().run("check");
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let exit = start().file("modules/m-1.1.0.wasm", marking("2")).run("check");
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("m-1.1.0.wasm: its SHA-256 is"), "{}", exit.stderr);
}

#[test]
fn a_download_that_is_cut_off_or_refused_for_now_is_tried_again() {
    let upstream = Upstream::ok("hello");
    let asked = AtomicUsize::new(0);
    let server = Upstream::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::default()
            .read_body()
            .head(200, &[("content-length", "5000")])
            .send("\0asm")
            .act(Act::Close),
        1 => Answer::sized(503, &[], "busy"),
        2 => Answer::default().read_body().act(Act::Reset),
        _ => bytes(&marking("1")),
    });
    let config = filtering(&upstream, &[("mark", &format!("module: \"{}\"", url(server.address())))]);
    let cache = folder();
    let proxy = keeping(&config, &cache).start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_cannot_be_fetched_is_told_with_its_reason() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = Upstream::start(move |head| match head.target() {
        "/missing" => Answer::sized(404, &[], ""),
        "/secret" => Answer::sized(401, &[("www-authenticate", "Basic realm=x")], ""),
        "/cut" => Answer::default()
            .read_body()
            .head(200, &[("content-length", "5000")])
            .send("\0asm")
            .act(Act::Close),
        "/slow" => Answer::default().read_body().wait(&held).act(Act::Close),
        "/drip" => Answer::default().read_body().head(200, &[("content-length", "9")]).send("\0").wait(&held),
        "/round" => Answer::sized(302, &[("location", "/round")], ""),
        "/large" => {
            Answer::default().read_body().head(200, &[("content-length", "67108865")]).act(Act::Close)
        }
        "/flood" => {
            Answer::default().read_body().head(200, &[("transfer-encoding", "chunked")]).act(Act::Flood {
                block: [&b"100000\r\n"[..], &vec![0; 1 << 20], b"\r\n"].concat(),
                times: 80,
                written: Arc::default(),
            })
        }
        "/endless" => {
            Answer::default().read_body().head(200, &[("connection", "close")]).send("\0asm").act(Act::Close)
        }
        _ => Answer::ok("this is no module"),
    });
    let (nobody, _socket) = refusing_address();
    let at = server.address();
    let cases = [
        (format!("http://{at}/missing"), "answered 404"),
        (format!("http://{at}/secret"), "answered 401: it wants credentials"),
        (format!("http://{at}/cut"), "was cut off"),
        (format!("http://{at}/slow"), "it was not there within 50ms"),
        (format!("http://{at}/drip"), "it was not there within 50ms"),
        (format!("http://{at}/round"), "redirects too often"),
        (format!("http://{at}/large"), "the module is larger than 67108864 bytes"),
        (format!("http://{at}/flood"), "the module is larger than 67108864 bytes"),
        (format!("http://{at}/endless"), "does not say how long its answer is"),
        (format!("http://{at}/text"), "not a WebAssembly module"),
        (format!("http://{nobody}/"), "no connection to"),
        (format!("https://{at}/"), "no connection to"),
    ];
    for (url, why) in cases {
        let timeout = if why.contains("50ms") { "50ms" } else { "30s" };
        let text = refused(&format!("module: {{url: \"{url}\", retries: 0, timeout: {timeout}}}"));
        assert!(text.contains(why) && text.contains("tidegate.yaml"), "{url}: {text}");
    }
    gate.open();
    server.pardon();
}

#[test]
fn a_redirect_is_followed_and_credentials_are_shown_to_the_first_server_only() {
    let upstream = Upstream::ok("hello");
    let store = serving(marking("1"));
    let to = format!("http://{}/elsewhere", store.address());
    let server = Upstream::start(move |_| Answer::sized(307, &[("location", &to)], ""));
    let fields = format!(
        "module: {{url: \"{}\", credentials: {{username: {{from_env: MODULES_USER}}, password: {{from_file: ./password}}}}}}",
        url(server.address())
    );
    let start = keeping(&filtering(&upstream, &[("mark", &fields)]), &folder());
    let proxy = start.env("MODULES_USER", "ann").file("password", "open-sesame\n").start();
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    let expected = format!("Basic {}", base64("ann:open-sesame"));
    assert_eq!(server.requests()[0].head.field("authorization"), Some(&*expected));
    assert_eq!(store.requests()[0].head.field("authorization"), None);
    let shown = proxy.admin("/config").text();
    assert!(shown.contains("MODULES_USER") && shown.contains("/password"), "{shown}");
    let log = proxy.log().iter().map(ToString::to_string).collect::<String>();
    for secret in ["open-sesame", &base64("ann:open-sesame")] {
        assert!(!shown.contains(secret) && !log.contains(secret), "{shown}\n{log}");
    }
}

#[test]
fn a_reload_that_cannot_fetch_changes_nothing() {
    let upstream = Upstream::ok("hello");
    let (nobody, _socket) = refusing_address();
    let config = filtering(&upstream, &[("mark", "module: ./mark.wasm, on_fault: open")]);
    let mut proxy = Proxy::with(&config).file("mark.wasm", marking("1")).start();
    let fetched = format!("module: {{url: \"http://{nobody}/\", retries: 0}}");
    assert!(!proxy.change(&config.replace("module: ./mark.wasm", &fetched)));
    assert_eq!(proxy.client().get("/").field("x-version"), Some("1"));
    assert_eq!(proxy.metrics().sum("tidegate_filter_module_missing", &[]), 0.0);
}

/// A server that is not there until the gate opens, and then has a module; under `/bad.wasm` it has none.
fn absent_until(gate: &Gate) -> (Upstream, Arc<AtomicUsize>) {
    let (open, asked) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = asked.clone();
    let there = Arc::new(Mutex::new(false));
    std::thread::spawn({
        let there = there.clone();
        move || *there.lock().expect("nobody panicked") = open.pass()
    });
    let server = Upstream::start(move |head| {
        counted.fetch_add(1, Ordering::Relaxed);
        match *there.lock().expect("nobody panicked") {
            true if head.target() == "/bad.wasm" => bytes(b"no module"),
            true if head.target() == "/fragile.wasm" => bytes(&fragile("1")),
            true => bytes(&marking("1")),
            false => Answer::sized(503, &[], ""),
        }
    });
    (server, asked)
}

#[test]
fn without_its_module_an_open_filter_is_passed_by_until_it_is_there() {
    let upstream = Upstream::ok("hello");
    let gate = Gate::new();
    let (server, _) = absent_until(&gate);
    let module = format!("module: {{url: \"{}\", retries: 0}}, on_fault: open", url(server.address()));
    let cache = folder();
    let proxy = keeping(&filtering(&upstream, &[("mark", &module)]), &cache).start();
    let mut client = proxy.client();
    let response = client.get("/");
    assert_eq!((response.status(), response.field("x-version")), (200, None));
    assert_eq!(proxy.admin("/ready").status(), 200);
    assert_eq!(proxy.metrics().sum("tidegate_filter_module_missing", &[("filter", "mark")]), 1.0);
    assert_eq!(proxy.metrics().sum("tidegate_filter_instances", &[("filter", "mark")]), 0.0);
    assert!(proxy.metrics().sum("tidegate_filter_faults_total", &[("kind", "missing")]) >= 1.0);
    let warning = proxy.wait_for_log("the warning", |event| message(event).contains("module is missing"));
    assert!(text(&warning, "reason").contains("answered 503"), "{warning}");
    let status = proxy.status();
    assert_eq!(status["modules"]["mark"]["file"], url(server.address()), "{status}");
    assert!(status["modules"]["mark"]["sha256"].is_null(), "{status}");
    gate.open();
    proxy.wait_for_log("the module", |event| message(event) == "modules that were missing are served");
    assert_eq!(client.get("/").field("x-version"), Some("1"));
    let status = proxy.status();
    assert_eq!(status["last_reload"]["cause"], "module", "{status}");
    let sha256 = digest(&marking("1")).replace("sha256:", "");
    assert_eq!(status["modules"]["mark"]["sha256"], sha256, "{status}");
    assert_eq!(proxy.metrics().sum("tidegate_filter_module_missing", &[]), 0.0);
}

#[test]
fn without_its_module_a_closed_filter_refuses_traffic_and_the_proxy_is_not_ready() {
    let upstream = Upstream::ok("hello");
    let gate = Gate::new();
    let (server, _) = absent_until(&gate);
    let module = format!("module: {{url: \"{}\", retries: 0}}", url(server.address()));
    let cache = folder();
    let proxy = keeping(&filtering(&upstream, &[("mark", &module)]), &cache).start_unready();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 503);
    assert!(upstream.requests().is_empty());
    let ready = proxy.admin("/ready");
    assert_eq!((ready.status(), ready.text().lines().next()), (503, Some("starting")));
    gate.open();
    proxy.wait_for_log("readiness", |event| message(event) == "ready");
    assert_eq!(client.get("/").field("x-version"), Some("1"));
    assert_eq!(proxy.admin("/ready").status(), 200);
}

#[test]
fn a_missing_module_that_comes_broken_keeps_no_other_from_serving() {
    let upstream = Upstream::ok("hello");
    let gate = Gate::new();
    let (server, _) = absent_until(&gate);
    let at = server.address();
    let of = |name: &str| format!("module: {{url: \"http://{at}/{name}.wasm\", retries: 0}}, on_fault: open");
    let filters = [("bad", &*of("bad")), ("mark", &*of("mark"))];
    let proxy = keeping(&filtering(&upstream, &filters), &folder()).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").field("x-version"), None);
    gate.open();
    let refusal = proxy.wait_for_log("the refusal", |event| message(event).contains("cannot serve"));
    assert!(message(&refusal).contains("bad.wasm"), "{refusal}");
    assert_eq!(client.get("/").field("x-version"), Some("1"));
    let missing = |filter| proxy.metrics().sum("tidegate_filter_module_missing", &[("filter", filter)]);
    assert_eq!((missing("bad"), missing("mark")), (1.0, 0.0));
}

#[test]
fn a_module_that_comes_late_has_an_instance_for_each_exchange_where_that_is_wanted() {
    let upstream = Upstream::ok("hello");
    let gate = Gate::new();
    let (server, _) = absent_until(&gate);
    let module = format!("module: {{url: \"http://{}/fragile.wasm\", retries: 0}}", server.address());
    let fields = format!("{module}, on_fault: open, isolation: exchange, recycle: {{requests: 1}}");
    let proxy = keeping(&filtering(&upstream, &[("mark", &fields)]), &folder()).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!((response.status(), response.field("x-version")), (200, None));
    }
    gate.open();
    proxy.wait_for_log("the module", |event| message(event) == "modules that were missing are served");
    for _ in 0..2 {
        assert_eq!(client.request("GET", "/", &[("x-fail", "yes")], "").field("x-version"), None);
        assert_eq!(client.get("/").field("x-version"), Some("1"));
    }
    let sum = |metric, label| proxy.metrics().sum(metric, label);
    assert_eq!(sum("tidegate_filter_faults_total", &[("kind", "trap")]), 2.0);
    assert_eq!(sum("tidegate_filter_rebuilds_total", &[]), 0.0, "the faults cost their exchanges alone");
}

#[test]
fn of_a_missing_module_nobody_says_what_it_does_with_tcp() {
    let upstream = Upstream::ok("hello");
    let (nobody, _socket) = refusing_address();
    let config = format!(
        "listeners: [{{name: l, address: \"127.0.0.1:0\", protocol: tcp, cluster: up, filters: [mark]}}]\n\
         filters: {{mark: {{module: {{url: \"http://{nobody}/\", retries: 0}}, on_fault: open}}}}\n\
         clusters: {{up: {{endpoints: [\"{}\"]}}}}\n",
        upstream.address()
    );
    let proxy = keeping(&config, &folder()).start();
    proxy.wait_for_log("the warning", |event| message(event).contains("module is missing"));
    proxy.wait_for_log("readiness", |event| message(event) == "ready");
    assert!(proxy.log().iter().all(|event| !message(event).contains("sees nothing here")));
}

#[test]
fn a_missing_module_does_not_keep_another_configuration_from_being_served() {
    let upstream = Upstream::ok("hello");
    let (nobody, _socket) = refusing_address();
    let missing = format!("module: {{url: \"http://{nobody}/\", retries: 0}}, on_fault: open");
    let config = filtering(&upstream, &[("mark", &missing)]);
    let cache = folder();
    let mut proxy = keeping(&config, &cache).start();
    assert!(proxy.change(&config.replace("cluster: up", "respond: {status: 404}")));
    assert_eq!(proxy.client().get("/").status(), 404);
    assert_eq!(proxy.metrics().sum("tidegate_filter_module_missing", &[("filter", "mark")]), 1.0);
}
