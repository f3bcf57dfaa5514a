//! Write filters for tidegate, and for any other Proxy-Wasm host, in Rust.
//!
//! A filter is a type that implements [`Filter`]; [`filter!`] makes the module of it. See there for one in fifteen
//! lines. Its `Cargo.toml` needs `crate-type = ["cdylib"]` under `[lib]`, and this crate and `serde` as dependencies.
//!
//! # The map
//!
//! | for | look at |
//! |---|---|
//! | what to implement, and when it is called | [`Filter`], [`Next`] |
//! | configuration: a type of yours; what does not fit is refused with the field's name | [`Filter::Config`], [`NoConfig`] |
//! | what passes: headers, bodies, trailers | [`Request`], [`Response`], [`Body`], [`Fields`] |
//! | answering in the upstream's place | [`Exchange::reply`], [`Reply`] |
//! | waiting: for another service, for a time, for one another | [`Request::wait`], [`Exchange::call`], [`Callout`], [`Answer`], [`Exchange::sleep`] |
//! | work beside an exchange, or beside all of them | [`Exchange::spawn`], [`Filter::on_start`], [`Background`] |
//! | what is known of client, route and connection | [`Exchange::source_address`] and the methods after it |
//! | what workers share: token buckets, counters, values | [`Cells`] |
//! | metrics, with labels or without | [`Counter`], [`Gauge`], [`Histogram`], [`Family`] |
//! | logs: `warn!(rule = name; "denied")` is `denied rule=admin` | [`log`] |
//! | chance | [`random`] |
//! | saying what the filter asks to be allowed | [`manifest!`] |
//!
//! # What holds everywhere
//!
//! Each worker has an instance of the filter, on one thread: share with `Rc` and `RefCell`, not with locks, and hold no
//! borrow across an `.await`. Nothing here panics for what a host answers: what is not there is `None`, and what it refuses
//! is logged. A panic of the filter's own is logged with its place, and costs the instance with every exchange in it.
//!
//! Futures make progress in callbacks: an exchange's own at once, those that another exchange woke at the next tick, a
//! millisecond later. In one callback tasks run 128 times at most, so that many that wake together, or one that wakes
//! itself, do not use up the callback's budget; the rest follows at the next tick.
//!
//! It stands on the [`proxy_wasm`] crate (ABI 0.2.1) and uses nothing beyond the standard ABI but where it has another
//! way: a module built with it also runs in Envoy. Where that crate panics because a host answered with a status that it did not expect, which
//! loses the whole instance, this one goes on and logs.

mod body;
mod callout;
mod cells;
mod compare;
mod config;
mod dispatch;
mod entry;
mod exchange;
mod fields;
mod filter;
mod hold;
mod host;
mod logging;
mod manifest;
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
pub use fields::{Block, Fields, find_cookie, find_query, without_query};
pub use filter::{Filter, Next};
pub use log;
#[doc(hidden)]
pub use manifest::bytes_of;
#[doc(hidden)]
pub use memory::Allocator;
pub use metrics::{Counter, CounterFamily, Family, Gauge, GaugeFamily, Histogram, HistogramFamily, Metric};
pub use proxy_wasm;
pub use random::random;
pub use reply::Reply;
pub use scope::Background;
pub use timer::Sleep;

/// Makes a module of a [`Filter`], with an allocator that makes small values cheap. Use it once, at the top of the crate:
/// `filter!(MyFilter);`, as in [`Filter`]'s example. In a native build it makes nothing, so that the filter's logic can be
/// tested there.
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

    #[doc = include_str!("../../../docs/src/write/porting.md")]
    struct Porting;
}
