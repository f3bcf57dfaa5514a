//! gRPC's official interoperability cases: the client and the server are those of grpc-go, and between them there is
//! nothing, a proxy, or a proxy with a filter.

use super::envoy;
use crate::equipment::interop::{CASES, InteropServer, run_case};
use crate::equipment::{Envoy, Guest, Proxy, forwarding, in_listener};

fn config(server: &InteropServer) -> String {
    forwarding(&[server.address()], "").replace("endpoints:", "protocol: http2, endpoints:")
}

/// The client notices its own cancellation in another goroutine: where that comes late the call has ended well before, whoever
/// is between the two, and the client takes that for a failure.
fn is_late(case: &str, error: &str) -> bool {
    case == "cancel_after_begin" && error.contains("got error code 0, want 1")
}

#[test]
fn every_official_grpc_case_passes_as_it_does_through_envoy() {
    let Some(server) = InteropServer::start() else { return };
    let plain = Proxy::start(&config(&server));
    let filtered =
        in_listener(&config(&server), &["filters: [log]"]) + "filters:\n  log: {module: ./log.wasm}\n";
    let filtered = Proxy::with(&filtered).file("log.wasm", Guest::logger().build()).start();
    let envoy = Envoy::is_installed().then(|| envoy(server.address(), &[]));
    let mut ways = vec![
        ("no proxy", server.address()),
        ("tidegate", plain.address("in")),
        ("tidegate with a filter", filtered.address("in")),
    ];
    ways.extend(envoy.as_ref().map(|envoy| ("Envoy", envoy.address("in"))));
    for case in CASES {
        for (way, address) in &ways {
            let result = run_case(case, *address);
            println!("{case} through {way}: {}", result.as_ref().err().map_or("ok", String::as_str));
            assert!(result.as_ref().err().is_none_or(|error| is_late(case, error)), "{case} through {way}");
        }
    }
    assert!(server.is_running(), "it has answered all of them");
    let guest = filtered.guest_log();
    assert!(guest.len() > CASES.len(), "the filter sees calls: {guest:#?}");
}
