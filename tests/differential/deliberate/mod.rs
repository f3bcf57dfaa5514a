//! Where tidegate differs from Envoy on purpose. Every entry is reviewed: it says what differs, and why a user is better
//! off or that it makes no difference to one. What users would notice stands in docs/src/envoy.md as well. (What is not
//! compared at all stands in `observe.rs`, with its reasons.)
//!
//! The entries for the cases of a file are in the file of the same name here. What several entries share stands once: here
//! where they are in several files.

use super::observe::At::{self, Clients, Guests, Start, Upstreams};

mod bodies;
mod callouts;
mod connections;
mod grpc;
mod headers;
mod languages;
mod late;
mod lifecycle;
mod paths;
mod pauses;
mod queues;
mod replies;
mod routing;
mod services;
mod traps;

/// What differs in one case.
pub(crate) struct Deliberate {
    /// The case's name.
    pub(crate) case: &'static str,
    /// Why.
    pub(crate) reason: &'static str,
    /// Each place, in order.
    pub(crate) places: &'static [Place],
}

/// A place.
#[derive(Debug)]
pub(crate) struct Place {
    /// Who sees it.
    pub(crate) at: At,
    /// The lines that Envoy shows there.
    pub(crate) envoy: &'static [&'static str],
    /// Those that tidegate shows instead.
    pub(crate) ours: &'static [&'static str],
}

const fn place(at: At, envoy: &'static [&'static str], ours: &'static [&'static str]) -> Place {
    Place { at, envoy, ours }
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Deliberate> {
    let files = [
        bodies::ALL,
        callouts::ALL,
        connections::ALL,
        grpc::ALL,
        headers::ALL,
        languages::ALL,
        late::ALL,
        lifecycle::ALL,
        paths::ALL,
        pauses::ALL,
        queues::ALL,
        replies::ALL,
        routing::ALL,
        services::ALL,
        traps::ALL,
    ];
    files.into_iter().flatten()
}

const ANY_PART: &str =
    "The written ABI lets any part of a buffer be replaced; Envoy refuses all but its beginning and its end.";

const LAST_BYTES: &str = "The last bytes of a body of known length are shown as the last. Envoy shows an empty piece after them for HTTP/1.1, and for HTTP/2 does as tidegate does, so filters know both; it saves a call.";

const NO_BUFFER: &str = "There is no such buffer at the moment: NotFound, as the written ABI has it. Envoy shows an empty one; the Rust and the Go SDK make the same of both.";

const NOT_THERE: &str = "What is not there is NotFound, as the written ABI has it, and not BadArgument: on the latter the Rust SDK panics.";

const NO_BODY: &str = "The answer has no body for GET either: a transfer-encoding in the answer to HEAD, as Envoy has it, says nothing.";

const NOT_FRAMED: &[Place] = &[place(Clients, &["   transfer-encoding: chunked"], &[])];

const OWN_TEXT: &str = "The text of an answer that no upstream sent is ours: a few words that say what is wrong. Envoy has its own, the status's name or none.";

// What is answered where a filter failed.
const FAILED_HEAD: Place =
    place(Clients, &["   content-length: 0"], &["   content-length: 15", "   content-type: text/plain"]);

const FAILED_BODY: Place =
    place(Clients, &["   body (sized): \"\""], &["   body (sized): \"a filter failed\""]);

const REQUEST_TOO_LARGE: &[Place] = &[
    place(Clients, &["   content-length: 17"], &["   content-length: 22"]),
    place(
        Clients,
        &["   body (sized): \"Payload Too Large\""],
        &["   body (sized): \"request body too large\""],
    ),
];

const RESPONSE_TOO_LARGE: &[Place] = &[
    place(Clients, &["   content-length: 21"], &["   content-length: 23"]),
    place(
        Clients,
        &["   body (sized): \"Internal Server Error\""],
        &["   body (sized): \"response body too large\""],
    ),
];
