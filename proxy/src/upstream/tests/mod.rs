//! Upstreams against a scripted server on a real socket.

mod bodies;
mod faults;
mod pooling;
mod server;
mod tunnel;
mod unix;
mod waiting;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use tokio::join;
use tokio::task::LocalSet;

use self::server::{OK, Peer, Server};
use super::{Attempt, Cluster, Criteria, RequestBody, ResponseBody, UpstreamError, Upstreams};
use crate::config::model;

type Sent = Result<Response<ResponseBody>, UpstreamError>;

/// A cluster of `endpoints` with limits that no test runs into by accident.
pub(super) fn cluster_config(endpoints: impl IntoIterator<Item = SocketAddr>) -> model::Cluster {
    model::Cluster {
        name: "test".into(),
        endpoints: endpoints.into_iter().map(|address| Arc::new(address.into())).collect(),
        balancing: model::Balancing::default(),
        affinity: None,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        idle_connections: 8,
        header_bytes: 16 * 1024,
        http2: model::Http2::default(),
        protocol: model::ClusterProtocol::Http1,
        tls: None,
        recovery: model::Recovery::default(),
    }
}

/// Runs a test as a worker runs everything. Half a minute means that it hangs.
fn on_worker(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test ends");
    });
}

/// A worker with one cluster. When it goes, nothing may be in flight any more.
struct Worker {
    upstreams: Rc<Upstreams>,
    cluster: Arc<Cluster>,
    last: Cell<Attempt>,
}

impl Worker {
    fn new(config: model::Cluster) -> Worker {
        let cluster = Arc::new(Cluster::new(Arc::new(config)));
        Worker {
            upstreams: Upstreams::new(std::slice::from_ref(&cluster), |_| Default::default()),
            cluster,
            last: Cell::default(),
        }
    }

    fn to(server: &Server) -> Worker {
        Worker::new(cluster_config([server.address()]))
    }

    /// Sends a request without asking what would be sent again.
    async fn send(&self, request: Request<RequestBody>) -> Sent {
        self.send_or(request, || None).await
    }

    async fn send_or(
        &self,
        request: Request<RequestBody>,
        again: impl FnOnce() -> Option<Request<RequestBody>>,
    ) -> Sent {
        self.send_as(&Criteria::default(), request, again).await
    }

    async fn send_as(
        &self,
        criteria: &Criteria<'_>,
        request: Request<RequestBody>,
        again: impl FnOnce() -> Option<Request<RequestBody>>,
    ) -> Sent {
        let again = || again().map(Box::new);
        let sent = self.upstreams.send(0, criteria, Box::new(request), again, &self.last).await;
        sent.map(|response| *response)
    }

    /// Asks this server of the cluster's.
    async fn get_from(&self, server: &Server) -> Sent {
        let criteria = Criteria { preferred: Some(server.address().into()), ..Criteria::default() };
        self.send_as(&criteria, get(), || None).await
    }

    /// The same, and the server's answer.
    async fn ask(&self, server: &Server) -> (Sent, Peer) {
        join!(self.get_from(server), server.answer(OK))
    }

    /// Another worker.
    fn beside(&self) -> Worker {
        let cluster = self.cluster.clone();
        let upstreams = Upstreams::new(std::slice::from_ref(&cluster), |_| Default::default());
        Worker { upstreams, cluster, last: Cell::default() }
    }

    async fn get(&self) -> Sent {
        self.send(get()).await
    }

    fn reused(&self) -> bool {
        self.last.get().reused
    }

    fn idle(&self) -> usize {
        self.upstreams.idle(0)
    }

    /// Waits until as many connections are unused.
    async fn until_idle(&self, count: usize) {
        while self.idle() != count {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.cluster.active(), 0, "something is left in flight");
        }
    }
}

fn request(method: Method, body: RequestBody) -> Request<RequestBody> {
    Request::builder().method(method).uri("/").header("host", "test").body(body).expect("a request")
}

fn get() -> Request<RequestBody> {
    request(Method::GET, RequestBody::Empty)
}

/// The whole of a response's body, and its trailers.
async fn read(sent: Sent) -> Result<(String, Option<HeaderMap>), UpstreamError> {
    let collected = sent?.into_body().collect().await?;
    let trailers = collected.trailers().cloned();
    Ok((String::from_utf8(collected.to_bytes().into()).expect("bodies here are text"), trailers))
}

async fn text(sent: Sent) -> String {
    read(sent).await.expect("a whole response").0
}

/// Polls what is to wait.
async fn begin(waiting: &mut (impl Future + Unpin)) {
    let mut waiting = std::pin::pin!(waiting);
    std::future::poll_fn(|cx| {
        assert!(waiting.as_mut().poll(cx).is_pending(), "it waits");
        std::task::Poll::Ready(())
    })
    .await;
}
