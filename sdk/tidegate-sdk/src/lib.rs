//! Write filters for tidegate, and for any other Proxy-Wasm host, in Rust.
//!
//! A filter is a type that implements [`Filter`]; [`filter!`] makes the module of it. See there for one in fifteen
//! lines. Its `Cargo.toml` needs `crate-type = ["cdylib"]` under `[lib]`, and this crate and `serde` as dependencies.
//!
//! * Configuration is a type of yours; what does not fit is refused with the field's name and what was expected.
//! * [`Request`], [`Response`], [`Body`]: read and change what passes; [`Exchange::reply`] answers in the upstream's
//!   place.
//! * [`Request::wait`] pauses until a future is done, in which [`Exchange::call`] asks another service and
//!   [`Exchange::sleep`] waits; [`Filter::on_start`] does the same beside the exchanges.
//! * [`Cells`] are token buckets, counters and values that the workers share.
//! * [`Counter`], [`Gauge`], [`Histogram`], families of them with labels, and the macros of [`log`] show what the filter
//!   does. Key-values of a log line (`warn!(rule = name; "denied")`) follow its message as `key=value`.
//!
//! It stands on the [`proxy_wasm`] crate (ABI 0.2.1) and uses nothing beyond the standard ABI but where it has another
//! way: a module built with it also runs in Envoy. Where that crate panics because a host answered with a status that it did not expect, which
//! loses the whole instance, this one goes on and logs.

mod body;
mod callout;
mod cells;
mod config;
mod dispatch;
mod exchange;
mod fields;
mod filter;
mod hold;
mod host;
mod logging;
mod memory;
mod metrics;
mod numbered;
mod properties;
mod random;
mod reply;
mod scope;
mod task;
mod timer;

pub use body::Body;
pub use callout::{Answer, Callout, CalloutError, PendingAnswer};
pub use cells::{CellError, Cells, Counted, Mode, Taken, TokenBucket};
pub use config::NoConfig;
pub use dispatch::start;
pub use exchange::{Exchange, Request, Response};
pub use fields::{Fields, find_cookie, find_query};
pub use filter::{Filter, Next};
pub use log;
#[doc(hidden)]
pub use memory::Allocator;
pub use metrics::{Counter, CounterFamily, Family, Gauge, GaugeFamily, Histogram, HistogramFamily, Metric};
pub use proxy_wasm;
pub use random::random;
pub use reply::Reply;
pub use scope::Background;
pub use timer::Sleep;

/// Makes a module of a [`Filter`]. Use it once, at the top of the crate. In a native build it makes nothing, so that the
/// filter's logic can be tested there.
#[macro_export]
macro_rules! filter {
    ($filter:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = $crate::start::<$filter>;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[global_allocator]
            static ALLOCATOR: $crate::Allocator = $crate::Allocator::new();

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
