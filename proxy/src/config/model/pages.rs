//! What is said in the place of an error's own words.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{StatusRange, Template};
use crate::error::Failure;

/// Another answer for some errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// Answers with one of these statuses; empty is any from 400 on.
    pub statuses: Vec<StatusRange>,
    /// Answers for one of these failures; empty is any answer.
    pub outcomes: Vec<Failure>,
    /// Whether also the answers of upstreams.
    pub of_upstreams: bool,
    /// The status that is sent instead.
    pub status: Option<StatusCode>,
    /// Header fields, each in the place of what there was of its name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is sent instead of the body.
    pub content: Option<PageContent>,
}

/// A body and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageContent {
    /// `content-type`.
    pub content_type: HeaderValue,
    /// The body.
    pub body: Template,
    /// The file that it was read from, if it was.
    pub file: Option<PathBuf>,
}

impl ErrorPage {
    /// Whether it is for an answer.
    pub fn is_for(&self, status: StatusCode, failure: Option<Failure>, of_upstream: bool) -> bool {
        (status.is_client_error() || status.is_server_error())
            && (self.of_upstreams || !of_upstream)
            && (self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(status)))
            && (self.outcomes.is_empty() || failure.is_some_and(|failure| self.outcomes.contains(&failure)))
    }
}
