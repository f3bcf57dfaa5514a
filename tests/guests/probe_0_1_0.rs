//! The probe as a module of ABI 0.1.0: with the hostcalls that only this version has, without those that came later, and
//! with callbacks of headers that are not told of the stream's end. See `probe.rs`.
#![allow(unsafe_code, reason = "imports and exports are unsafe; each use says why it holds")]

#[path = "probe/mod.rs"]
#[macro_use]
mod probe;

hostcalls! {
    VERSIONED from "env" {
        proxy_get_configuration(a: u32, b: u32) -> u32;
        proxy_continue_request() -> u32;
        proxy_continue_response() -> u32;
        proxy_clear_route_cache() -> u32;
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_1_0() {}

callbacks! {
    proxy_on_request_headers as RequestHeaders(fields) -> u32;
    proxy_on_response_headers as ResponseHeaders(fields) -> u32;
}
