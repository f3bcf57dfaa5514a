//! TLS on both sides, names of hosts that are passed on, and several protocols on one port.

mod cut;
mod endpoints;
mod one_port;
mod others;
mod passed_on;
mod reloads;
mod termination;

use std::net::SocketAddr;

use crate::equipment::{Issued, Proxy, Start};

/// A proxy whose listener `in` has these fields, each a line of YAML, beside a route to `up`. `issued` are certificates
/// by the names of their files, which end in `.pem` and `.key`.
fn prepared(endpoint: SocketAddr, fields: &[&str], issued: &[(&str, &Issued)]) -> Start {
    with_files(Proxy::with(&config(endpoint, fields)), issued)
}

/// Its configuration.
fn config(endpoint: SocketAddr, fields: &[&str]) -> String {
    let lines: String = fields.iter().map(|field| format!("  {field}\n")).collect();
    format!(
        "listeners:\n- name: in\n  address: 127.0.0.1:0\n  access_log: true\n{lines}  routes:\n  - {{match: {{}}, cluster: up}}\n\
         clusters:\n  up: {{endpoints: [\"{endpoint}\"]}}\n"
    )
}

fn with_files(start: Start, issued: &[(&str, &Issued)]) -> Start {
    issued.iter().fold(start, |start, (name, issued)| {
        start
            .file(&format!("{name}.pem"), issued.certificate.clone())
            .file(&format!("{name}.key"), issued.key.clone())
    })
}

/// A `tls` field with these certificates, and more in flow style.
fn tls(names: &[&str], more: &str) -> String {
    let each = names.iter().map(|name| format!("{{certificate: {name}.pem, private_key: {name}.key}}"));
    let more = if more.is_empty() { String::new() } else { format!(", {more}") };
    format!("tls: {{certificates: [{}]{more}}}", each.collect::<Vec<_>>().join(", "))
}
