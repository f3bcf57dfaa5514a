//! What operators grant filters and see of what they were denied.

use expect_test::{Expect, expect};
use wasm_encoder::{CustomSection, Section as _};

use crate::equipment::Map::RequestHeaders;
use crate::equipment::{
    Answer, Guest, On, Proxy, Start, Step, Upstream, forwarding, in_listener, message, text,
};

/// A proxy with one filter, of which this is the rest of its configuration, in flow style.
fn with_filter(upstream: &Upstream, more: &str, module: impl Into<Vec<u8>>) -> Start {
    let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let text = format!("{text}filters:\n  f: {{module: ./f.wasm, {more}}}\n");
    Proxy::with(&text).file("f.wasm", module)
}

#[test]
fn a_denial_is_counted_and_logged_with_what_would_grant_it() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::new().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-mark", "1")]);
    let granted = "capabilities: {headers: {read: [x-user], write: [x-other]}}";
    let proxy = with_filter(&upstream, granted, guest.build()).start();
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").text(), "hello");
    }
    assert!(upstream.requests().iter().all(|request| request.head.all("x-mark").is_empty()));
    let labels = [("filter", "f"), ("capability", "headers.write")];
    proxy.wait_for_metric("tidegate_filter_denials_total", &labels, 3.0);
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0);
    let says = "it may not write the header `x-mark`: `capabilities.headers.write` does not grant it";
    let event = proxy.wait_for_log("the denial", |event| message(event) == says);
    assert_eq!((&event["level"], &event["filter"]), (&"WARN".into(), &"f".into()));
    assert_eq!(proxy.log().iter().filter(|event| message(event) == says).count(), 1, "once");
}

#[test]
fn a_filter_of_the_rust_sdk_lives_on_with_nothing_granted() {
    // It reads and writes headers, and its SDK panics at statuses that it does not know.
    let upstream = Upstream::ok("hello");
    let module = std::fs::read(guests::module("headers")).expect("it was built");
    let proxy = with_filter(&upstream, "capabilities: {}", module).start();
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").text(), "hello");
    }
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0);
    assert!(proxy.metrics().sum("tidegate_filter_denials_total", &[]) > 0.0);
}

#[test]
fn a_reply_that_is_not_granted_is_a_plain_503() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::new().on(On::RequestHeaders, [Step::reply(200, "of the filter", &[("x-own", "1")])]);
    let proxy = with_filter(&upstream, "capabilities: {}", guest.build()).start();
    let response = proxy.client().get("/");
    assert_eq!((response.status(), response.field("x-own")), (503, None));
    assert!(!response.text().contains("of the filter"));
    assert!(upstream.requests().is_empty());
    proxy.wait_for_metric("tidegate_requests_total", &[("outcome", "reply_not_granted")], 1.0);
}

fn check(start: Start, expected: Expect) {
    let exit = start.run("check");
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let (_, said) = exit.stdout.split_once("\n\n").unwrap_or_default();
    expected.assert_eq(&format!("{}\n", said.trim_end()));
}

/// A module with a manifest that asks for this.
fn asking(capabilities: &str) -> Vec<u8> {
    stating(capabilities, Guest::new().build())
}

/// This module, with such a manifest.
fn stating(capabilities: &str, mut module: Vec<u8>) -> Vec<u8> {
    let manifest = format!(
        r#"{{"manifest": 1, "name": "asker", "version": "1.2.0", "capabilities": {{{capabilities}}}}}"#
    );
    let section = CustomSection { name: "tidegate.manifest".into(), data: manifest.as_bytes().into() };
    section.append_to(&mut module);
    module
}

#[test]
fn check_shows_what_a_filter_asks_for_beside_what_it_is_granted() {
    let upstream = Upstream::ok("hello");
    let asks = asking(r#""headers": {"read": ["x-user", "cookie"]}, "metrics": ["asker_*"], "reply": true"#);
    let granted = "capabilities: {headers: {read: [x-user], write: [x-tier]}, metrics: [\"*\"], log: warn}";
    check(
        with_filter(&upstream, granted, asks.clone()),
        expect![[r#"
            filter `f`, asker 1.2.0, asks for and is granted
              headers.read      asks for x-user, cookie; is granted x-user
              headers.write     asks for nothing; is granted x-tier
              metrics           asks for asker_*; is granted *
              reply             asks for yes; is granted nothing
              log               asks for nothing; is granted warn
                warning         asked for and not granted: headers.read: cookie
                warning         asked for and not granted: reply: true
                note            granted and not asked for: headers.write: x-tier
                note            granted and not asked for: metrics: *
        "#]],
    );
    check(
        with_filter(&upstream, "capabilities: manifest", asks.clone()),
        expect![[r#"
            filter `f`, asker 1.2.0, asks for and is granted
              headers.read      asks for x-user, cookie; is granted x-user, cookie
              metrics           asks for asker_*; is granted asker_*
              reply             asks for yes; is granted yes
        "#]],
    );
    check(
        with_filter(&upstream, "on_fault: closed", asks),
        expect![[r#"
        filter `f`, asker 1.2.0, may do everything; it asks for
          headers.read      x-user, cookie
          metrics           asker_*
          reply             yes
    "#]],
    );
    check(
        with_filter(&upstream, "capabilities: {}", Guest::new().build()),
        expect![[r#"
        filter `f`, without a manifest, is granted
          nothing
    "#]],
    );
}

#[test]
fn check_notes_imports_that_what_is_asked_for_needs_and_no_others() {
    let upstream = Upstream::ok("hello");
    let guest = Guest::new().on(On::RequestHeaders, [Step::add(RequestHeaders, "x-mark", "1")]).build();
    let notes = |capabilities: &str, module: &[u8]| {
        let exit = with_filter(&upstream, capabilities, module).run("check");
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        exit.stdout.contains("imports what nothing granted allows")
            && exit.stdout.contains("proxy_add_header_map_value")
    };
    assert!(notes("capabilities: {}", &guest), "who says nothing of itself is known by its imports");
    let modest = stating(r#""metrics": ["x"]"#, guest.clone());
    assert!(!notes("capabilities: manifest", &modest), "it does not ask for it itself");
    assert!(!notes("capabilities: {metrics: [x]}", &modest), "neither does it here");
    let frank = stating(r#""headers": {"write": ["x-mark"]}"#, guest);
    assert!(!notes("capabilities: manifest", &frank));
    assert!(notes("capabilities: {metrics: [x]}", &frank), "it asks for it and does not get it");
}

#[test]
fn a_check_that_denies_warnings_denies_what_is_asked_for_and_not_granted() {
    let upstream = Upstream::ok("hello");
    for (capabilities, code) in [("manifest", 0), ("{}", 1)] {
        let granted = format!("capabilities: {capabilities}");
        let exit = with_filter(&upstream, &granted, asking(r#""reply": true"#)).run("check --deny-warnings");
        assert_eq!(exit.code, Some(code), "{}", exit.stderr);
    }
}

#[test]
fn what_a_filter_asks_for_and_is_not_granted_is_logged_once_until_it_is_another() {
    let upstream = Upstream::ok("hello");
    let asks = asking(r#""headers": {"read": ["x-user", "cookie"]}, "reply": true"#);
    let config = |capabilities: &str, more: &str| {
        let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]", more]);
        format!("{text}filters:\n  f: {{module: ./f.wasm, capabilities: {capabilities}}}\n")
    };
    let mut proxy = Proxy::with(&config("{reply: true}", "")).file("f.wasm", asks).start();
    let said = |proxy: &Proxy| -> Vec<String> {
        let mut events = proxy.log();
        events.retain(|event| message(event).contains("do not grant all that its manifest asks for"));
        assert!(events.iter().all(|event| event["level"] == "WARN" && event["filter"] == "f"), "{events:?}");
        events.iter().map(|event| text(event, "withheld")).collect()
    };
    let (read, both) = ("headers.read: x-user, cookie", "headers.read: x-user, cookie; reply: true");
    assert_eq!(said(&proxy), [read], "at the start");
    for (capabilities, more, expected) in [
        ("{reply: true}", "access_log: true", &[read][..]),
        ("{}", "", &[read, both]),
        ("manifest", "", &[read, both]),
        ("{reply: true}", "", &[read, both, read]),
    ] {
        assert!(proxy.change(&config(capabilities, more)));
        assert_eq!(said(&proxy), expected, "{capabilities}");
    }
}

#[test]
fn what_a_module_without_a_manifest_asks_for_cannot_be_granted() {
    let upstream = Upstream::ok("hello");
    let exit = with_filter(&upstream, "capabilities: manifest", Guest::new().build()).run("check");
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("the module has no manifest that says what it asks for"), "{}", exit.stderr);
}

#[test]
fn a_filter_made_with_the_sdk_asks_for_what_its_source_says() {
    let module = tempfile::tempdir().expect("a temporary folder can be made");
    let file = module.path().join("sdk.wasm");
    std::fs::copy(guests::module("sdk"), &file).expect("it was built");
    let path = file.to_str().expect("temporary folders have plain names");
    let exit = Proxy::with_text("").run_in(&["filter", "inspect", path, "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&exit.stdout).expect("it is JSON");
    let manifest = &report["module"]["manifest"];
    assert_eq!((&manifest["name"], &manifest["capabilities"]["reply"]), (&"guests".into(), &true.into()));
    let exit = Proxy::with_text("").run_in(&["filter", "inspect", path]);
    assert!(exit.stdout.contains("\nManifest of guests "), "{}", exit.stdout);
}

/// A shipped filter does under its manifest what it does with everything granted.
#[cfg(feature = "builtin")]
mod shipped {
    use serde_json::{Value, json};

    use super::*;
    use crate::equipment::eventually;

    /// What this filter does, in a proxy that grants it what its manifest asks for and nothing else.
    fn under_its_manifest(name: &str, config: &Value, upstream: &Upstream, clusters: &str) -> Proxy {
        let text = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
        let module = format!("\"builtin:{name}\", limits: {{instructions: 200M}}");
        let text = format!(
            "{text}{clusters}filters:\n  f: {{module: {module}, capabilities: manifest, config: {config}}}\n"
        );
        Proxy::start(&text)
    }

    fn assert_nothing_denied(proxy: &Proxy) {
        proxy.settle();
        assert_eq!(proxy.metrics().sum("tidegate_filter_denials_total", &[]), 0.0, "{:#?}", proxy.log());
        assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0);
    }

    #[test]
    fn rate_limit() {
        let upstream = Upstream::ok("hello");
        let config = json!({"rules": [{"key": ["header:x-user", "client_address"], "rate": "1/h", "burst": 1}], "headers": "ietf"});
        let proxy = under_its_manifest("rate-limit", &config, &upstream, "");
        let ask = |user: &str| proxy.client().request("GET", "/", &[("x-user", user)], "");
        assert_eq!([ask("a"), ask("a"), ask("b")].map(|response| response.status()), [200, 429, 200]);
        assert!(ask("a").field("retry-after").is_some());
        assert_nothing_denied(&proxy);
    }

    #[test]
    fn fault() {
        let upstream = Upstream::start(|_| Answer::sized(200, &[], "a long answer"));
        let spoil = json!({"truncate": {"after": 4, "then": "end"}, "delay": {"fixed": "1ms"}});
        let proxy = under_its_manifest("fault", &spoil, &upstream, "");
        assert_eq!(proxy.client().get("/").text(), "a lo");
        assert_nothing_denied(&proxy);
        let abort = json!({"abort": {"status": 418, "body": "a teapot"}});
        let proxy = under_its_manifest("fault", &abort, &upstream, "");
        let response = proxy.client().get("/");
        assert_eq!((response.status(), &*response.text()), (418, "a teapot"));
        assert_nothing_denied(&proxy);
    }

    #[test]
    fn ab_route() {
        let upstream = Upstream::ok("hello");
        let shadow = Upstream::ok("shadow");
        let clusters = format!("  shadow: {{endpoints: [\"{}\"]}}\n", shadow.address());
        let config = json!({"experiments": [{
            "name": "e",
            "subject": ["header:x-user"],
            "variants": [{
                "name": "new",
                "weight": 1,
                "headers": {"x-variant": "new"},
                "shadow": {"cluster": "shadow", "percent": 100},
            }],
        }]});
        let proxy = under_its_manifest("ab-route", &config, &upstream, &clusters);
        proxy.client().request("POST", "/", &[("x-user", "a")], "body");
        assert_eq!(upstream.requests()[0].head.field("x-variant"), Some("new"));
        eventually("the copy", || (!shadow.requests().is_empty()).then_some(()));
        assert_nothing_denied(&proxy);
    }

    #[test]
    fn authz() {
        let upstream = Upstream::ok("hello");
        let config = json!({"allow": [{"match": {"headers": {"x-user": {"exact": "ann"}}}}]});
        let proxy = under_its_manifest("authz", &config, &upstream, "");
        let ask = |user: &str| proxy.client().request("GET", "/", &[("x-user", user)], "").status();
        assert_eq!([ask("ann"), ask("bob")], [200, 403]);
        assert_nothing_denied(&proxy);
    }
}
