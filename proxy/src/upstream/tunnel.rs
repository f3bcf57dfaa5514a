//! A TCP connection to a cluster, for whoever carries bytes: nothing is pooled, nothing is sent again.

use std::rc::Rc;

use http::StatusCode;

use super::breakers::refuse;
use super::connection::{Counted, connect};
use super::outlier::{self, Answer};
use super::pool::Pool;
use super::send::Attempt;
use super::{Criteria, UpstreamError, Upstreams};
use crate::tls::Purpose;
use crate::transport::Transport;

/// A connection to an endpoint, counted as one and as the endpoint's business for as long as it is kept.
#[derive(Debug)]
pub struct Tunnel {
    transport: Transport,
    _counted: Counted,
    _busy: Busy,
}

impl Tunnel {
    /// What its bytes go through.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl Upstreams {
    /// Connects to an endpoint of the cluster at index `cluster`, as the `criteria` ask, within the cluster's
    /// `connect_timeout`, and says the `prelude`, before TLS where there is TLS. `attempt` says which endpoint that is, also where this fails or is dropped.
    ///
    /// # Errors
    ///
    /// There is no endpoint, or it cannot be reached.
    pub async fn connect(
        &self,
        cluster: usize,
        criteria: &Criteria<'_>,
        prelude: &[u8],
        attempt: &mut Attempt,
    ) -> Result<Tunnel, UpstreamError> {
        *attempt = Attempt::default();
        let pool = self.pool(cluster, criteria)?;
        let address = pool.endpoint().address();
        attempt.endpoint = Some(address);
        let busy = Busy::begin(pool.clone());
        let note = |answer| outlier::note(pool.cluster(), pool.endpoint(), pool.cell(), answer, None);
        let (transport, counted) =
            connect(&pool, Purpose::Tcp, prelude).await.map_err(|error| match error {
                UpstreamError::Overflow(limit) => refuse(&pool, limit),
                error => {
                    pool.endpoint().fail();
                    note(Answer::Local);
                    error
                }
            })?;
        note(Answer::Status(StatusCode::OK)); // it took the connection: more nobody can tell
        attempt.local = transport.socket().local();
        Ok(Tunnel { transport, _counted: counted, _busy: busy })
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
