//! What is made once, when the process starts: what the admin listener shows of it, and what the log says.

use serde_json::Value;

use super::reload::answering;
use crate::equipment::{Proxy, message, text};

fn in_effect(proxy: &Proxy) -> (Value, Value) {
    let page: Value = serde_json::from_str(&proxy.admin("/config").text()).expect("the page is JSON");
    (page["workers"].clone(), page["admin"]["address"].clone())
}

/// Of what fields the log said that they take a restart: the field, what runs and what was wanted.
fn said(proxy: &Proxy) -> Vec<[String; 3]> {
    let mut events = proxy.log();
    events.retain(|event| message(event).contains("takes a restart"));
    events.iter().map(|event| ["field", "runs", "wanted"].map(|field| text(event, field))).collect()
}

#[test]
fn what_takes_a_restart_is_shown_as_it_runs_and_said_until_the_file_says_so_too() {
    let config = |workers: usize, admin: &str, body: &str| {
        format!("workers: {workers}\nadmin: {{address: \"{admin}\"}}\n{}", answering(body))
    };
    let (as_started, other) = ("127.0.0.1:0", "127.0.0.2:0");
    let runs = (Value::from(2), Value::from(as_started));
    let differing = [["workers", "2", "1"], ["admin", as_started, other]].map(|one| one.map(str::to_owned));

    let mut proxy = Proxy::with(&config(2, as_started, "one")).workers_as_configured().start();
    assert_eq!((in_effect(&proxy), said(&proxy)), (runs.clone(), vec![]));
    assert!(proxy.change(&config(1, other, "two")));
    assert_eq!((in_effect(&proxy), said(&proxy)), (runs.clone(), differing.to_vec()));
    assert!(proxy.admin("/config").text().contains("two"), "the rest is in effect");
    assert!(proxy.change(&config(1, other, "three")));
    assert_eq!((in_effect(&proxy), said(&proxy).len()), (runs.clone(), 4), "it is so still");
    assert!(proxy.change(&config(2, as_started, "four")));
    assert_eq!((in_effect(&proxy), said(&proxy).len()), (runs, 4), "a restart would change nothing");
}

#[test]
fn the_workers_of_the_command_line_stay_whatever_the_file_says() {
    let config = |workers: usize| format!("workers: {workers}\n{}", answering("ok"));
    let mut proxy = Proxy::with(&config(3)).workers(1).start();
    assert!(proxy.change(&config(2)));
    assert_eq!(in_effect(&proxy).0, 1);
    assert_eq!(said(&proxy), Vec::<[String; 3]>::new(), "a restart would change nothing");
}
