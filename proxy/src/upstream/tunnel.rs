//! A TCP connection to a cluster, for whoever carries bytes: nothing is pooled, nothing is sent again.

use std::net::SocketAddr;
use std::rc::Rc;

use http::StatusCode;
use tokio::net::TcpStream;

use super::breakers::refuse;
use super::connection::{Counted, connect};
use super::outlier::{self, Answer};
use super::pool::Pool;
use super::send::Attempt;
use super::{Criteria, UpstreamError, Upstreams};

/// A connection to an endpoint, counted as one and as the endpoint's business for as long as it is kept.
#[derive(Debug)]
pub struct Tunnel {
    stream: TcpStream,
    _counted: Counted,
    _busy: Busy,
}

impl Tunnel {
    /// Its socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Upstreams {
    /// Connects to an endpoint of the cluster at index `cluster`, as the `criteria` ask, within the cluster's
    /// `connect_timeout`. `attempt` says which endpoint that is, also where this fails or is dropped.
    ///
    /// # Errors
    ///
    /// There is no endpoint, or it cannot be reached.
    pub async fn connect(
        &self,
        cluster: usize,
        criteria: &Criteria<'_>,
        attempt: &mut Attempt,
    ) -> Result<Tunnel, UpstreamError> {
        *attempt = Attempt::default();
        let pool = self.pool(cluster, criteria)?;
        let address: SocketAddr = pool.endpoint().address();
        attempt.endpoint = Some(address);
        let busy = Busy::begin(pool.clone());
        let note = |answer| outlier::note(pool.cluster(), pool.endpoint(), pool.cell(), answer, None);
        let (stream, counted) = connect(&pool).await.map_err(|error| match error {
            UpstreamError::Overflow(limit) => refuse(&pool, limit),
            error => {
                pool.endpoint().fail();
                note(Answer::Local);
                error
            }
        })?;
        note(Answer::Status(StatusCode::OK)); // it took the connection: more nobody can tell
        attempt.local = stream.local_addr().ok();
        Ok(Tunnel { stream, _counted: counted, _busy: busy })
    }
}

/// Makes an endpoint look as busy as it is to whoever picks one.
#[derive(Debug)]
struct Busy(Rc<Pool>);

impl Busy {
    fn begin(pool: Rc<Pool>) -> Busy {
        pool.endpoint().begin();
        Busy(pool)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.endpoint().end();
    }
}
