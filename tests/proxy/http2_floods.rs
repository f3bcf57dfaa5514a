//! The known floods of HTTP/2: each is answered by closing that connection, and nobody else notices.

use std::net::SocketAddr;

use crate::equipment::frames::*;
use crate::equipment::{Http2Client, Proxy, Upstream};

const ENHANCE_YOUR_CALM: u32 = 11;
const PROTOCOL_ERROR: u32 = 1;

/// What an attacker sends the `n`th time.
type Flood = fn(u32) -> Vec<u8>;

/// How often. A server that closes a connection goes on taking what comes for a while, so that it may be told why.
const TIMES: u32 = 20_000;

/// Sends a flood on a connection of its own, until it is closed. The code that it is closed with.
fn flood(address: SocketAddr, before: &[u8], flood: Flood) -> Option<u32> {
    let mut frames = Frames::open(address);
    frames.send(before).expect("it listens");
    for times in (0..TIMES).step_by(100) {
        let some: Vec<u8> = (times..times + 100).flat_map(flood).collect();
        if frames.send(&some).is_err() {
            break;
        }
    }
    frames.end()
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

fn floods() -> Vec<(&'static str, Vec<u8>, Flood, u32)> {
    let opened = frame(HEADERS, END_HEADERS, 1, &request("POST", &[]));
    let begun = frame(HEADERS, END_STREAM, 1, &get(&[]));
    vec![
        (
            "rapid reset (CVE-2023-44487)",
            Vec::new(),
            |n| {
                let head = frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &get(&[]));
                [head, frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat()
            },
            ENHANCE_YOUR_CALM,
        ),
        ("pings (CVE-2019-9512)", Vec::new(), |_| frame(PING, 0, 0, b"01234567"), ENHANCE_YOUR_CALM),
        ("settings (CVE-2019-9515)", Vec::new(), |_| frame(SETTINGS, 0, 0, &[]), ENHANCE_YOUR_CALM),
        (
            "priorities (CVE-2019-9513)",
            Vec::new(),
            |n| {
                frame(
                    PRIORITY,
                    0,
                    stream(n % 100),
                    &[&(stream(n % 7 + 200)).to_be_bytes()[..], &[1]].concat(),
                )
            },
            ENHANCE_YOUR_CALM,
        ),
        ("windows", opened.clone(), |_| frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()), ENHANCE_YOUR_CALM),
        ("unknown frames", Vec::new(), |_| frame(0xbb, 0, 0, &[]), ENHANCE_YOUR_CALM),
        ("empty DATA (CVE-2019-9518)", opened.clone(), |_| frame(DATA, 0, 1, &[]), ENHANCE_YOUR_CALM),
        (
            "CONTINUATION (CVE-2024-24549)",
            begun.clone(),
            |_| frame(CONTINUATION, 0, 1, &field("x-a", "b")),
            ENHANCE_YOUR_CALM,
        ),
        ("empty CONTINUATION", begun, |_| frame(CONTINUATION, 0, 1, &[]), ENHANCE_YOUR_CALM),
        (
            "resets that are asked for (CVE-2025-8671)",
            Vec::new(),
            |n| {
                // A stream's window that overflows makes the server reset it.
                let head = frame(HEADERS, END_HEADERS, stream(n), &request("POST", &[]));
                [head, frame(WINDOW_UPDATE, 0, stream(n), &0x7fff_ffff_u32.to_be_bytes())].concat()
            },
            ENHANCE_YOUR_CALM,
        ),
        (
            "header lists that unfold (HPACK bombs)",
            Vec::new(),
            |n| {
                // One field of 4,000 bytes goes into the table, and is then named a thousand times.
                let named = vec![0xbe; 1000];
                let mut block = get(&[]);
                block.extend([&[0x40, 3][..], b"x-a", &[0x7f, 0xa1, 0x1e], &[b'a'; 4000], &named].concat());
                frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &block)
            },
            PROTOCOL_ERROR,
        ),
    ]
}

#[test]
fn each_flood_closes_its_connection_and_others_go_on() {
    let upstream = Upstream::ok("hello");
    let mut proxy = Proxy::forwarding_to(&[upstream.address()]);
    let address = proxy.address("in");
    let mut bystander = Http2Client::connect(address);
    for (name, before, flood_of, code) in floods() {
        println!("{name}");
        let got = flood(address, &before, flood_of);
        assert!(got.is_none_or(|got| got == code || got == ENHANCE_YOUR_CALM), "{name}: {got:?}");
        assert_eq!(bystander.get("/").text(), "hello", "after {name}");
    }
    proxy.wait_for_metric("tidegate_active_requests", &[], 0.0);
    proxy.terminate();
    assert_eq!(proxy.wait().code, Some(0));
}
