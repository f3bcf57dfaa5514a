//! TCP connections are picked endpoints for as requests are.

use std::collections::HashSet;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};

use crate::equipment::{Client, Proxy};

/// A server that says its name to whoever connects, and closes.
fn speaker(name: &'static str) -> std::net::SocketAddr {
    use std::io::Write;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(name.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 16]); // until the other side has closed, too
        }
    });
    address
}

#[test]
fn a_clients_connections_reach_one_endpoint_where_hashes_decide() {
    let speakers = ["a", "b", "c", "d", "e"].map(speaker);
    let addresses: Vec<String> = speakers.iter().map(|address| format!("\"{address}\"")).collect();
    let proxy = Proxy::start(&format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", protocol: tcp, cluster: up}}]\n\
         clusters: {{up: {{endpoints: [{}], load_balancer: maglev}}}}\n",
        addresses.join(", ")
    ));
    let ask = |last: u8| Client::connect_from(Ipv4Addr::new(127, 0, 0, last), proxy.address("in")).rest();
    let owners: Vec<String> = (1..20).map(ask).collect();
    assert_eq!(owners, (1..20).map(ask).collect::<Vec<_>>());
    assert!(owners.iter().collect::<HashSet<_>>().len() > 2, "{owners:?}");
}
