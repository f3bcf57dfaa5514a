//! Metrics: counted in cells on the workers, summed and written as text when somebody asks.
//!
//! A *cell* is a plain struct of numbers for one worker and one set of labels. The worker gets it from the
//! [`Registry`] when its snapshot is made, and is the only one that writes it, so that a count is a load and a store.
//! Label sets outlive snapshots: asked again for the same labels, the registry gives the same cell, and no counter
//! ever goes back.
//!
//! | file | what |
//! |---|---|
//! | `number`   | counters, gauges, histograms |
//! | `cells`    | what is counted: by listener, exchange, TCP connection, cluster |
//! | `registry` | hands out cells, knows the other sources, renders |
//! | `page`     | one scrape's text in either format |
//! | `recovery` | what of the cells is about clusters that fail |
//! | `families` | the names and help texts of the cells' metrics |
//! | `filter`   | what a filter cost, from whoever runs it |
//! | `canary`   | filters' second versions |
//! | `endpoint` | how clusters' endpoints are |
//! | `overview` | the proxy and its filters on one page, as JSON |
//! | `guest`    | metrics that filters define themselves |
//! | `mirror`   | copies of requests for mirrors |
//! | `overload` | how much the proxy has to do, and what it refused for it |
//! | `server`   | the server as a whole: build, workers, configuration |
//! | `process`  | the process as the kernel sees it |

mod canary;
mod cells;
mod endpoint;
mod families;
mod filter;
mod guest;
mod mirror;
mod number;
mod overload;
mod overview;
mod page;
mod process;
mod recovery;
mod registry;
mod server;
mod shared;

pub use canary::{CanarySample, VersionSample, write_canaries};
pub use cells::{
    ClusterCell, ConnectFailure, EjectionReason, ExchangeCell, Limit, ListenerCell, RetryDenial, RetryReason,
    TcpCell,
};
pub use endpoint::{EndpointsSample, write_endpoints};
pub use filter::{CallbackSample, FilterObservation, FilterSample};
pub use guest::{GuestMetric, GuestValue, write_guest_metrics};
pub use mirror::{MirrorCell, MirrorOutcome};
pub use number::{Counter, DURATION_BOUNDS, Gauge, Histogram, HistogramSample};
pub use overload::{OverloadSample, write_overload};
pub use overview::{CallbackOverview, FilterOverview, Overview};
pub(super) use page::Described;
pub use page::{Family, Format, Number, Page};
pub use registry::Registry;
pub(super) use registry::lock;
pub use shared::{CellsSample, write_cells};
