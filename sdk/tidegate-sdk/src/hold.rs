//! [`Next::Hold`](crate::Next::Hold): the one answer of a callback that the proxy-wasm crate cannot give.
//!
//! Its `Action` knows two of the ABI's codes for bodies (0 continue, 1 pause and buffer), not 2, pause with
//! backpressure; and it exports the callbacks itself. So this module exports its own under the name with `tidegate:` in
//! front, around the crate's; `tidegate-build` puts them in the place of the crate's when it finishes a module.
//! Unfinished, the module runs too: the host ignores exports that it does not know, and `Hold` is a pause.

use std::cell::Cell;

thread_local! {
    /// The callback that is running returned `Hold`.
    static HOLD: Cell<bool> = const { Cell::new(false) };
}

/// The callback that is running wants to hold the body.
pub(crate) fn set() {
    HOLD.set(true);
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod exports {
    use super::HOLD;

    /// `StopIterationAndWatermark` of the data callbacks.
    const PAUSE_WITH_BACKPRESSURE: u32 = 2;

    unsafe extern "C" {
        /// Exported by the proxy-wasm crate. What it returns is an `Action`, which is a `u32`.
        fn proxy_on_request_body(context: u32, size: usize, end_of_stream: bool) -> u32;
        fn proxy_on_response_body(context: u32, size: usize, end_of_stream: bool) -> u32;
    }

    fn answer(action: u32) -> u32 {
        if HOLD.take() { PAUSE_WITH_BACKPRESSURE } else { action }
    }

    #[unsafe(export_name = "tidegate:proxy_on_request_body")]
    extern "C" fn on_request_body(context: u32, size: usize, end_of_stream: bool) -> u32 {
        HOLD.set(false);
        // SAFETY: a Rust function with this signature, linked into every module by the proxy-wasm crate.
        answer(unsafe { proxy_on_request_body(context, size, end_of_stream) })
    }

    #[unsafe(export_name = "tidegate:proxy_on_response_body")]
    extern "C" fn on_response_body(context: u32, size: usize, end_of_stream: bool) -> u32 {
        HOLD.set(false);
        // SAFETY: as above.
        answer(unsafe { proxy_on_response_body(context, size, end_of_stream) })
    }
}
