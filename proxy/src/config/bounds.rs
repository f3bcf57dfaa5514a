//! The range and the default of every number in the file, in one place: the check, the JSON Schema and its
//! descriptions all take them from here.

use std::time::Duration;

use schemars::Schema;
use schemars::transform::Transform;

use super::model::{Percent, Times};
use super::scalar::{Count, Quantity, Size};

/// What a number may be, ends included, and what it is when the file does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<T> {
    pub(crate) min: T,
    pub(crate) max: T,
    pub(crate) default: T,
    /// What the schema says of the default where the value above is not what happens.
    default_words: Option<&'static str>,
}

impl<T: Quantity> Bound<T> {
    /// The range in words.
    pub(crate) fn range(&self) -> String {
        format!("{} to {}", self.min.write(), self.max.write())
    }

    /// Adds default and range to a field's description.
    pub(crate) fn describe(self) -> impl Transform {
        move |schema: &mut Schema| {
            let default = match self.default_words {
                Some(words) => words.to_owned(),
                None => {
                    let text = self.default.write();
                    let value =
                        text.parse::<u64>().map_or_else(|_| text.as_str().into(), serde_json::Value::from);
                    schema.insert("default".to_owned(), value);
                    format!("`{text}`")
                }
            };
            let said = schema.get("description").and_then(|text| text.as_str()).unwrap_or_default();
            let said = format!("{said} Default: {default}. Range: {}.", self.range());
            schema.insert("description".to_owned(), said.trim_start().into());
        }
    }
}

const fn count(default: u64, min: u64, max: u64) -> Bound<Count> {
    Bound { min: Count(min), max: Count(max), default: Count(default), default_words: None }
}

const fn limit_only(min: u64, max: u64) -> Bound<Count> {
    Bound { min: Count(min), max: Count(max), default: Count(max), default_words: Some("none") }
}

const fn size(default: u64, min: u64, max: u64) -> Bound<Size> {
    Bound { min: Size(min), max: Size(max), default: Size(default), default_words: None }
}

const fn share(default: u32) -> Bound<Percent> {
    Bound { min: Percent(100), max: Percent::ALL, default: Percent(default), default_words: None }
}

const fn millis(default: u64, min: u64, max: u64) -> Bound<Duration> {
    Bound {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
        default: Duration::from_millis(default),
        default_words: None,
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Worker threads. The default is decided where the cores are counted.
pub(crate) const WORKERS: Bound<Count> = Bound { default_words: Some("one per core"), ..count(1, 1, 1024) };
/// How long a drain waits.
pub(crate) const DRAIN_TIMEOUT: Bound<Duration> = millis(30 * SECOND, 0, 24 * HOUR);

/// HTTP requests under way. Without default: as many as there are.
pub(crate) const OVERLOAD_REQUESTS: Bound<Count> = count(10_000, 1, 10_000_000);
/// How late a worker may be. Without default: it is not looked at where the file does not say.
pub(crate) const OVERLOAD_LAG: Bound<Duration> = millis(250, 10, MINUTE);
/// When those who were refused may come again.
pub(crate) const OVERLOAD_RETRY_AFTER: Bound<Duration> = millis(SECOND, SECOND, HOUR);
/// Memory of the process. Without default: what the machine lets it have. Below the least it could not serve.
pub(crate) const MEMORY_LIMIT: Bound<Size> = size(GIB, 16 * MIB, 1 << 50);
/// The share of the memory from which on connections without use are ended.
pub(crate) const MEMORY_RELIEVE: Bound<Percent> = share(8_000);
/// From which on requests are refused.
pub(crate) const MEMORY_SHED: Bound<Percent> = share(9_000);
/// From which on connections are refused.
pub(crate) const MEMORY_REFUSE: Bound<Percent> = share(9_500);

/// Bytes of a body held while a filter waits.
pub(crate) const BUFFER_LIMIT: Bound<Size> = size(MIB, 1, GIB);
/// The same for the requests of a route.
pub(crate) const ROUTE_BUFFER_LIMIT: Bound<Size> =
    Bound { default_words: Some("the listener's"), ..size(MIB, 1, GIB) };
/// Shorter responses are not compressed.
pub(crate) const COMPRESSION_MIN_LENGTH: Bound<Size> = size(256, 0, GIB);
/// How long browsers keep what a preflight request was told. They have lower limits of their own.
pub(crate) const CORS_MAX_AGE: Bound<Duration> =
    Bound { default_words: Some("not said"), ..millis(0, 0, 7 * 24 * HOUR) };
/// Proxies in front that are believed.
pub(crate) const TRUSTED_HOPS: Bound<Count> = count(0, 0, 32);
/// Downstream connections.
pub(crate) const CONNECTIONS: Bound<Count> = count(10_000, 1, 10_000_000);
/// A head's size. 8 KiB is the least buffer that the HTTP/1.1 codec works with.
pub(crate) const HEADER_BYTES: Bound<Size> = size(60 * KIB, 8 * KIB, MIB);
/// Header fields.
pub(crate) const HEADERS: Bound<Count> = count(100, 1, 10_000);
/// A request's head to arrive.
pub(crate) const HEADER_TIMEOUT: Bound<Duration> = millis(10 * SECOND, 1, HOUR);
/// A body that does not move.
pub(crate) const STREAM_IDLE_TIMEOUT: Bound<Duration> = millis(5 * MINUTE, 1, 24 * HOUR);
/// A downstream connection between requests.
pub(crate) const DOWNSTREAM_IDLE_TIMEOUT: Bound<Duration> = millis(HOUR, 1, 24 * HOUR);

/// Requests at once on an HTTP/2 connection.
pub(crate) const MAX_CONCURRENT_STREAMS: Bound<Count> = count(1024, 1, (1 << 31) - 1);
/// What an HTTP/2 connection may receive of one message before it is read. 64 KiB is what RFC 9113 begins with.
pub(crate) const STREAM_WINDOW: Bound<Size> = size(256 * KIB, 64 * KIB, GIB);
/// What an HTTP/2 connection may receive before it is read.
pub(crate) const CONNECTION_WINDOW: Bound<Size> = size(MIB, 64 * KIB, GIB);
/// Between pings. Without default: the file always gives it.
pub(crate) const KEEPALIVE_INTERVAL: Bound<Duration> = millis(30 * SECOND, 1, 24 * HOUR);
/// For a ping's answer.
pub(crate) const KEEPALIVE_TIMEOUT: Bound<Duration> = millis(5 * SECOND, 1, HOUR);

/// A route's wait for the response; zero is for ever.
pub(crate) const ROUTE_TIMEOUT: Bound<Duration> = millis(15 * SECOND, 0, 24 * HOUR);
/// The longest deadline that a request may set; zero is any. Without default: none is looked at where the file does not say.
pub(crate) const GRPC_TIMEOUT: Bound<Duration> = millis(0, 0, 24 * HOUR);
/// A whole exchange. Without default: it takes as long as it likes where the file does not say.
pub(crate) const MAX_DURATION: Bound<Duration> = millis(24 * HOUR, 1, 30 * 24 * HOUR);
/// Times that a request is sent again.
pub(crate) const RETRY_ATTEMPTS: Bound<Count> = count(1, 0, 100);
/// One attempt. Without default: it has all of the request's time where the file does not say.
pub(crate) const PER_TRY_TIMEOUT: Bound<Duration> = millis(15 * SECOND, 1, 24 * HOUR);
/// Before a request goes to another endpoint too. Without default: the file always gives it.
pub(crate) const HEDGE_AFTER: Bound<Duration> = millis(50, 1, HOUR);
/// The first wait before a request is sent again is below this.
pub(crate) const RETRY_BACKOFF_BASE: Bound<Duration> = millis(25, 1, MINUTE);
/// Each is below this. Without default: it is ten times the first.
pub(crate) const RETRY_BACKOFF_MAX: Bound<Duration> = millis(250, 1, HOUR);
/// The longest wait that a response may ask for.
pub(crate) const RETRY_AFTER_MAX: Bound<Duration> = millis(SECOND, 0, HOUR);
/// The share of a cluster's requests in flight that may be retries.
pub(crate) const RETRY_BUDGET: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent(2_000), default_words: None };
/// Retries in flight whatever the share.
pub(crate) const RETRY_BUDGET_MINIMUM: Bound<Count> = count(3, 0, 1_000_000);
/// Bytes of a request's body that are kept to be sent again.
pub(crate) const RETRY_BUFFER: Bound<Size> = size(64 * KIB, 0, GIB);
/// A cluster's share. Without default: the file always gives it.
pub(crate) const WEIGHT: Bound<Count> = count(1, 1, u32::MAX as u64);
/// A redirect's port. Without default: the file always gives it.
pub(crate) const PORT: Bound<Count> = count(443, 1, u16::MAX as u64);
/// A file that is the body of a response of the proxy's own: it is held in memory.
pub(crate) const MAX_RESPOND_FILE_BYTES: u64 = MIB;
/// Bytes of a response of the proxy's own.
pub(crate) const MAX_RESPOND_BODY: usize = 64 << 10;
/// Bytes of a compiled regular expression.
pub(crate) const MAX_REGEX_BYTES: usize = 1 << 20;
/// Bytes of a name.
pub(crate) const MAX_NAME_BYTES: usize = 512;

/// A connection to an endpoint to be made.
pub(crate) const CONNECT_TIMEOUT: Bound<Duration> = millis(5 * SECOND, 1, 10 * MINUTE);
/// An unused connection to an endpoint.
pub(crate) const UPSTREAM_IDLE_TIMEOUT: Bound<Duration> = millis(60 * SECOND, 1, 24 * HOUR);
/// An endpoint's share.
pub(crate) const ENDPOINT_WEIGHT: Bound<Count> = count(1, 1, u32::MAX as u64);
/// An endpoint's priority: as many as Envoy knows.
pub(crate) const PRIORITY: Bound<Count> = count(0, 0, 127);
/// Endpoints of which the less busy is picked.
pub(crate) const CHOICE_COUNT: Bound<Count> = count(2, 2, 64);
/// How long a measured time counts.
pub(crate) const EWMA_DECAY: Bound<Duration> = millis(10 * SECOND, 1, HOUR);
/// What an endpoint without an answer yet is taken to need.
pub(crate) const EWMA_DEFAULT_RTT: Bound<Duration> = millis(30, 1, MINUTE);
/// What an error counts as, at least.
pub(crate) const EWMA_PENALTY: Bound<Duration> = millis(30, 1, HOUR);
/// Hashes of one endpoint on a ring.
pub(crate) const RING_HASHES: Bound<Count> = count(256, 1, 65_536);
/// Hashes on a ring in all: at most as many as in Envoy. Without default: where the file does not say, there are as many
/// as the endpoints have.
pub(crate) const MINIMUM_RING_SIZE: Bound<Count> =
    Bound { default_words: Some("none"), ..count(1024, 1, 8 * MIB) };
/// The same, from the other side. The default is for a ring whose endpoints have so many hashes each: it fits in a
/// processor's cache. Where the ring has so many in all it is [`LARGEST_RING`].
pub(crate) const MAXIMUM_RING_SIZE: Bound<Count> = Bound {
    default_words: Some("`262144`, and beside `minimum_size` `8388608`"),
    ..count(256 * KIB, 1, LARGEST_RING)
};
/// The most hashes that a ring has, as in Envoy.
pub(crate) const LARGEST_RING: u64 = 8 * MIB;
/// The size of a Maglev table: at most what it is in Envoy.
pub(crate) const MAGLEV_TABLE_SIZE: Bound<Count> = count(65_537, 2, 5_000_011);
/// The share of fit endpoints below which all are asked.
pub(crate) const PANIC_THRESHOLD: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent(5_000), default_words: None };
/// How much more than its share endpoints can take.
pub(crate) const OVERPROVISIONING: Bound<Times> =
    Bound { min: Times(100), max: Times(10_000), default: Times(140), default_words: None };
/// A locality's share. Without default: the file always gives it.
pub(crate) const LOCALITY_WEIGHT: Bound<Count> = count(1, 0, u32::MAX as u64);
/// Requests for which localities are looked at.
pub(crate) const ZONE_AWARE_ENABLED: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent::ALL, default_words: None };
/// Endpoints from which on localities are looked at.
pub(crate) const ZONE_AWARE_ENDPOINTS: Bound<Count> = count(6, 1, 1_000_000);
/// How long an endpoint begins slowly.
pub(crate) const SLOW_START_WINDOW: Bound<Duration> = millis(30 * SECOND, 1, 24 * HOUR);
/// How an endpoint's share grows.
pub(crate) const SLOW_START_AGGRESSION: Bound<Times> =
    Bound { min: Times(1), max: Times(10_000), default: Times(100), default_words: None };
/// With what share of its weight it begins.
pub(crate) const SLOW_START_MINIMUM: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent(1_000), default_words: None };
/// Ways to make subsets of one cluster, and names in each.
pub(crate) const MAX_SELECTORS: usize = 64;
/// The least that a key for cookies has, in bytes.
pub(crate) const MIN_COOKIE_KEY_BYTES: usize = 16;
/// How long a client keeps a cookie; zero is until it ends.
pub(crate) const COOKIE_TTL: Bound<Duration> = millis(0, 0, 365 * 24 * HOUR);
/// What of a request is hashed: items of a list.
pub(crate) const MAX_HASH_POLICIES: usize = 16;
/// Unused connections to an endpoint.
pub(crate) const IDLE_CONNECTIONS: Bound<Count> = count(128, 0, 65_536);

/// Connections to a cluster.
pub(crate) const BREAKER_CONNECTIONS: Bound<Count> = count(1024, 1, 10_000_000);
/// Requests to a cluster, in flight or waiting.
pub(crate) const BREAKER_REQUESTS: Bound<Count> = count(1024, 1, 10_000_000);
/// Retries of a cluster. Without default: what the budgets allow.
pub(crate) const BREAKER_RETRIES: Bound<Count> = count(3, 0, 10_000_000);
/// The share of a window's requests whose time counts.
pub(crate) const CONCURRENCY_PERCENTILE: Bound<Percent> = share(5_000);
/// The least limit that adapts, and the most.
pub(crate) const CONCURRENCY_MIN: Bound<Count> = count(3, 1, 1_000_000);
/// The most.
pub(crate) const CONCURRENCY_MAX: Bound<Count> = count(1000, 1, 10_000_000);
/// Between two changes of it.
pub(crate) const CONCURRENCY_INTERVAL: Bound<Duration> = millis(100, 10, MINUTE);
/// Between two measurements.
pub(crate) const MIN_RTT_INTERVAL: Bound<Duration> = millis(MINUTE, SECOND, 24 * HOUR);
/// Requests of a measurement.
pub(crate) const MIN_RTT_REQUESTS: Bound<Count> = count(50, 1, 1_000_000);
/// How much later a measurement may be.
pub(crate) const MIN_RTT_JITTER: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent(1_500), default_words: None };
/// How much longer requests may take.
pub(crate) const MIN_RTT_BUFFER: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent(100_000), default: Percent(2_500), default_words: None };
/// What is not measured. Without default: it is measured.
pub(crate) const MIN_RTT_FIXED: Bound<Duration> = millis(SECOND, 1, HOUR);
/// 5xx in a row.
pub(crate) const CONSECUTIVE_5XX: Bound<Count> = count(5, 0, 1_000_000);
/// 502, 503 and 504 in a row.
pub(crate) const CONSECUTIVE_GATEWAY_FAILURES: Bound<Count> = count(0, 0, 1_000_000);
/// Failures to connect or to answer in a row.
pub(crate) const CONSECUTIVE_LOCAL_FAILURES: Bound<Count> = count(0, 0, 1_000_000);
/// Between two comparisons of endpoints.
pub(crate) const OUTLIER_INTERVAL: Bound<Duration> = millis(10 * SECOND, 10, HOUR);
/// How long an endpoint is left alone the first time.
pub(crate) const BASE_EJECTION_TIME: Bound<Duration> = millis(30 * SECOND, 10, 24 * HOUR);
/// How long at most.
pub(crate) const MAX_EJECTION_TIME: Bound<Duration> = millis(5 * MINUTE, 10, 24 * HOUR);
/// What is added to that.
pub(crate) const EJECTION_JITTER: Bound<Duration> = millis(0, 0, HOUR);
/// Endpoints that are left alone at once.
pub(crate) const MAX_EJECTION_PERCENT: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent(1_000), default_words: None };
/// Standard deviations below the mean.
pub(crate) const STDEV_FACTOR: Bound<Times> =
    Bound { min: Times(0), max: Times(10_000), default: Times(190), default_words: None };
/// Requests in an interval that make a rate of successes.
pub(crate) const SUCCESS_RATE_VOLUME: Bound<Count> = count(100, 1, 1_000_000_000);
/// Requests in an interval that make a share of failures, or a mean time.
pub(crate) const FAILURE_VOLUME: Bound<Count> = count(50, 1, 1_000_000_000);
/// Endpoints that it takes to compare them.
pub(crate) const OUTLIER_MINIMUM_HOSTS: Bound<Count> = count(5, 1, 1_000_000);
/// The share of requests that may not fail.
pub(crate) const FAILURE_THRESHOLD: Bound<Percent> =
    Bound { min: Percent(1), max: Percent::ALL, default: Percent(8_500), default_words: None };
/// How many times the time of others.
pub(crate) const LATENCY_FACTOR: Bound<Times> =
    Bound { min: Times(110), max: Times(100_000), default: Times(300), default_words: None };
/// Between two checks of an endpoint.
pub(crate) const CHECK_INTERVAL: Bound<Duration> = millis(5 * SECOND, 10, 24 * HOUR);
/// How much longer that may be.
pub(crate) const CHECK_JITTER: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent(1_000), default_words: None };
/// A check.
pub(crate) const CHECK_TIMEOUT: Bound<Duration> = millis(SECOND, 1, HOUR);
/// Checks in a row that went well.
pub(crate) const HEALTHY_THRESHOLD: Bound<Count> = count(2, 1, 1_000);
/// Checks in a row that did not.
pub(crate) const UNHEALTHY_THRESHOLD: Bound<Count> = count(3, 1, 1_000);

/// Files that a filter's configuration names.
pub(crate) const MAX_CONFIG_FILES: usize = 16;
/// Bytes of such a file.
pub(crate) const MAX_CONFIG_FILE_BYTES: u64 = MIB;
/// Keys that may be trusted.
pub(crate) const MAX_TRUSTED_KEYS: usize = 64;
/// Bytes of a key's file, and of a file with a secret.
pub(crate) const MAX_KEY_FILE_BYTES: u64 = 64 * KIB;
/// One attempt to fetch a module.
pub(crate) const FETCH_TIMEOUT: Bound<Duration> = millis(30 * SECOND, 1, HOUR);
/// Attempts to fetch a module after the first.
pub(crate) const FETCH_RETRIES: Bound<Count> = count(3, 0, 20);
/// Faults within the breaker's interval; 0 is never.
pub(crate) const BREAKER_FAULTS: Bound<Count> = count(5, 0, 1_000_000);
/// How long the breaker looks back.
pub(crate) const BREAKER_INTERVAL: Bound<Duration> = millis(MINUTE, SECOND, HOUR);
/// How long the breaker is open at first.
pub(crate) const BREAKER_OPEN_FOR: Bound<Duration> = millis(30 * SECOND, SECOND, HOUR);
/// Between two instances of a filter that fails.
pub(crate) const RELOAD_BASE_INTERVAL: Bound<Duration> = millis(SECOND, SECOND, HOUR);
/// The most that it grows to.
pub(crate) const RELOAD_MAX_INTERVAL: Bound<Duration> = millis(10 * SECOND, SECOND, HOUR);
/// Exchanges that an instance serves.
pub(crate) const RECYCLE_REQUESTS: Bound<Count> = limit_only(1, u64::MAX);
/// Memory of an instance that is to be replaced.
pub(crate) const RECYCLE_MEMORY: Bound<Size> =
    Bound { min: Size(64 * KIB), max: Size(4 * GIB), default: Size(4 * GIB), default_words: Some("none") };
/// Age of an instance.
pub(crate) const RECYCLE_AFTER: Bound<Duration> = Bound {
    min: Duration::from_millis(SECOND),
    max: Duration::from_millis(30 * 24 * HOUR),
    default: Duration::from_millis(30 * 24 * HOUR),
    default_words: Some("none"),
};
/// Instances for single exchanges at once.
pub(crate) const INSTANCES: Bound<Count> = count(1024, 1, 8192);
/// Instructions in a callback.
pub(crate) const INSTRUCTIONS: Bound<Count> = count(2_000_000, 1000, 1_000_000_000_000);
/// Instructions in a second. Without default: there is no such limit where the file does not say.
pub(crate) const INSTRUCTIONS_PER_SECOND: Bound<Count> =
    Bound { default_words: Some("no limit"), ..count(1_000_000_000, 1000, 1_000_000_000_000) };
/// Time in a callback.
pub(crate) const WALL_CLOCK: Bound<Duration> = millis(SECOND, 1, MINUTE);
/// Linear memory; the least is one page.
pub(crate) const MEMORY: Bound<Size> = size(16 * MIB, 64 * KIB, 4 * GIB);
/// Callouts in flight.
pub(crate) const CALLOUTS: Bound<Count> = count(64, 0, 65_536);
/// Log bytes a second.
pub(crate) const LOG_BYTES: Bound<Size> = size(64 * KIB, 0, GIB);
/// Shared data.
pub(crate) const SHARED_DATA: Bound<Size> = size(MIB, 0, GIB);
/// What waits in a shared queue.
pub(crate) const QUEUE: Bound<Size> = size(MIB, 0, GIB);
/// Cells.
pub(crate) const CELLS: Bound<Size> = size(16 * MIB, 0, 16 * GIB);
/// Exchanges that make a comparison of a filter's two versions.
pub(crate) const CANARY_MINIMUM: Bound<Count> = count(100, 1, 1_000_000_000);
/// How far such a comparison looks back.
pub(crate) const CANARY_INTERVAL: Bound<Duration> = millis(MINUTE, SECOND, 24 * HOUR);
/// Exchanges that a second version fails on; 0 is never.
pub(crate) const CANARY_FAULTS: Bound<Count> = count(1, 0, 1_000_000_000);
/// By how much a share may be beyond the first version's. Without default: it is not looked at where the file does not
/// say.
pub(crate) const CANARY_SHARE: Bound<Percent> =
    Bound { min: Percent(1), max: Percent::ALL, default: Percent::ALL, default_words: Some("not looked at") };
/// How many times the first version's mean. Without default, in the same way.
pub(crate) const CANARY_TIMES: Bound<Times> = Bound {
    min: Times(101),
    max: Times(100_000),
    default: Times(100_000),
    default_words: Some("not looked at"),
};
/// A second version's share.
pub(crate) const MIRROR_PERCENT: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent::ALL, default_words: None };
/// Mirrors of one route: each makes a copy of every body.
pub(crate) const MAX_MIRRORS: usize = 8;
/// Redirects that are followed for one request.
pub(crate) const FOLLOWED_REDIRECTS: Bound<Count> = count(1, 1, 20);
pub(crate) const CANARY_PERCENT: Bound<Percent> =
    Bound { min: Percent::NONE, max: Percent::ALL, default: Percent::NONE, default_words: None };
/// How long a step of a second version's share lasts.
pub(crate) const CANARY_EVERY: Bound<Duration> = millis(5 * MINUTE, SECOND, 30 * 24 * HOUR);
/// Metrics that a filter defines.
pub(crate) const METRICS: Bound<Count> = count(256, 0, 65_536);
