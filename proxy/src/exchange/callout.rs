//! Requests that guests make.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::HOST;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::Notify;

use super::{grpc, headers};
use crate::filter::{Instance, Performer};
use crate::tasks::Tasks;
use crate::upstream::{Criteria, RequestBody, ResponseBody, UpstreamError, Upstreams};
use crate::wasm::{Abandoned, CalloutResponse, CalloutResult, GrpcCallout, GrpcKind, HttpCall};

/// A response's body is held for the guest up to this, in bytes; more is a reset.
pub const CALLOUT_RESPONSE_LIMIT: usize = 1024 * 1024;

/// A callout that sets no time limit of its own still ends: a lost answer must not be waited for to the end of time.
pub const LONGEST_CALLOUT: Duration = Duration::from_secs(300);

/// Sends guests' requests with a worker's connections.
pub(crate) struct Callouts {
    upstreams: Rc<Upstreams>,
    tasks: Rc<Tasks>,
    /// gRPC streams, which end with their guests at the latest.
    streams: Rc<Tasks>,
    worn: Rc<Notify>,
}

impl Callouts {
    /// `worn` is notified of guests that are to be replaced.
    pub(crate) fn new(upstreams: Rc<Upstreams>, tasks: Rc<Tasks>, worn: Rc<Notify>) -> Rc<Callouts> {
        Rc::new(Callouts { upstreams, tasks, streams: Rc::default(), worn })
    }

    /// Waits until no gRPC stream is open: to be called when the guests are gone.
    pub(crate) async fn ended(&self) {
        self.streams.ended().await;
    }
}

impl Performer for Callouts {
    fn http_call(&self, from: &Rc<Instance>, generation: u64, call: Box<HttpCall>, abandoned: Abandoned) {
        let upstreams = self.upstreams.clone();
        // A guest that fails again and again must not leave its callouts behind, each time as many as it may have.
        let from = Rc::downgrade(from);
        self.tasks.spawn(async move {
            let token = call.token;
            let limit = call.timeout.unwrap_or(LONGEST_CALLOUT);
            let result = tokio::select! {
                biased;
                () = abandoned.wait() => return,
                result = tokio::time::timeout(limit, perform(&upstreams, *call)) => result,
            };
            if let Some(instance) = from.upgrade() {
                instance.deliver(generation, token, result.unwrap_or(CalloutResult::TimedOut));
            }
        });
    }

    fn grpc(&self, from: &Rc<Instance>, generation: u64, callout: Box<GrpcCallout>) {
        let tasks = match callout.kind {
            GrpcKind::Call => &self.tasks,
            GrpcKind::Stream => &self.streams,
        };
        let recipient = grpc::Recipient::new(from, generation, callout.token);
        tasks.spawn(grpc::perform(self.upstreams.clone(), recipient, *callout));
    }

    fn recycle(&self) {
        self.worn.notify_one();
    }
}

async fn perform(upstreams: &Upstreams, call: HttpCall) -> CalloutResult {
    let Some(cluster) = upstreams.find(&call.cluster) else {
        return CalloutResult::Unavailable("the cluster is gone".to_owned());
    };
    let request = || request(&call);
    match upstreams.send(cluster, &Criteria::default(), request(), || Some(request()), &Cell::default()).await
    {
        Ok(response) => receive(*response).await,
        Err(
            error @ (UpstreamError::NoEndpoint
            | UpstreamError::ConnectRefused(_)
            | UpstreamError::Connect(_)
            | UpstreamError::ConnectTimeout
            | UpstreamError::Tls(_)
            | UpstreamError::Closed { .. }),
        ) => CalloutResult::Unavailable(error.to_string()),
        Err(error) => CalloutResult::Reset(error.to_string()),
    }
}

fn request(call: &HttpCall) -> Box<Request<RequestBody>> {
    let body = match (&call.trailers, call.body.is_empty()) {
        (Some(trailers), _) => {
            let trailers: Result<HeaderMap, std::convert::Infallible> = Ok(trailers.clone());
            let body = http_body_util::Full::new(call.body.clone());
            RequestBody::Stream(Box::pin(
                body.with_trailers(std::future::ready(Some(trailers))).map_err(|never| match never {}),
            ))
        }
        (None, true) => RequestBody::Empty,
        (None, false) => RequestBody::Full(call.body.clone()),
    };
    let mut request = Box::new(Request::new(body));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.uri.clone();
    *request.headers_mut() = call.headers.clone();
    request.headers_mut().insert(HOST, call.authority.clone());
    request
}

async fn receive(response: Response<ResponseBody>) -> CalloutResult {
    let (parts, mut body) = response.into_parts();
    let mut headers = parts.headers;
    headers::drop_hop_by_hop(&mut headers);
    let mut data = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return CalloutResult::Reset(error.to_string()),
        };
        match frame.into_data() {
            Ok(chunk) if data.len() + chunk.len() > CALLOUT_RESPONSE_LIMIT => {
                return CalloutResult::Reset(format!(
                    "the response is larger than {CALLOUT_RESPONSE_LIMIT} bytes"
                ));
            }
            Ok(chunk) => data.extend_from_slice(&chunk),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    CalloutResult::Response(CalloutResponse { status: parts.status, headers, body: data.freeze(), trailers })
}
