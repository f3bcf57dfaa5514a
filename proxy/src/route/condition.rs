//! What a route looks at, asked of one request alone.

use http::{HeaderMap, Method, StatusCode, Uri};

use super::table::Table;
use crate::config::model::{Action, Match, Respond, Route};

/// One [`Match`] to ask of requests.
#[derive(Debug)]
pub struct Condition(Table);

impl Condition {
    /// It holds where a route with this match would be found.
    pub fn new(matches: &Match) -> Condition {
        // A table of one route, of which nothing but the match is ever looked at.
        let respond =
            Respond { status: StatusCode::OK, body: bytes::Bytes::new(), file: None, headers: Vec::new() };
        Condition(Table::new(&[Route {
            name: String::new(),
            matches: matches.clone(),
            filters: Default::default(),
            cors: None,
            compression: None,
            decompression: None,
            buffer_limit: None,
            action: Action::Respond(respond),
            request_headers: Default::default(),
            response_headers: Default::default(),
            timeout: None,
            grpc_timeout: None,
            max_duration: None,
            idle_timeout: None,
            retries: None,
            shed: true,
        }]))
    }

    /// Whether it holds. `uri` is in origin form, `headers` have the `host`.
    pub fn holds(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        self.0.find(method, uri, headers).is_some()
    }
}
