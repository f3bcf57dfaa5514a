//! Asks an admin listener for its page `/filters`.

use std::io;

use http::{Method, StatusCode};

use crate::admin::client::{Client, ClientError};
use crate::telemetry::metrics::Overview;

/// What is asked for.
const PAGE: &str = "/filters";

/// Where a proxy's admin listener is.
#[derive(Debug, Clone)]
pub(super) struct Source(Client);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// There is no answer.
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
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
        let (status, page) = self.0.ask(Method::GET, PAGE).await?;
        if status != StatusCode::OK {
            return Err(self.0.refused(PAGE, status).into());
        }
        serde_json::from_slice(&page).map_err(|_| self.0.no_such_page(PAGE).into())
    }
}
