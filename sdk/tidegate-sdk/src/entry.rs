//! The callbacks that tidegate calls in place of several of the ABI's: to enter a module costs more than many filters do
//! there.
//!
//! | Export | In place of | Answer |
//! |---|---|---|
//! | `tidegate_on_request_headers(context, root, headers, end_of_stream)` | `proxy_on_context_create`, `proxy_on_request_headers` | as of headers; `0x100`: it goes on, and the context is deleted |
//! | `tidegate_on_response_headers(context, headers, end_of_stream)` | `proxy_on_response_headers` | the same |
//! | `tidegate_on_end(context)` | `proxy_on_log`, `proxy_on_done`, `proxy_on_delete` | 1; or 0, not done and not deleted |
//!
//! An exchange that the filter leaves in its request's headers never becomes a context of the proxy-wasm crate. One that it
//! stays with is handed to the crate after that callback, and is one like any other from then on. Other hosts do not know these exports and call the ABI's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use proxy_wasm::traits::HttpContext;
use proxy_wasm::types::Action;

thread_local! {
    /// The roots of SDK filters, by their contexts. Nearly always one.
    static ROOTS: RefCell<Vec<(u32, Rc<dyn Begin>)>> = const { RefCell::new(Vec::new()) };
    /// An exchange on its way to the crate.
    static BEGUN: RefCell<Option<Box<dyn HttpContext>>> = const { RefCell::new(None) };
    /// The root of the exchange whose callback is running, while the crate does not know that exchange.
    static BEGINNING: Cell<Option<u32>> = const { Cell::new(None) };
    /// The filter left the exchange in the callback that is running.
    static LEFT_NOW: Cell<bool> = const { Cell::new(false) };
}

/// A root that exchanges begin at.
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "no host calls a native build"))]
pub(crate) trait Begin {
    /// Shows the filter a new exchange's request. What there is to be kept of it is given back, unless the filter left it.
    fn begin(
        &self,
        context: u32,
        headers: usize,
        end_of_stream: bool,
    ) -> (Action, Option<Box<dyn HttpContext>>);
}

/// Has exchanges of a root begin here.
pub(crate) fn register(root: u32, begin: Rc<dyn Begin>) {
    ROOTS.with_borrow_mut(|roots| roots.push((root, begin)));
}

/// The root is over.
pub(crate) fn forget(root: u32) {
    ROOTS.with_borrow_mut(|roots| roots.retain(|(known, _)| *known != root));
}

/// The exchange that the crate is to take over, in place of a new one.
pub(crate) fn take_begun() -> Option<Box<dyn HttpContext>> {
    BEGUN.take()
}

/// The filter leaves the exchange whose callback is running.
pub(crate) fn leave() {
    LEFT_NOW.set(true);
}

/// Has the crate take a callout that is about to be made for the root's, where it does not know the exchange yet: it
/// hands the answer to the context that it called last. A root may hear of every answer.
pub(crate) fn call_out() {
    #[cfg(target_arch = "wasm32")]
    exports::call_out();
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
mod exports {
    use super::{BEGINNING, BEGUN, LEFT_NOW, ROOTS};

    /// The exchange goes on and the filter has left it, in an answer to headers.
    const LEFT: u32 = 0x100;

    unsafe extern "C" {
        // Exported by the proxy-wasm crate. What callbacks of headers return is an `Action`, which is a `u32`.
        fn proxy_on_context_create(context: u32, root: u32);
        fn proxy_on_request_headers(context: u32, headers: usize, end_of_stream: bool) -> u32;
        fn proxy_on_response_headers(context: u32, headers: usize, end_of_stream: bool) -> u32;
        fn proxy_on_log(context: u32);
        fn proxy_on_done(context: u32) -> bool;
        fn proxy_on_delete(context: u32);
        fn proxy_on_queue_ready(context: u32, queue: u32);
    }

    // SAFETY of every call below: a Rust function with this signature, linked into every module by the proxy-wasm crate.

    #[unsafe(export_name = "tidegate_on_request_headers")]
    extern "C" fn on_request_headers(context: u32, root: u32, headers: usize, end_of_stream: bool) -> u32 {
        let shown = ROOTS.with_borrow(|roots| {
            let (_, begin) = roots.iter().find(|(known, _)| *known == root)?;
            BEGINNING.set(Some(root));
            Some(begin.begin(context, headers, end_of_stream))
        });
        BEGINNING.set(None);
        match shown {
            Some((action, None)) => action as u32 | LEFT,
            Some((action, begun)) => {
                BEGUN.set(begun);
                unsafe { proxy_on_context_create(context, root) };
                action as u32
            }
            // A root of another kind.
            None => unsafe {
                proxy_on_context_create(context, root);
                proxy_on_request_headers(context, headers, end_of_stream)
            },
        }
    }

    #[unsafe(export_name = "tidegate_on_response_headers")]
    extern "C" fn on_response_headers(context: u32, headers: usize, end_of_stream: bool) -> u32 {
        LEFT_NOW.set(false);
        let action = unsafe { proxy_on_response_headers(context, headers, end_of_stream) };
        if !LEFT_NOW.take() {
            return action;
        }
        unsafe { proxy_on_delete(context) };
        action | LEFT
    }

    #[unsafe(export_name = "tidegate_on_end")]
    extern "C" fn on_end(context: u32) -> bool {
        unsafe {
            proxy_on_log(context);
            let is_done = proxy_on_done(context); // as is every exchange of a filter of the SDK's
            if is_done {
                proxy_on_delete(context);
            }
            is_done
        }
    }

    pub(super) fn call_out() {
        if let Some(root) = BEGINNING.get() {
            unsafe { proxy_on_queue_ready(root, 0) } // does nothing but to be called
        }
    }
}
