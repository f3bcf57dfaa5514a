//! Write filters for tidegate, and for any other Proxy-Wasm host, in Rust.
//!
//! A filter is a type that implements [`Filter`]; [`filter!`] makes the module of it. See there for one in fifteen
//! lines. Its `Cargo.toml` needs `crate-type = ["cdylib"]` under `[lib]`, and this crate and `serde` as dependencies.
//!
//! * Configuration is a type of yours; what does not fit is refused with the field's name and what was expected.
//! * [`Request`], [`Response`], [`Body`]: read and change what passes; [`Exchange::reply`] answers in the upstream's
//!   place; [`Exchange::after`] waits; [`Exchange::call`] asks another service.
//! * [`Counter`], [`Gauge`], [`Histogram`] and the macros of [`log`] show what the filter does.
//!
//! It stands on the [`proxy_wasm`] crate (ABI 0.2.1) and uses nothing beyond the standard ABI: a module built with it
//! also runs in Envoy. Where that crate panics because a host answered with a status that it did not expect, which
//! loses the whole instance, this one goes on and logs.

mod callout;
mod config;
mod dispatch;
mod exchange;
mod filter;
mod hold;
mod host;
mod metrics;
mod timer;

pub use callout::{Answer, Callout, CalloutRefused};
pub use config::NoConfig;
pub use dispatch::start;
pub use exchange::{Body, Exchange, Fields, Reply, Request, Response, find_cookie};
pub use filter::{Filter, Next};
pub use log;
pub use metrics::{Counter, Gauge, Histogram};
pub use proxy_wasm;

/// Makes a module of a [`Filter`]. Use it once, at the top of the crate. In a native build it makes nothing, so that the
/// filter's logic can be tested there.
#[macro_export]
macro_rules! filter {
    ($filter:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = $crate::start::<$filter>;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::proxy_wasm::main! {{
                $crate::start::<$filter>();
            }}
        };
    };
}

/// The Rust in the README and in the book compiles.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../../../docs/src/writing-filters.md")]
    struct WritingFilters;
}
