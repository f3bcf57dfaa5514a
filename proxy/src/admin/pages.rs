//! The pages: from a path to a response. No I/O.

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use percent_encoding::percent_decode_str;

use super::{AdminState, Feed, NoRecording, Reloaded, Stage, Steered, Trouble, Wanted, origin};
use crate::canary::Order;
use crate::config::model::Percent;
use crate::config::{Parse as _, Size};
use crate::recording::MAX_BYTES;
use crate::telemetry::metrics::Format;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What a request that changes something may carry, in bytes: nothing is made of it.
const MAX_BODY_BYTES: usize = 16 * 1024;

const INDEX: &str = "\
tidegate

/metrics  metrics, for Prometheus
/ready    200 while traffic should be sent here, 503 with the reason otherwise
/live     200 while the process answers
/filters  what each filter costs, by callback, as JSON: tidegate top shows it
/canaries filters' second versions, as JSON: tidegate canary shows them and steers them
/clusters each cluster's endpoints, how they are and what they have to do, as JSON
/config   the configuration in effect, as JSON
/recordings/FILTER  POST records what a filter sees and answers: tidegate filter record
/reload   what is served since when, and how the last reload went, as JSON; POST reads the configuration again
";

/// How many exchanges a recording takes where nobody says, and at most.
const DEFAULT_EXCHANGES: u64 = 1000;
const MAX_EXCHANGES: u64 = 10_000_000;

/// The largest size that a recording may be given, in bytes: whoever reads it has to put it somewhere.
const LARGEST: u64 = 1 << 40;

const WANTED: &str = "say `?exchanges=1000`, `bytes=1GiB`, `secrets=mask` or `secrets=keep`, `match=` and what a route's \
                      `match` has, or nothing\n";

const ORDERS: &str =
    "say `?percent=5`, `?rollback`, `?promote`, `?pause` or `?resume`; a share is 0% to 100%\n";

/// What a request is answered with.
pub(super) enum Answer {
    Page(Response<Full<Bytes>>),
    /// How a reload goes that is to be begun: see [`reloaded`].
    Reload,
    /// What comes of an order to a filter's second version: see [`steered`].
    Steer {
        filter: String,
        order: Order,
    },
    /// A recording that is to be begun: see [`recording`].
    Record {
        filter: String,
        wanted: Wanted,
    },
}

/// Answers a request. The body of an answer to HEAD is left out by hyper.
pub(super) fn respond(state: &AdminState, head: &Parts) -> Answer {
    if let Err(stranger) = origin::admit(head) {
        return Answer::Page(page(StatusCode::FORBIDDEN, TEXT, format!("{stranger}\n")));
    }
    let Parts { method, uri, headers, .. } = head;
    let path = uri.path();
    if let Some(filter) = path.strip_prefix("/canaries/") {
        return steer(filter, method, uri.query().unwrap_or_default());
    }
    if let Some(filter) = path.strip_prefix("/recordings/") {
        return record(filter, method, uri.query().unwrap_or_default());
    }
    let known = matches!(
        path,
        "/" | "/metrics"
            | "/ready"
            | "/live"
            | "/filters"
            | "/canaries"
            | "/clusters"
            | "/config"
            | "/reload"
    );
    Answer::Page(match (path, method) {
        _ if !known => page(StatusCode::NOT_FOUND, TEXT, "no such page; / lists them\n"),
        ("/reload", &Method::POST) => return Answer::Reload,
        ("/metrics", &Method::GET | &Method::HEAD) => metrics(state, headers),
        ("/ready", &Method::GET | &Method::HEAD) => ready(state.readiness.stage(), &(state.troubles)()),
        ("/live", &Method::GET | &Method::HEAD) => page(StatusCode::OK, TEXT, "live\n"),
        ("/filters", &Method::GET | &Method::HEAD) => page(StatusCode::OK, JSON, (state.filters)()),
        ("/canaries", &Method::GET | &Method::HEAD) => page(StatusCode::OK, JSON, (state.canaries)()),
        ("/clusters", &Method::GET | &Method::HEAD) => page(StatusCode::OK, JSON, (state.clusters)()),
        ("/config", &Method::GET | &Method::HEAD) => page(StatusCode::OK, JSON, (state.config)()),
        ("/reload", &Method::GET | &Method::HEAD) => page(StatusCode::OK, JSON, (state.status)()),
        ("/", &Method::GET | &Method::HEAD) => page(StatusCode::OK, TEXT, INDEX),
        ("/reload", _) => not_allowed("GET, HEAD, POST"),
        _ => not_allowed("GET, HEAD"),
    })
}

/// An order to a filter's second version: `?percent=5`, `?rollback`, `?promote`, `?pause` or `?resume`.
fn steer(filter: &str, method: &Method, query: &str) -> Answer {
    if method != Method::POST {
        return Answer::Page(not_allowed("POST"));
    }
    let filter = percent_decode_str(filter).decode_utf8_lossy().into_owned();
    match order(query) {
        Some(order) => Answer::Steer { filter, order },
        None => Answer::Page(page(StatusCode::BAD_REQUEST, TEXT, ORDERS)),
    }
}

/// A wish for a recording: `?exchanges=1000&secrets=keep&match={path: {prefix: /api}}`, each of which may be left out.
fn record(filter: &str, method: &Method, query: &str) -> Answer {
    if method != Method::POST {
        return Answer::Page(not_allowed("POST"));
    }
    let filter = percent_decode_str(filter).decode_utf8_lossy().into_owned();
    match wanted(query) {
        Some(wanted) => Answer::Record { filter, wanted },
        None => Answer::Page(page(StatusCode::BAD_REQUEST, TEXT, WANTED)),
    }
}

fn wanted(query: &str) -> Option<Wanted> {
    let mut wanted =
        Wanted { exchanges: DEFAULT_EXCHANGES, bytes: MAX_BYTES, matches: None, keeps_secrets: false };
    for field in query.split('&').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=')?;
        let value = percent_decode_str(value).decode_utf8().ok()?;
        match (name, &*value) {
            ("exchanges", number) => {
                wanted.exchanges =
                    number.parse().ok().filter(|number| (1..=MAX_EXCHANGES).contains(number))?;
            }
            ("bytes", size) => {
                let Size(bytes) = Size::parse(size).ok()?;
                wanted.bytes = Some(bytes).filter(|bytes| (1..=LARGEST).contains(bytes))?;
            }
            ("secrets", "keep") => wanted.keeps_secrets = true,
            ("secrets", "mask") => wanted.keeps_secrets = false,
            ("match", text) => wanted.matches = Some(text.to_owned()),
            _ => return None,
        }
    }
    Some(wanted)
}

/// What is recorded, as it happens.
pub(super) fn recording(feed: Feed) -> Response<Feed> {
    let mut response = Response::new(feed);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Why nothing is recorded.
pub(super) fn not_recorded(filter: &str, refusal: NoRecording) -> Response<Full<Bytes>> {
    let (status, text) = match refusal {
        NoRecording::NoSuch => (
            StatusCode::NOT_FOUND,
            format!("no chain has a filter `{filter}` that runs; /filters lists those that do"),
        ),
        NoRecording::Match(why) => (StatusCode::BAD_REQUEST, why),
        NoRecording::Refused(why) => (StatusCode::CONFLICT, why),
    };
    page(status, TEXT, format!("{text}\n"))
}

fn order(query: &str) -> Option<Order> {
    Some(match query {
        "rollback" => Order::Rollback,
        "promote" => Order::Promote,
        "pause" => Order::Pause,
        "resume" => Order::Resume,
        _ => {
            let share = percent_decode_str(query.strip_prefix("percent=")?).decode_utf8().ok()?;
            let share = Percent::parse(&share).ok()?;
            (share <= Percent::ALL).then_some(Order::Share(share))?
        }
    })
}

/// What came of an order.
pub(super) fn steered(filter: &str, outcome: Steered) -> Response<Full<Bytes>> {
    match outcome {
        Steered::Done(report) => page(StatusCode::OK, JSON, report),
        Steered::NoSuch => page(
            StatusCode::NOT_FOUND,
            TEXT,
            format!("no filter `{filter}` has a canary; /canaries lists them\n"),
        ),
        Steered::Refused(why) => page(StatusCode::CONFLICT, TEXT, format!("{why}\n")),
    }
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let text = format!("this page is for {methods}\n");
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Reads what came with a request that changes something, or refuses it.
pub(super) async fn is_small(body: Incoming) -> Result<(), Response<Full<Bytes>>> {
    let read = Limited::new(body, MAX_BODY_BYTES).collect().await;
    read.map(drop)
        .map_err(|_| page(StatusCode::PAYLOAD_TOO_LARGE, TEXT, "nothing is made of a body: leave it out\n"))
}

/// How a reload went. What cannot be served is explained as in the log.
pub(super) fn reloaded(outcome: Reloaded) -> Response<Full<Bytes>> {
    match outcome {
        Reloaded::Served(status) => page(StatusCode::OK, JSON, status),
        Reloaded::Refused(why) => page(StatusCode::UNPROCESSABLE_ENTITY, TEXT, format!("{why}\n")),
        Reloaded::Failed(why) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{why}\n")),
        Reloaded::Ending => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the proxy ends\n"),
    }
}

fn metrics(state: &AdminState, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::negotiate(&accept.collect::<Vec<_>>().join(","));
    match (state.metrics)(format) {
        Ok(text) => page(StatusCode::OK, format.content_type(), text),
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "a source of metrics failed\n"),
    }
}

/// The stage, or that all is not well, and what is not.
fn ready(stage: Stage, troubles: &[Trouble]) -> Response<Full<Bytes>> {
    let (status, word) = match stage {
        Stage::Ready if troubles.iter().any(|trouble| trouble.is_severe) => {
            (StatusCode::SERVICE_UNAVAILABLE, "failing")
        }
        Stage::Ready => (StatusCode::OK, stage.word()),
        Stage::Starting | Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, stage.word()),
    };
    let troubles: String = troubles.iter().map(|trouble| format!("{}\n", trouble.what)).collect();
    page(status, TEXT, format!("{word}\n{troubles}"))
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
