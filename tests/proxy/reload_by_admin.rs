//! `/reload` on the admin listener: has the configuration read again and says how that went.

use std::fs;
use std::io::Write;

use rustix::fs::{CWD, Mode};

use super::reload::answering;
use crate::equipment::{Client, Proxy, Response, request_text, with_admin};

fn post(proxy: &Proxy, fields: &[(&str, &str)], body: &str) -> Response {
    proxy.ask_admin("POST", "/reload", fields, body)
}

#[test]
fn it_answers_when_the_new_configuration_is_served() {
    let proxy = Proxy::start(&answering("one"));
    let before = proxy.status();
    assert_eq!((&before["generation"], &before["last_reload"]), (&1.into(), &serde_json::Value::Null));
    proxy.put("tidegate.yaml", with_admin(&answering("two")));
    let response = proxy.post_reload();
    assert_eq!((response.status(), response.field("content-type")), (200, Some("application/json")));
    assert_eq!(proxy.client().get("/").text(), "two");
    let page: serde_json::Value = serde_json::from_str(&response.text()).expect("it is JSON");
    assert_eq!(page, proxy.status());
    assert_eq!(page["generation"], 2);
    let last = &page["last_reload"];
    assert_eq!((&last["result"], &last["cause"]), (&"success".into(), &"admin".into()));
    assert!(last.get("error").is_none() && last["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{last}");
}

#[test]
fn it_answers_why_a_configuration_is_not_served() {
    let proxy = Proxy::start(&answering("one"));
    proxy.put("tidegate.yaml", "listeners: 5");
    let response = proxy.post_reload();
    assert_eq!((response.status(), response.field("content-type")), (422, Some("text/plain; charset=utf-8")));
    let why = response.text();
    assert!(why.contains("tidegate.yaml:1:12"), "{why}");
    let logged = proxy.wait_for_log("the same", |event| event["level"] == "ERROR");
    assert!(logged["message"].as_str().is_some_and(|logged| logged.contains(why.trim_end())), "{logged}");
    let status = proxy.status();
    assert_eq!(status["last_reload"]["error"], why.trim_end());
    assert_eq!((&status["generation"], &status["last_reload"]["result"]), (&1.into(), &"failure".into()));
    assert_eq!(proxy.client().get("/").text(), "one");
}

#[test]
fn those_who_ask_while_it_is_read_are_answered_by_one_more_reading() {
    const CLIENTS: usize = 5;
    let proxy = Proxy::start(&answering("one"));
    // A pipe in the place of the file: it is read when the test writes.
    let pipe = proxy.path("tidegate.yaml");
    fs::remove_file(&pipe).expect("it can be removed");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("a pipe can be made");
    let ask = || {
        let mut client = Client::connect(proxy.address("admin"));
        client.send(&request_text("POST", "/reload", &[("host", "localhost")], ""));
        client
    };
    let mut first = ask();
    // Opened: so it is being read.
    let mut reading = fs::OpenOptions::new().write(true).open(&pipe).expect("it is read");
    let mut others: Vec<Client> = (0..CLIENTS).map(|_| ask()).collect();
    // The listener takes one after the other: those before were taken.
    assert_eq!(proxy.admin("/live").status(), 200);
    reading.write_all(with_admin(&answering("two")).as_bytes()).expect("it is read");
    drop(reading);
    assert_eq!(first.response_to("POST").status(), 200);
    fs::write(&pipe, with_admin(&answering("three"))).expect("it is read again");
    for other in &mut others {
        let page: serde_json::Value =
            serde_json::from_str(&other.response_to("POST").text()).expect("it is JSON");
        assert_eq!(page["generation"], 3);
    }
    assert_eq!(proxy.client().get("/").text(), "three");
    assert_eq!(proxy.metrics().sum("tidegate_config_reloads_total", &[]), 2.0);
}

#[test]
fn a_page_in_a_browser_can_neither_ask_for_it_nor_read() {
    let proxy = Proxy::start(&answering("one"));
    let own = format!("http://{}", proxy.address("admin"));
    for fields in [
        [("origin", "https://example.com")],
        [("origin", "null")],
        [("origin", own.as_str())], // a name may be rebound to loopback
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-origin")],
    ] {
        assert_eq!(post(&proxy, &fields, "").status(), 403, "{fields:?}");
        assert_eq!(proxy.ask_admin("GET", "/config", &fields, "").status(), 403, "{fields:?}");
    }
    assert_eq!(proxy.metrics().sum("tidegate_config_reloads_total", &[]), 0.0);
    assert_eq!(post(&proxy, &[("sec-fetch-site", "none")], "").status(), 200);
}

#[test]
fn other_methods_and_large_bodies_are_refused() {
    let proxy = Proxy::start(&answering("one"));
    let put = proxy.ask_admin("PUT", "/reload", &[], "");
    assert_eq!((put.status(), put.field("allow")), (405, Some("GET, HEAD, POST")));
    assert_eq!(post(&proxy, &[], &"x".repeat(100_000)).status(), 413);
    assert_eq!(proxy.metrics().sum("tidegate_config_reloads_total", &[]), 0.0);
    assert_eq!(post(&proxy, &[], "reason=deploy").status(), 200);
}
