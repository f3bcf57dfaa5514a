//! What gRPC adds to HTTP ("gRPC over HTTP/2"): which requests are calls, and how a call ended.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};

/// The field that says how a call ended: in trailers, or in the head of a response that has nothing else.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How a call ended, as its server says it ("Status codes and their use in gRPC").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(u8);

/// The codes' names, in their order.
const NAMES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

impl Status {
    /// Every status that has a name, in the order of the codes.
    pub fn all() -> impl Iterator<Item = Status> {
        (0..).zip(NAMES).map(|(code, _)| Status(code))
    }

    /// What these fields say; a code that has no name is `unknown`, as the specification has it.
    pub fn of(fields: &HeaderMap) -> Option<Status> {
        let code = fields.get(GRPC_STATUS)?.to_str().ok().and_then(|code| code.parse().ok());
        Some(Status(code.filter(|code| usize::from(*code) < NAMES.len()).unwrap_or(2)))
    }

    /// Its name, in small letters.
    pub fn word(self) -> &'static str {
        NAMES[self.index()]
    }

    /// Its code.
    pub fn code(self) -> u8 {
        self.0
    }

    /// Its place among all of them.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Whether a request is a call, by its `content-type`: `application/grpc`, with a `+` or a `;` behind it if with anything.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_code_that_has_no_name_is_unknown() {
        let status = |text: &'static str| {
            let fields = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(text))]);
            Status::of(&fields).map(Status::word)
        };
        assert_eq!(["0", "14", "16"].map(status), ["ok", "unavailable", "unauthenticated"].map(Some));
        assert_eq!(["17", "255", "256", "", "x"].map(status), [Some("unknown"); 5]);
        assert_eq!(Status::of(&HeaderMap::new()), None);
        assert!(Status::all().map(Status::index).eq(0..17));
    }

    #[test]
    fn calls_are_known_by_their_content_type() {
        let is_call = |kind: &'static str| {
            is_call(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]))
        };
        assert!(
            ["application/grpc", "application/grpc+proto", "application/grpc;x=y"].into_iter().all(is_call)
        );
        assert!(!["application/grpc-web", "application/json", "text/plain"].into_iter().any(is_call));
    }
}
