//! One exchange, step by step.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::drive::{Line, length_in};
use super::feed::Feed;
use super::message::{PayloadEnd, Request, Response};
use super::running::{Kit, Stuck};
use super::seen::{Forwarded, Received, Seen};
use super::usage::Usage;
use crate::filter::Run;
use crate::wasm::stream::{RequestHead, Stream, StreamInfo};

/// An exchange under way. After each step everything that is ready has run, and no time has passed.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// use tidegate_test::{Kit, Request, Response};
/// # let kit = Kit::of(&tidegate_test::Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap())).start();
///
/// let mut exchange = kit.open(Request::post("/").open_ended());
/// assert_eq!(exchange.forwarded().unwrap().header("x-tag"), Some("seen"));
/// exchange.request_body("abc");
/// exchange.end_request();
/// exchange.respond(Response::new(200).open_ended());
/// exchange.response_body("def");
/// assert_eq!(exchange.received().unwrap().body(), "def");
/// let seen = exchange.finish();
/// assert_eq!(seen.forwarded().body(), "abc");
/// ```
#[must_use = "an exchange that is dropped is one whose client leaves: see `finish`"]
pub struct Exchange<'k> {
    kit: &'k Kit,
    line: Rc<Line>,
    worker: usize,
    /// The request's body, where it is open-ended.
    request: Option<Feed>,
    /// The response's body, where it is open-ended.
    response: Option<Feed>,
    answered: bool,
    before: Before,
}

/// How much there was of everything that is counted when the exchange began.
struct Before {
    usage: Usage,
    journal: (usize, usize),
    callouts: usize,
}

impl<'k> Exchange<'k> {
    #[track_caller]
    pub(crate) fn begin(kit: &'k Kit, request: Request) -> Exchange<'k> {
        let exchange = Exchange::enter(kit, request);
        kit.settle();
        exchange
    }

    /// Begins it; what is ready has not run yet.
    #[track_caller]
    pub(crate) fn enter(kit: &'k Kit, request: Request) -> Exchange<'k> {
        let worker = kit.worker(request.worker);
        let before = Before {
            usage: Usage::of(&worker.usage),
            journal: kit.journal.len(),
            callouts: kit.clusters.calls.borrow().len(),
        };
        let feed = (!request.payload.is_empty()).then(|| Feed::new(length_in(&request.headers)));
        let (index, head_only) = (request.worker, request.method == Method::HEAD);
        let payload = request.payload.clone();
        let open = feed.clone().filter(|_| payload.end == PayloadEnd::Open);
        let chain = worker.chain.clone();
        let line = kit.within(|| {
            let run = Run::new(chain, stream(kit, request), kit.setup.buffer_limit);
            let line = Line::new(run, head_only, kit.setup.gap, kit.panics.clone());
            if let Some(feed) = &feed {
                line.feed(payload, feed.clone());
            }
            line.begin(feed);
            line
        });
        Exchange { kit, line, worker: index, request: open, response: None, answered: false, before }
    }

    /// Gives more of the request's body. The request has to be [open-ended](Request::open_ended).
    #[track_caller]
    pub fn request_body(&mut self, piece: impl Into<Bytes>) {
        let feed = open(&self.request, "request");
        self.kit.within(|| feed.push(piece.into()));
        self.kit.settle();
    }

    /// Ends an open-ended request.
    #[track_caller]
    pub fn end_request(&mut self) {
        self.end_request_with(&[]);
    }

    /// Ends an open-ended request with trailers.
    #[track_caller]
    pub fn end_request_with(&mut self, trailers: &[(&str, &str)]) {
        let feed = open(&self.request, "request");
        feed.end(trailer_map(trailers));
        self.kit.settle();
    }

    /// Has the upstream answer, which it may do before it has the whole request.
    #[track_caller]
    pub fn respond(&mut self, response: Response) {
        assert!(!self.answered, "the upstream has answered already");
        self.answered = true;
        let feed = Feed::new(length_in(&response.headers));
        self.response = Some(feed.clone()).filter(|_| response.payload.end == PayloadEnd::Open);
        self.kit.within(|| self.line.respond(response, Some(feed)));
        self.kit.settle();
    }

    /// Gives more of the response's body. The response has to be [open-ended](Response::open_ended).
    #[track_caller]
    pub fn response_body(&mut self, piece: impl Into<Bytes>) {
        let feed = open(&self.response, "response");
        feed.push(piece.into());
        self.kit.settle();
    }

    /// Ends an open-ended response.
    #[track_caller]
    pub fn end_response(&mut self) {
        self.end_response_with(&[]);
    }

    /// Ends an open-ended response with trailers.
    #[track_caller]
    pub fn end_response_with(&mut self, trailers: &[(&str, &str)]) {
        let feed = open(&self.response, "response");
        feed.end(trailer_map(trailers));
        self.kit.settle();
    }

    /// What the upstream has got by now.
    pub fn forwarded(&self) -> Option<Forwarded> {
        self.line.forwarded.borrow().clone()
    }

    /// What the client has got by now.
    pub fn received(&self) -> Option<Received> {
        self.line.received.borrow().clone()
    }

    /// Whether the exchange is held, by the filter or by an upstream that has not answered: it is not over, and nothing
    /// happens to it unless time passes or another step is taken.
    pub fn is_waiting(&self) -> bool {
        self.line.over.get().is_none()
    }

    /// The client leaves.
    #[track_caller]
    pub fn cut(self) -> Seen {
        self.kit.within(|| self.line.leave());
        self.kit.settle();
        self.seen()
    }

    /// Sees the exchange to its end: ends what is open-ended, has the [upstream](Kit::upstream) answer if it has not, and
    /// lets as much time pass as it takes.
    ///
    /// # Panics
    ///
    /// When it does not end: with where it stands.
    #[track_caller]
    pub fn finish(self) -> Seen {
        self.try_finish().unwrap_or_else(|stuck| panic!("{stuck}"))
    }

    /// The same, for those who go on where it does not end.
    pub(crate) fn try_finish(self) -> Result<Seen, Stuck> {
        self.kit.within(|| {
            for feed in [&self.request, &self.response].into_iter().flatten() {
                feed.end(None);
            }
            self.line.respond_with(self.kit.answering());
        });
        let ended = self.kit.wait_until(|| !self.is_waiting());
        if !ended {
            return Err(Stuck::Waiting { patience: self.kit.setup.patience, standing: self.standing() });
        }
        self.kit.try_settle()?;
        Ok(self.seen())
    }

    /// Where it stands, for messages.
    fn standing(&self) -> String {
        let (forwarded, received) = (self.forwarded(), self.received());
        let at = match (&forwarded, &received) {
            (None, None) => "the request's head is held",
            (Some(forwarded), None) if !forwarded.is_complete() => "the request's body is held",
            (Some(_), None) => "the response's head is held",
            (_, Some(_)) => "the response's body is held",
        };
        let (logs, _) = self.kit.journal.since(self.before.journal);
        let logs: Vec<String> = logs.iter().map(|line| format!("\n  {line}")).collect();
        format!("{at}{}{}", if logs.is_empty() { "" } else { "; the filter logged:" }, logs.concat())
    }

    fn seen(&self) -> Seen {
        let (kit, before) = (self.kit, &self.before);
        let stream = self.line.run.stream().borrow();
        let (logs, faults) = kit.journal.since(before.journal);
        Seen {
            outcome: self.line.outcome.get(),
            details: self.line.details.borrow().clone(),
            received: self.received(),
            forwarded: self.forwarded(),
            rerouted: stream.route_stale,
            properties: stream.properties.iter().map(|(path, value)| (path.clone(), value.clone())).collect(),
            logs,
            faults,
            callouts: kit.clusters.calls.borrow()[before.callouts..].to_vec(),
            usage: Usage::of(&kit.worker(self.worker).usage).since(&before.usage),
            duration: self.line.over.get().unwrap_or_default(),
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.is_waiting() && !std::thread::panicking() {
            self.kit.within(|| self.line.leave());
        }
    }
}

impl std::fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("outcome", &self.line.outcome.get()).finish_non_exhaustive()
    }
}

/// The exchange as its guests see it at first.
fn stream(kit: &Kit, request: Request) -> Stream {
    const LISTENER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 8080);
    let mut info = StreamInfo::new(kit.now(), request.client, LISTENER);
    kit.exchanges.set(kit.exchanges.get() + 1);
    info.connection_id = kit.exchanges.get();
    info.tls = request.tls;
    info.route_name = request.route.map(Into::into);
    info.cluster_name = request.cluster.map(Into::into);
    let mut headers = request.headers;
    crate::exchange::drop_hop_by_hop(&mut headers);
    let head = RequestHead { method: request.method, uri: request.target, scheme: request.scheme, headers };
    let mut stream = Stream::new(head, info, 1);
    stream.properties.extend(request.properties);
    stream
}

/// A message's feed that the test may still write to.
#[track_caller]
fn open<'a>(feed: &'a Option<Feed>, what: &str) -> &'a Feed {
    let open = feed.as_ref().filter(|feed| !feed.has_ended());
    open.unwrap_or_else(|| panic!("the {what} has ended: make it `open_ended` to give it step by step"))
}

#[track_caller]
fn trailer_map(trailers: &[(&str, &str)]) -> Option<HeaderMap> {
    let response =
        trailers.iter().fold(Response::new(200), |response, (name, value)| response.trailer(name, value));
    response.payload.trailers
}
