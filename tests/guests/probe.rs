//! Does what a script says, in any callback: for finding out what a host of Proxy-Wasm does with any call anywhere.
//!
//! It is made of raw imports, so that no status makes it panic, and exports every callback. Each call of its script
//! becomes a line of the log (level info): the callback, the call as it was written, its status, what it gave back.
//!
//! ```text
//! request_headers: proxy_get_header_map_value 0 ":path" &bytes -> 0 "/"
//! ```
//!
//! A script has a line for each call, ended by a newline or a `;`. It comes as the plugin's configuration. The request
//! header `x-probe-script` is one too: it holds for the callbacks of this request and, until the next request that has
//! one, for those of the root context and for the creation of contexts. On a connection a first line of the client's that
//! begins with `x-probe-script: ` is the same, and holds for `new_connection` of those that follow as well.
//!
//! ```text
//! # Asks another cluster, once, and holds the request until it has answered.
//! on request_headers if x-probe=ask #1: proxy_http_call "auth" {":method": "GET", ":path": "/", ":authority": "a"} "" {} 500 &u32
//! on request_headers if x-probe=ask: return 1
//! on http_call_response: proxy_get_header_map_pairs 6 &pairs
//! on http_call_response: proxy_set_effective_context $stream
//! on http_call_response: proxy_continue_stream 0
//! ```
//!
//! A line is `on CALLBACK [if CONDITION…]: ACTION`. The callback is the export's name without `proxy_on_`; all
//! conditions must hold:
//!
//! * `#2`: this is the second call of this callback in this context since the script came; counted from 1.
//! * `x-probe=VALUE`: this is the value of the request header `x-probe`; in a root context, of the last request.
//! * `root`, `stream`: the context is a root, is none.
//! * `end`, `more`: the callback was told that the stream ends there, that it does not.
//!
//! The action is `return NUMBER` (what the callback returns, without the lines after it; 1 for `vm_start`, `configure`
//! and `done` otherwise, 0 for the others), `trap`, `say TEXT`, or the name of any hostcall, WASI's included, with its
//! arguments, which stand for its WebAssembly parameters one by one, good or bad:
//!
//! * `7`, `-1`, `0xffff0000`: a number, one parameter.
//! * `"text"`: a pointer and a length, two parameters. `\"`, `\\`, `\n`, `\r`, `\t`, `\xff` are escapes.
//! * `{"name": "value", …}`: a pointer to serialised pairs and their length.
//! * `*"text"`: a pointer to a pointer and a length, as WASI's vectors are; one parameter.
//! * `&u32`, `&u64`: a pointer to where the host puts a number, which is shown. `&u32:name` also keeps it as `$name`.
//! * `&any`: the same for up to 8 bytes that differ from run to run: they are not shown. `&any:name` keeps the first 4.
//! * `&24`: a pointer to 24 bytes that are zero at first, and are shown.
//! * `&bytes`, `&pairs`, `&size`: two pointers to where the host puts a pointer and a length of something that is shown as
//!   bytes, as pairs, by its length alone.
//! * `$name`: a number that was kept (0 if it was not). `$context` is the callback's context, `$stream` the last one that
//!   was told of a request's headers or a connection, `$1`, `$2`… the callback's parameters after the context.
//!
//! What the host did not write is shown as `untouched`, a pointer that leads out of the memory as `astray`.
#![allow(unsafe_code, reason = "imports and exports are unsafe; each use says why it holds")]

#[path = "probe/mod.rs"]
#[macro_use]
mod probe;

hostcalls! {
    VERSIONED from "env" {
        proxy_get_log_level(a: u32) -> u32;
        proxy_continue_stream(a: u32) -> u32;
        proxy_close_stream(a: u32) -> u32;
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

callbacks! {
    proxy_on_request_headers as RequestHeaders(fields, end) -> u32;
    proxy_on_response_headers as ResponseHeaders(fields, end) -> u32;
    proxy_on_foreign_function as ForeignFunction(function, size);
}
