//! Asks an admin listener for its page `/filters`.

use std::io;

use http::{Method, StatusCode};

use crate::admin::client::{Client, ClientError};
use crate::telemetry::metrics::Overview;

/// Where a proxy's admin listener is.
#[derive(Debug, Clone)]
pub(super) struct Source(Client);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// There is no answer.
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
    /// What listens there answered something else.
    #[error("{address} is no admin listener of a tidegate that has the page /filters: it answered {status}")]
    Refused { address: String, status: StatusCode },
    /// The operating system gives this process no means to ask.
    #[error("nobody can be asked: {0}")]
    Local(#[from] io::Error),
}

impl Source {
    /// The listener at `HOST:PORT`.
    pub(super) fn new(address: &str) -> Source {
        Source(Client::new(address))
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        self.0.address()
    }

    /// What it says now.
    pub(super) async fn ask(&self) -> Result<Overview, SourceError> {
        let (status, page) = self.0.ask(Method::GET, "/filters").await?;
        if status != StatusCode::OK {
            return Err(SourceError::Refused { address: self.address().to_owned(), status });
        }
        serde_json::from_slice(&page).map_err(|error| self.0.strange(&error).into())
    }
}
