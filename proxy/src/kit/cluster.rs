//! Services that the filter calls, scripted by the test.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method};

use super::message::{PayloadEnd, Response};
use super::panics::Panics;
use super::seen::text;
use crate::exchange::{CALLOUT_RESPONSE_LIMIT, LONGEST_CALLOUT, drop_hop_by_hop};
use crate::filter::{Instance, Performer};
use crate::wasm::{Abandoned, CalloutResponse, CalloutResult, GrpcCallout, GrpcEvent, HttpCall};

/// A request that the filter made.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// use tidegate_test::{Call, Response};
///
/// fn users(call: &Call) -> Response {
///     assert_eq!((call.method.as_str(), call.header("accept")), ("GET", Some("application/json")));
///     Response::new(200).body(format!("{{\"asked for\": \"{}\"}}", call.target))
/// }
/// # let _ = users;
/// ```
#[derive(Debug, Clone)]
pub struct Call {
    /// The cluster that it went to.
    pub cluster: String,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: String,
    /// Its body.
    pub body: Bytes,
    /// How long the filter waits for the answer, where it gave a limit.
    pub timeout: Option<Duration>,
    /// The worker whose instance made it.
    pub worker: usize,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Call {
    /// A header's first value; `host` is the authority.
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// A trailer's first value.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref().and_then(|trailers| text(trailers, name))
    }

    /// Every header.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// What becomes of a request that the filter made. A [`Response`] is one: `into` makes it an answer.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// use std::time::Duration;
/// use tidegate_test::{Answer, Call, Response};
///
/// fn users(call: &Call) -> Answer {
///     match call.target.as_str() {
///         "/slow" => Response::new(200).after(Duration::from_secs(3)).into(),
///         "/cut" => Response::new(200).body("half of i").cut().into(),
///         "/gone" => Answer::unavailable("connection refused"),
///         _ => Answer::never(),
///     }
/// }
/// # let _ = users;
/// ```
#[derive(Debug)]
pub struct Answer(Kind);

#[derive(Debug)]
enum Kind {
    Response(Box<Response>),
    Unavailable(String),
    Never,
}

impl Answer {
    /// No endpoint takes the request: the filter sees a 503.
    pub fn unavailable(why: &str) -> Answer {
        Answer(Kind::Unavailable(why.to_owned()))
    }

    /// None comes: the filter sees a 504 when its time limit is over.
    pub fn never() -> Answer {
        Answer(Kind::Never)
    }

    fn after(&self) -> Duration {
        match &self.0 {
            Kind::Response(response) => response.after,
            Kind::Unavailable(_) => Duration::ZERO,
            Kind::Never => Duration::MAX,
        }
    }

    /// What the guest gets, as from a real service.
    fn into_result(self) -> CalloutResult {
        match self.0 {
            Kind::Response(response) => receive(*response),
            Kind::Unavailable(why) => CalloutResult::Unavailable(why),
            Kind::Never => CalloutResult::TimedOut,
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer(Kind::Response(Box::new(response)))
    }
}

fn receive(response: Response) -> CalloutResult {
    let Response { status, mut headers, payload, .. } = response;
    if payload.end != PayloadEnd::Whole {
        return CalloutResult::Reset("the response was cut".to_owned());
    }
    if payload.len() > CALLOUT_RESPONSE_LIMIT as u64 {
        return CalloutResult::Reset(format!("the response is larger than {CALLOUT_RESPONSE_LIMIT} bytes"));
    }
    drop_hop_by_hop(&mut headers);
    let body = payload.pieces.concat().into();
    CalloutResult::Response(CalloutResponse { status, headers, body, trailers: payload.trailers })
}

/// How a cluster answers.
pub(crate) type Script = Rc<RefCell<dyn FnMut(&Call) -> Answer>>;

/// When the answers to callouts come, beside what their script says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// As the scripts say.
    #[default]
    Scripted,
    /// The first of several last.
    Reversed,
    /// All of them later.
    Late,
}

impl Order {
    /// How much later the answer to the `n`th callout comes: never so late that a filter would give up on it.
    fn delay(self, n: usize, timeout: Duration) -> Duration {
        let most = timeout / 2;
        match self {
            Order::Scripted => Duration::ZERO,
            Order::Reversed => most.min(Duration::from_millis(64)) / (n as u32 + 1),
            Order::Late => most.min(Duration::from_secs(1)),
        }
    }
}

/// How many callouts are answered at one moment before a filter is taken for one that goes on for ever: time would never
/// pass.
const AT_ONCE: usize = 10_000;

/// The clusters of a kit, and what was asked of them.
#[derive(Default)]
pub(crate) struct Clusters {
    pub(crate) scripts: BTreeMap<String, Script>,
    pub(crate) order: Order,
    pub(crate) calls: RefCell<Vec<Call>>,
    /// The last moment at which something was asked, and how much.
    moment: Cell<Option<(tokio::time::Instant, usize)>>,
    is_beset: Cell<bool>,
}

impl Clusters {
    pub(crate) fn new(scripts: BTreeMap<String, Script>, order: Order) -> Clusters {
        Clusters { scripts, order, ..Clusters::default() }
    }

    /// Whether more was asked at one moment than is ever answered.
    pub(crate) fn is_beset(&self) -> bool {
        self.is_beset.get()
    }

    /// Notes that something is asked; whether it is to be answered.
    fn admit(&self) -> bool {
        let now = tokio::time::Instant::now();
        let asked = match self.moment.get() {
            Some((moment, asked)) if moment == now => asked + 1,
            _ => 1,
        };
        self.moment.set(Some((now, asked)));
        self.is_beset.set(self.is_beset.get() || asked > AT_ONCE);
        !self.is_beset.get()
    }
}

/// One worker's way to the clusters.
pub(crate) struct Callouts {
    pub(crate) worker: usize,
    pub(crate) clusters: Rc<Clusters>,
    pub(crate) panics: Rc<Panics>,
}

impl Performer for Callouts {
    fn http_call(&self, from: &Rc<Instance>, generation: u64, call: Box<HttpCall>, _: Abandoned) {
        let token = call.token;
        let call = seen(*call, self.worker);
        let nth = self.clusters.calls.borrow().len();
        self.clusters.calls.borrow_mut().push(call.clone());
        if !self.clusters.admit() {
            return self.panics.ring();
        }
        let (from, clusters, panics) = (Rc::downgrade(from), self.clusters.clone(), self.panics.clone());
        tokio::task::spawn_local(async move {
            // The host lets a guest call only what the kit has.
            let Some(script) = clusters.scripts.get(&call.cluster) else { return };
            let Some(answer) = panics.keep(|| script.borrow_mut()(&call)) else { return };
            let limit = call.timeout.unwrap_or(LONGEST_CALLOUT);
            let wanted = answer.after().saturating_add(clusters.order.delay(nth, limit));
            pass(wanted.min(limit)).await;
            let result = if wanted < limit { answer.into_result() } else { CalloutResult::TimedOut };
            if let Some(instance) = from.upgrade() {
                instance.deliver(generation, token, result);
            }
        });
    }

    /// Scripts answer HTTP: a gRPC callout finds nobody.
    fn grpc(&self, from: &Rc<Instance>, generation: u64, callout: Box<GrpcCallout>) {
        const UNAVAILABLE: u32 = 14;
        if !self.clusters.admit() {
            return self.panics.ring();
        }
        let (from, token) = (Rc::downgrade(from), callout.token);
        tokio::task::spawn_local(async move {
            if let Some(instance) = from.upgrade() {
                let message = "the test kit has no gRPC services".to_owned();
                instance.deliver_grpc(generation, token, GrpcEvent::Close { status: UNAVAILABLE, message });
            }
        });
    }
}

/// Lets virtual time pass: none where there is none to pass.
pub(crate) async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn seen(call: HttpCall, worker: usize) -> Call {
    let mut headers = call.headers;
    headers.insert(HOST, call.authority);
    Call {
        cluster: call.cluster,
        method: call.method,
        target: call.uri.to_string(),
        body: call.body,
        timeout: call.timeout,
        worker,
        headers,
        trailers: call.trailers,
    }
}
