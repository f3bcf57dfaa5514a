//! One request's life, from its head to the last byte of its response.
//!
//! ```text
//!   headers  clean and bound what came in; the path's one form; forwarding headers
//!   route    find the route
//!   filter   request side of the chain → forward, or reply
//!   route    again, if a filter changed what routing looks at
//!   upstream pick an endpoint, get a connection, send
//!   filter   response side of the chain, in reverse
//!   reply    errors become responses here and nowhere else
//! ```
//!
//! `serve` answers and reports; `Exchange::run` is the straight way through. Whatever leaves that way is an
//! `Ending`, and becomes a response, or a cut connection, in `serve`. An exchange is reported once,
//! when it is dropped: after the last byte, or because the client left.
//!
//! What is public is what another driver of the chain needs to do as this one does: the test kit.

mod answer;
mod body;
mod callout;
mod chain;
mod compress;
mod cors;
mod decompress;
mod discard;
mod follow;
mod forward;
mod grpc;
mod grpc_web;
mod headers;
mod kept;
mod known;
mod mirror;
mod pages;
mod peer;
mod retry;
mod site;
mod ties;
mod tunnel;
mod upgrade;
mod upload;
mod watch;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full};

pub use answer::{Answer, Ending};
use body::Content;
pub(crate) use body::ReplyBody;
pub(crate) use callout::Callouts;
pub use callout::{CALLOUT_RESPONSE_LIMIT, LONGEST_CALLOUT};
use decompress::Source;
use follow::Way;
pub use headers::drop_hop_by_hop;
use headers::{Received, Wish};
use peer::is_nowhere;
pub(crate) use peer::{Peer, Phase};
pub(crate) use site::{Life, Site, Stage};
use ties::Cookies;
pub(crate) use tunnel::Berth;
pub(crate) use upgrade::ClientTunnel;
use upgrade::Upgrade;
use upload::Upload;
pub(crate) use upload::{ClientBody, ClientError};
use watch::Watch;

use crate::config::model::Action;
use crate::error::Failure;
use crate::filter::{FlowBody, Run};
use crate::grpc::is_call;
use crate::overload::Admitted;
use crate::path::{self, EscapedSlashes};
use crate::route;
use crate::tasks::Tasks;
use crate::telemetry::ExchangeReport;
use crate::upstream::{BoxError, RequestBody, ResponseBody};
use crate::wasm::stream::{Direction, Progress, RequestHead, Stream, StreamInfo};

/// A connection is to be cut: what was sent cannot be completed, or there is nothing to say.
#[derive(Debug, thiserror::Error)]
#[error("the exchange was cut")]
pub(crate) struct Cut;

/// Answers one request. Dropping the future, or the response's body before its end, means that the client left.
/// `client` is how its connection, or its stream, becomes a tunnel, if that can be.
pub(crate) async fn serve(
    site: Rc<Site>,
    peer: Arc<Peer>,
    request: Request<ClientBody>,
    client: Option<ClientTunnel>,
) -> Result<Response<ReplyBody>, Cut> {
    let version = request.version();
    let (mut head, received, body) = headers::receive(request, site.listener());
    let (web, body) = match site.listener().grpc_web {
        true => grpc_web::enter(&mut head.headers, body),
        false => (None, body),
    };
    let mut exchange = Exchange::begin(site, peer, head, version);
    exchange.web = web;
    let way = match received {
        Ok(received) => exchange.run(received, body).await,
        Err(refusal) => Err(refusal.into()),
    };
    match (way, client) {
        (Ok(Passed::Response(flow)), _) if exchange.must_explain(&flow) => {
            Box::pin(exchange.explain(flow)).await
        }
        (Ok(Passed::Response(flow)), _) => Ok(exchange.respond(flow, Content::Upstream)),
        (Ok(Passed::Upgrade(upgrade)), Some(client)) => Ok(exchange.tunnel(client, *upgrade)),
        (Ok(Passed::Upgrade(_)), None) => Box::pin(exchange.end(Failure::UpgradeFailed.into())).await,
        (Err(ending), _) => Box::pin(exchange.end(ending)).await,
    }
}

/// The head of a response that has come through the chain, framed as it goes to the client: from here on guests can
/// change its body and trailers only. They may go on reading it, if there are any.
pub fn leave<B>(run: &Run, flow: &mut FlowBody<B>, head_only: bool) -> (StatusCode, HeaderMap)
where
    B: Body<Data = Bytes> + Unpin,
{
    let status = run.stream().borrow().response.as_ref().map(|head| head.status);
    // A response to HEAD, or 304, speaks of a body that it does not have; 204 does not even speak of it (RFC 9110, 8.6).
    if !head_only && !matches!(status, Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) {
        flow.frame();
    }
    let mut stream = run.stream().borrow_mut();
    stream.response_progress = Progress::Body;
    if let Some(head) = &mut stream.response
        && head.status == StatusCode::NO_CONTENT
    {
        head.headers.remove(CONTENT_LENGTH);
    }
    match &mut stream.response {
        Some(head) if flow.is_direct() => (head.status, std::mem::take(&mut *head.headers)),
        Some(head) => (head.status, head.headers.let_go()),
        None => Default::default(),
    }
}

/// What came back through the chain.
enum Passed {
    /// A response, whose head is in the stream, and its body.
    Response(Box<FlowBody<Source<ResponseBody>>>),
    /// The upstream changes the protocol.
    Upgrade(Box<Upgrade>),
}

/// One exchange under way. Reported when dropped.
pub(crate) struct Exchange {
    site: Rc<Site>,
    peer: Arc<Peer>,
    run: Rc<Run>,
    watch: Watch,
    report: ExchangeReport,
    /// The route, once it is found: an index into the listener's.
    route: Option<usize>,
    /// The cluster that it is for, once that is found.
    target: Option<route::Target>,
    /// How many redirects of upstreams were followed.
    followed: u32,
    /// The bytes of body that had come when the last of them was.
    received: u64,
    /// Those that the proxy sets.
    cookies: Cookies,
    /// What decides which of a route's clusters it is, however often the route is looked for.
    draw: u64,
    /// The client's method was HEAD: responses have no body.
    head_only: bool,
    /// The client asked for another protocol.
    upgrade: Option<Wish>,
    /// The client speaks gRPC-Web, and reads its response in this form.
    web: Option<grpc_web::Form>,
    /// No request is to follow on this connection: where this one ended is not certain.
    last: bool,
    /// It counts among those that the proxy has.
    admitted: Option<Admitted>,
}

impl Exchange {
    fn begin(site: Rc<Site>, peer: Arc<Peer>, mut head: RequestHead, version: Version) -> Box<Exchange> {
        peer.enter_exchange();
        let now = Instant::now();
        let listener = site.listener();
        let client = headers::client_address(&head.headers, peer.address, listener.trusted_hops);
        // Only guests ask for the wall clock, which costs as much as all the rest of this.
        let start = if site.chain().is_empty() { SystemTime::UNIX_EPOCH } else { SystemTime::now() };
        let mut info = StreamInfo::new(start, client, peer.local);
        info.connection_id = peer.connection_id;
        info.unix = listener.unix_of(peer.local);
        if peer.tls.is_some() {
            head.scheme = peer.scheme();
            info.tls.clone_from(&peer.tls);
        }
        info.chance = fastrand::u32(..);
        match version {
            Version::HTTP_10 => info.protocol = "HTTP/1.0",
            Version::HTTP_2 => info.protocol = "HTTP/2",
            _ => {}
        }
        let mut report = ExchangeReport::begin(site.reporter(), now);
        if is_call(&head.headers) {
            report.begin_call();
        }
        report.log(|entry| {
            entry.note_request(&head.method, &head.uri, &head.headers);
            entry.client = Some(info.source).filter(|client| !is_nowhere(*client));
            entry.protocol = Some(info.protocol);
            entry.tls.clone_from(&info.tls);
        });
        let head_only = head.method == Method::HEAD;
        let watch =
            Watch { beginning: now, idle: listener.limits.stream_idle_timeout, whole: None, longest: None };
        let mut stream = Stream::new(head, info, site.chain().len());
        if !site.chain().is_empty() {
            stream.connection = Some(peer.properties.clone());
        }
        let run = chain::run(&site, stream);
        Box::new(Exchange {
            site,
            peer,
            run,
            watch,
            report,
            route: None,
            target: None,
            followed: 0,
            received: 0,
            cookies: Cookies::default(),
            draw: fastrand::u64(..),
            head_only,
            upgrade: None,
            web: None,
            last: false,
            admitted: None,
        })
    }

    /// The straight way: through the chain, to the upstream, and back through the chain.
    async fn run(&mut self, received: Received, body: ClientBody) -> Result<Passed, Ending> {
        self.upgrade = received.upgrade;
        self.normalize_path()?;
        self.introduce();
        let mut body = Upload::begin(body, &self.peer);
        loop {
            self.find_route();
            self.admit()?;
            self.choose_chain();
            self.answer_preflight()?;
            let sent = self.keep(body.as_mut());
            let filtered = self.filter_request(body.take()).await?;
            if self.run.stream().borrow().route_stale || self.site.routes().looks_at_properties() {
                self.find_route();
            }
            let site = self.site.clone();
            let route = self.route.map(|index| &site.listener().routes[index]).ok_or(Failure::NoRoute)?;
            let forward = match &route.action {
                Action::Respond(respond) => return Err(Ending::respond(respond)),
                Action::Redirect(redirect) => {
                    let request = &self.run.stream().borrow().request;
                    let rules = &site.listener().path_normalization;
                    return Err(Ending::redirect(redirect, &route.matches.path, request, rules));
                }
                Action::Forward(forward) => forward,
            };
            let mut response = self.forward(route, forward, filtered).await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                self.cookies.give(response.headers_mut());
                return Box::pin(self.pass_upgrade(*response)).await.map(Passed::Upgrade);
            }
            match self.follow(route, forward, &response, sent)? {
                Way::Back => {
                    self.cookies.give(response.headers_mut());
                    return self.filter_response(*response).await;
                }
                Way::On(upload) => body = upload,
            }
            discard::discard(self.tasks(), response.into_body());
        }
    }

    /// Brings the path into the one form that routes, filters and the upstream see. The access log has the client's.
    fn normalize_path(&self) -> Result<(), Ending> {
        let rules = &self.site.listener().path_normalization;
        let request = &mut self.run.stream().borrow_mut().request;
        let Some(normalized) = path::normalize(&request.uri, rules)? else { return Ok(()) };
        if normalized.unescaped && rules.escaped_slashes == EscapedSlashes::Redirect {
            return Err(Ending::normalized(&normalized.uri, request));
        }
        request.uri = normalized.uri;
        Ok(())
    }

    /// Says for whom the request is sent.
    fn introduce(&mut self) {
        let mut stream = self.run.stream().borrow_mut();
        let headers = &mut stream.request.headers;
        headers::forward_headers(headers, &self.peer, self.site.listener().trusted_hops);
        self.report.log(|entry| entry.request_id = headers.get(headers::X_REQUEST_ID).cloned());
    }

    /// Lets the request be served, unless the proxy has too much to do.
    fn admit(&mut self) -> Result<(), Ending> {
        if self.followed > 0 {
            return Ok(()); // it is the same request
        }
        let exempt = self.route.is_some_and(|route| !self.site.listener().routes[route].shed);
        let terms = self.site.overload();
        match self.site.admission().request(terms, exempt) {
            Ok(admitted) => self.admitted = admitted,
            Err(excess) => {
                // Nothing of it is worth a filter's work.
                self.run.step_aside();
                return Err(Ending::overloaded(excess, terms.retry_after));
            }
        }
        Ok(())
    }

    fn find_route(&mut self) {
        let mut stream = self.run.stream().borrow_mut();
        let stream = &mut *stream;
        stream.route_stale = false;
        let headers = &stream.request.headers;
        let listener = self.site.listener();
        let index = self.site.route_of(stream);
        let route = index.map(|index| &listener.routes[index]);
        self.watch.set(listener, route, headers);
        self.run.take_route(index);
        let target = match route.map(|route| &route.action) {
            Some(Action::Forward(forward)) => route::pick(&forward.clusters, headers, self.draw),
            _ => None,
        };
        // A filter that changed a header has seldom changed this; of a redirect that is followed less is known.
        if index.is_some() && (index, target) == (self.route, self.target) && self.followed == 0 {
            return;
        }
        (self.route, self.target) = (index, target);
        stream.info.route_name = index.map(|index| self.site.route_name(index));
        stream.info.cluster_name = target.map(|target| self.site.cluster_name(target.cluster));
        if let Some(index) = index {
            self.report.route(self.site.cell(index, None));
            self.report.log(|entry| entry.route = stream.info.route_name.clone());
        }
    }

    /// The request side of the chain, until the head has come out of it.
    async fn filter_request(&mut self, source: Option<Upload>) -> Result<RequestBody, Ending> {
        let source = source.map(|upload| self.decode_request(upload));
        let mut flow = FlowBody::new(self.run.clone(), Direction::Request, source);
        if !self.run.is_empty() {
            let head = pin!(async { flow.head().await.map_err(Ending::from_request) });
            self.watch.over(&self.run, head).await?;
        }
        flow.frame();
        if flow.is_end_stream() {
            return Ok(RequestBody::Empty);
        }
        Ok(RequestBody::Stream(Box::pin(flow.map_err(|error| Box::new(error) as BoxError))))
    }

    /// The response side of the chain, until the head has come out of it.
    async fn filter_response(&mut self, response: Response<ResponseBody>) -> Result<Passed, Ending> {
        let (mut parts, body) = response.into_parts();
        headers::drop_hop_by_hop(&mut parts.headers);
        if !self.site.listener().error_pages.is_empty()
            && let Some(ending) = self.replace(parts.status, &parts.headers)
        {
            discard::discard(self.site.tasks(), body);
            return Err(ending);
        }
        let source = if body.is_end_stream() {
            self.decode_response_head(parts.status, &mut parts.headers);
            None
        } else {
            Some(self.decode_response(parts.status, &mut parts.headers, body))
        };
        self.run.take_response(parts.status, parts.headers);
        if !self.run.is_idle() {
            self.run.stream().borrow_mut().info.code_details = Some("via_upstream".into());
        }
        let mut flow = Box::new(FlowBody::new(self.run.clone(), Direction::Response, source));
        self.filter_response_head(&mut flow).await?;
        Ok(Passed::Response(flow))
    }

    async fn filter_response_head<B>(&mut self, flow: &mut FlowBody<B>) -> Result<(), Ending>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::error::Error + 'static,
    {
        if !flow.is_direct() {
            let head = pin!(async { flow.head().await.map_err(Ending::from_response) });
            self.watch.over(&self.run, head).await?;
        }
        Ok(())
    }

    /// The response as it is sent, after the chain. It owns the exchange from now on.
    fn respond<B>(
        mut self: Box<Self>,
        mut flow: Box<FlowBody<B>>,
        content: impl FnOnce(Box<FlowBody<B>>) -> Content,
    ) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (status, mut headers) = self.response(&mut flow);
        let is_empty = flow.is_end_stream() && !self.head_only;
        // What an explained call had for a body is not sent, and a gRPC message is compressed by its service.
        let is_coded = !is_empty && self.web.is_none();
        let encoded = if is_coded { self.choose_coding(status, &mut headers) } else { None };
        let manner = self.choose_manner(&mut headers);
        let mut response = Response::new(ReplyBody::new(content(flow), encoded, manner, self));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// The response's status and headers as they are sent. Guests may go on reading them, if there are any.
    fn response<B>(&mut self, flow: &mut FlowBody<B>) -> (StatusCode, HeaderMap)
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (mut status, mut headers) = leave(&self.run, flow, self.head_only);
        if status.is_success() && self.upgrade.as_ref().is_some_and(|wish| wish.extended) {
            // A success would say that there is a tunnel (RFC 8441, 4), and what follows is none.
            status = Failure::UpgradeFailed.status().unwrap_or(StatusCode::BAD_GATEWAY);
            self.note(Some(Failure::UpgradeFailed), Failure::UpgradeFailed.reason(), None);
        }
        if let Some(route) = self.route {
            let known = |operator: &_| self.known_of_response(&self.run.stream().borrow(), status, operator);
            self.site.listener().routes[route].response_headers.apply(&mut headers, &known);
            self.expose_response(&mut headers);
        }
        if !flow.is_direct() {
            headers::drop_hop_by_hop(&mut headers); // a guest may have written some
        }
        // What the client has not said yet may never be read: it is told not to say anything else here.
        let unread = self.peer.phase() == Phase::Request;
        let relieves = self.site.admission().is_relieving();
        let closes = self.last || unread || relieves || self.site.is_draining();
        if closes && !self.peer.is_multiplexed() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.run.is_compared() {
            self.run.note_answer(status, self.watch.beginning.elapsed());
        }
        self.report.answer(status);
        self.report.end_call(&headers);
        (status, headers)
    }

    /// Ends an exchange otherwise than with the upstream's response.
    async fn end(mut self: Box<Self>, ending: Ending) -> Result<Response<ReplyBody>, Cut> {
        let mut ending = ending;
        loop {
            match ending {
                Ending::Answer(answer) => match self.answer(answer).await {
                    Ok(flow) => return Ok(self.respond(flow, Content::Local)),
                    Err(next) => ending = next, // at most once: the next answer goes out directly
                },
                Ending::Cut { failure, details, filter } => {
                    self.note(Some(failure), &details, filter);
                    return Err(Cut);
                }
            }
        }
    }

    /// Answers by itself. Before there was a response, the answer goes through the response side of the chain as one
    /// would; an answer to the response itself replaces it and goes out directly, as in Envoy.
    async fn answer(&mut self, answer: Box<Answer>) -> Result<Box<FlowBody<Full<Bytes>>>, Ending> {
        self.last = answer.failure.is_some_and(|failure| failure.status() == Some(StatusCode::BAD_REQUEST));
        self.note(answer.failure, &answer.details, answer.filter.clone());
        let mut answer = answer;
        if !answer.is_page {
            self.write_page(&mut answer);
        }
        let mut flow = Box::new(answer.enter(&self.run, self.head_only));
        self.filter_response_head(&mut flow).await?;
        flow.gather();
        Ok(flow)
    }

    /// Notes what ended the exchange otherwise than the upstream's response.
    fn note(&mut self, failure: Option<Failure>, details: &str, filter: Option<Arc<str>>) {
        if let Some(failure) = failure {
            self.report.fail(failure);
        }
        self.report.log(|entry| {
            entry.details = Some(details.to_owned());
            entry.filter = filter;
        });
        self.run.stream().borrow_mut().info.code_details = Some(details.to_owned().into());
    }

    fn complete(&mut self) {
        self.report.complete();
    }

    /// Notes why the proxy dropped the exchange, where it was not the client who left.
    fn note_given_up(&mut self) {
        if self.report.outcome().failure != Some(Failure::ClientLeft) {
            return;
        }
        let failure = if self.site.is_drained() {
            Failure::Draining
        } else if self.peer.is_stalled() {
            Failure::RequestIdle
        } else {
            return;
        };
        self.note(Some(failure), failure.reason(), None);
    }

    fn tasks(&self) -> &Rc<Tasks> {
        self.site.tasks()
    }
}

impl Drop for Exchange {
    /// The end of the exchange, whichever way it came: guests log it, then it is reported.
    fn drop(&mut self) {
        self.note_given_up();
        let meter = self.run.meter();
        self.report.receive(self.received.max(meter.bytes(Direction::Request)));
        self.report.send(meter.bytes(Direction::Response));
        self.run.finish_after(self.report.stop());
        self.report.log(|entry| entry.skipped = self.run.skipped());
        self.peer.leave_exchange();
    }
}
