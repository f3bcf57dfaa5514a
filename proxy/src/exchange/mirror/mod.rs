//! Mirroring: copies of requests for clusters whose answers nobody waits for.
//!
//! A copy is the request as it is sent to the cluster, its host marked. It goes its own way: nothing that becomes of it
//! changes the exchange that it is of. Its body is what has gone to the cluster; a mirror that does not keep up loses the
//! rest, see [`tee`]. A drain does not wait for copies.

mod tee;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Request};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use self::tee::{Copy, End, Held, Overrun, Pipe, Tee};
use super::headers::MIRRORED_BY;
use super::{Exchange, Site, Stage};
use crate::config::model::{Forward, Mirror, Percent, Route};
use crate::tasks::Tasks;
use crate::telemetry::metrics::{MirrorCell, MirrorOutcome};
use crate::upstream::{Criteria, RequestBody, ResponseBody, UpstreamError, Upstreams};

/// Copies under way, of one listener on one worker; no more are made while there are so many.
const MOST: usize = 1024;

/// How long a copy of a request takes at most whose route has no time limit.
const LONGEST: Duration = Duration::from_secs(300);

/// How much of a body waits for a copy that is slower, in bytes, and for all copies of a listener on one worker together.
const MOST_HELD: usize = 1024 * 1024;
const MOST_HELD_BY_ALL: usize = 64 * 1024 * 1024;

/// How much of an answer is read, in bytes, so that the connection can be used again; one with more is cut.
const ANSWER_LIMIT: u64 = 1024 * 1024;

/// How often a copy looks whether its worker drains.
const GLANCE: Duration = Duration::from_millis(100);

/// What a listener's copies have on one worker. It keeps nothing else of a configuration alive.
pub(super) struct Mirroring {
    upstreams: Rc<Upstreams>,
    tasks: Rc<Tasks>,
    stage: Rc<Cell<Stage>>,
    under_way: Cell<usize>,
    held: Rc<Held>,
}

impl Mirroring {
    pub(super) fn new(
        upstreams: &Rc<Upstreams>,
        tasks: &Rc<Tasks>,
        stage: &Rc<Cell<Stage>>,
    ) -> Rc<Mirroring> {
        let (upstreams, tasks, stage) = (upstreams.clone(), tasks.clone(), stage.clone());
        let held = Held::new(MOST_HELD_BY_ALL);
        Rc::new(Mirroring { upstreams, tasks, stage, under_way: Cell::new(0), held })
    }

    fn send(
        self: &Rc<Self>,
        mirror: &Mirror,
        request: Box<Request<RequestBody>>,
        pipe: Option<Rc<Pipe>>,
        limit: Duration,
        cell: &Arc<MirrorCell>,
    ) {
        if self.under_way.get() >= MOST {
            cell.count(MirrorOutcome::Skipped);
            return;
        }
        let under_way = UnderWay::begin(self);
        let (cluster, cell) = (mirror.cluster, cell.clone());
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                biased;
                outcome = perform(&under_way.0.upstreams, cluster, request) => outcome,
                outcome = late(pipe, limit) => outcome,
                () = under_way.0.draining() => MirrorOutcome::Cancelled,
            };
            cell.count(outcome);
        });
    }

    async fn draining(&self) {
        while self.stage.get() == Stage::Serving {
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Counts a copy as under way.
struct UnderWay(Rc<Mirroring>);

impl UnderWay {
    fn begin(mirroring: &Rc<Mirroring>) -> UnderWay {
        mirroring.under_way.set(mirroring.under_way.get() + 1);
        UnderWay(mirroring.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// Waits until the copy's body is more than it may hold, or until the copy takes longer than it may: as with the request
/// that counts from its end, which the request sees to.
async fn late(pipe: Option<Rc<Pipe>>, limit: Duration) -> MirrorOutcome {
    if let Some(pipe) = pipe
        && pipe.ended().await == End::Overrun
    {
        return MirrorOutcome::Overrun;
    }
    tokio::time::sleep(limit).await;
    MirrorOutcome::Failed
}

async fn perform(upstreams: &Upstreams, cluster: usize, request: Box<Request<RequestBody>>) -> MirrorOutcome {
    match upstreams.send(cluster, &Criteria::default(), request, || None, &Cell::default()).await {
        Ok(response) => read(response.into_body()).await,
        Err(error) if is_overrun(&error) => MirrorOutcome::Overrun,
        Err(_) => MirrorOutcome::Failed,
    }
}

/// Reads an answer to its end, for the sake of the connection.
async fn read(mut body: ResponseBody) -> MirrorOutcome {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return MirrorOutcome::Failed };
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
        if length > ANSWER_LIMIT {
            break;
        }
    }
    MirrorOutcome::Answered
}

fn is_overrun(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::RequestBody(_)) && error.find::<Overrun>().is_some()
}

impl Exchange {
    /// Sends copies of the request that is about to be sent, to those of the route's mirrors that are to have one. The
    /// body that comes back is the request's: as it is read, the copies get it.
    pub(super) fn mirror(&self, route: &Route, forward: &Forward, body: RequestBody) -> RequestBody {
        if forward.mirrors.is_empty() || self.upgrade.is_some() || self.site.is_draining() {
            return body; // nearly always
        }
        let Some(index) = self.route else { return body };
        let mut copies = Vec::new();
        let is_streamed = !body.is_end_stream();
        for (mirror, cell) in forward.mirrors.iter().zip(self.site.mirror_cells(index)) {
            if fastrand::u32(..Percent::ALL.0) >= mirror.percent.0 {
                continue;
            }
            let mut pipe = None;
            let copy = match &body {
                RequestBody::Full(bytes) => RequestBody::Full(bytes.clone()),
                RequestBody::Stream(_) if is_streamed => {
                    let (filled, copy) = Copy::new(body.size_hint(), MOST_HELD, &self.site.mirroring().held);
                    copies.push(filled.clone());
                    pipe = Some(filled);
                    RequestBody::Stream(Box::pin(copy))
                }
                RequestBody::Stream(_) | RequestBody::Empty => RequestBody::Empty,
            };
            let Ok(mut request) = self.upstream_request(route, forward, copy) else { continue };
            mark(request.headers_mut(), route, mirror);
            self.site.mirroring().send(mirror, request, pipe, route.timeout.unwrap_or(LONGEST), cell);
        }
        if copies.is_empty() { body } else { RequestBody::Stream(Box::pin(Tee::new(body, copies))) }
    }
}

/// As in Envoy a copy's host ends in `-shadow`, before its port.
fn mark(headers: &mut HeaderMap, route: &Route, mirror: &Mirror) {
    if mirror.mark_host
        && let Some(host) =
            headers.get(HOST).map(|host| crate::route::with_host_suffix(host.as_bytes(), b"-shadow"))
        && let Ok(host) = HeaderValue::from_bytes(&host)
    {
        headers.insert(HOST, host);
    }
    let name = HeaderValue::from_str(&route.name);
    headers.insert(MIRRORED_BY, name.unwrap_or_else(|_| HeaderValue::from_static("route")));
}

impl Site {
    fn mirror_cells(&self, route: usize) -> &[Arc<MirrorCell>] {
        &self.facts(route).mirrors
    }
}
