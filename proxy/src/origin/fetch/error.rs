//! Why a module could not be fetched.

use std::time::Duration;

use crate::config::Quantity as _;

/// One kind for each thing that an operator would do something else about. No secret is in any of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// The machine does not allow it.
    #[error("{0}")]
    Client(String),
    /// Nobody is there, or TLS does not come about.
    #[error("no connection to {host}: {cause}")]
    Connection { host: String, cause: String },
    /// Somebody is there, and answers a greeting of TLS with something else.
    #[error("{host} does not speak TLS")]
    NoTls { host: String },
    /// An attempt took too long.
    #[error("it was not there within {}", .0.write())]
    Timeout(Duration),
    /// The server refuses, or fails.
    #[error("{host} answered {status}")]
    Status { host: String, status: u16, is_registry: bool },
    /// The server wants to know who asks, or does not believe it.
    #[error("{host} answered {status}: {}", if *.shown { "it does not take the credentials" } else { "it wants credentials" })]
    Unauthorized { host: String, status: u16, shown: bool },
    /// The credentials cannot be had.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
    /// The connection ended in the middle.
    #[error("the answer of {host} was cut off: {cause}")]
    Cut { host: String, cause: String },
    /// It cannot be told whether all of it came.
    #[error("{host} does not say how long its answer is, so that nobody can tell whether all of it came")]
    Endless { host: String },
    /// There is more of it than may be.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: &'static str, limit: u64 },
    /// The server sends elsewhere, too often or where it must not.
    #[error("{host} redirects {why}")]
    Redirect { host: String, why: &'static str },
    /// A part of an image is not what it is called.
    #[error("{what} is not what its digest says")]
    Corrupt { what: &'static str },
    /// The registry says what no registry should.
    #[error("the registry's answer is none: {0}")]
    Malformed(String),
    /// There is no module in the image, or there are several.
    #[error("the image is not one of a module: {0}")]
    Layout(String),
}

impl FetchError {
    /// Whether the next attempt may have another end.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self {
            FetchError::Connection { .. }
            | FetchError::Timeout(_)
            | FetchError::Cut { .. }
            | FetchError::Corrupt { .. } => true,
            FetchError::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            FetchError::Client(_)
            | FetchError::NoTls { .. }
            | FetchError::Unauthorized { .. }
            | FetchError::Credentials(_)
            | FetchError::Endless { .. }
            | FetchError::TooLarge { .. }
            | FetchError::Redirect { .. }
            | FetchError::Malformed(_)
            | FetchError::Layout(_) => false,
        }
    }

    /// Whether it may end otherwise later although nothing is changed here. What came and is wrong is none of these.
    pub(crate) fn is_of_the_moment(&self) -> bool {
        match self {
            FetchError::Connection { .. }
            | FetchError::NoTls { .. }
            | FetchError::Timeout(_)
            | FetchError::Cut { .. }
            | FetchError::Corrupt { .. }
            | FetchError::Status { .. }
            | FetchError::Unauthorized { .. }
            | FetchError::Credentials(_)
            | FetchError::Client(_) => true,
            FetchError::Endless { .. }
            | FetchError::TooLarge { .. }
            | FetchError::Redirect { .. }
            | FetchError::Malformed(_)
            | FetchError::Layout(_) => false,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            FetchError::Client(_) => "a module may also be a file",
            FetchError::Connection { .. } => "is the name right, and does the network let the proxy there?",
            FetchError::Timeout(_) => "raise `timeout` where it is far away",
            FetchError::NoTls { .. } => {
                "is it meant to be asked without TLS? Then give `http://`, or `plain_http: true` for a registry"
            }
            FetchError::Status { status: 404, is_registry: true, .. } => {
                "is the name right? A private registry hides what one may not see"
            }
            FetchError::Status { status: 404, is_registry: false, .. } => "is the address right?",
            FetchError::Status { .. } => "what it answers is its own: see its log",
            FetchError::Unauthorized { .. } => "see `credentials` of the module",
            FetchError::Credentials(_) => "`docker login` writes such a file",
            FetchError::Cut { .. } | FetchError::Corrupt { .. } => {
                "it was tried again and stays so: see the server's log"
            }
            FetchError::Endless { .. } => "pin the module: `sha256: DIGEST`",
            FetchError::TooLarge { .. } => "strip its debug information, or build it with `opt-level`",
            FetchError::Redirect { .. } => "give the address that it leads to",
            FetchError::Malformed(_) => "is it a registry?",
            FetchError::Layout(_) => {
                "a module is one layer of a Wasm media type, or the file plugin.wasm in the last layer"
            }
        }
    }
}
