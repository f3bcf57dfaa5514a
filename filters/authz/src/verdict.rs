//! What becomes of a request, and why: for the operator in full, for the client as little as HTTP asks for.

use std::borrow::Cow;
use std::rc::Rc;

/// A request that is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) reason: Reason,
    /// The rule, issuer or service that decided, where there is one.
    pub(crate) by: Option<Rc<str>>,
}

impl Denial {
    pub(crate) fn new(reason: Reason, by: Option<Rc<str>>) -> Denial {
        Denial { reason, by }
    }

    /// What the access log says: `authz_rule:no-admin`.
    pub(crate) fn details(&self) -> Cow<'static, str> {
        match &self.by {
            Some(by) => format!("{}:{by}", self.reason.details()).into(),
            None => self.reason.details().into(),
        }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Denial {
        Denial { reason, by: None }
    }
}

/// Why a request is denied: one for each thing that an operator would look for in another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// Credentials in two places, or twice in one: which of them counts is anyone's guess.
    AmbiguousCredentials,
    TokenTooLarge,
    TokenMalformed,
    TokenCritical,
    TokenAlgorithm,
    TokenIssuer,
    TokenKey,
    TokenSignature,
    TokenExpired,
    TokenWithoutExpiry,
    TokenNotYetValid,
    TokenAudience,
    TokenClaims,
    /// The issuer's keys could not be fetched and none are left from before.
    KeysUnavailable,
    ApiKey,
    Password,
    /// A deny rule matched.
    Rule,
    /// There are allow rules and none matched, for a request that says who it is from.
    NoRule,
    /// The same for a request without credentials, which could have some.
    NoCredentials,
    TooManyHeaders,
    BodyTooLarge,
    /// The external service said no.
    External,
    /// The external service did not answer, or not sensibly.
    ExternalFailed,
}

/// What the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 401: credentials are missing, or they are bad.
    Unauthorized { invalid_token: bool },
    /// 403.
    Forbidden,
    /// Another status, which says all there is to say.
    Status(u16),
}

impl Reason {
    /// The word for the access log.
    fn details(self) -> &'static str {
        match self {
            Reason::AmbiguousCredentials => "authz_ambiguous_credentials",
            Reason::TokenTooLarge => "authz_token_too_large",
            Reason::TokenMalformed => "authz_token_malformed",
            Reason::TokenCritical => "authz_token_critical",
            Reason::TokenAlgorithm => "authz_token_algorithm",
            Reason::TokenIssuer => "authz_token_issuer",
            Reason::TokenKey => "authz_token_key",
            Reason::TokenSignature => "authz_token_signature",
            Reason::TokenExpired => "authz_token_expired",
            Reason::TokenWithoutExpiry => "authz_token_without_expiry",
            Reason::TokenNotYetValid => "authz_token_not_yet_valid",
            Reason::TokenAudience => "authz_token_audience",
            Reason::TokenClaims => "authz_token_claims",
            Reason::KeysUnavailable => "authz_keys_unavailable",
            Reason::ApiKey => "authz_api_key",
            Reason::Password => "authz_password",
            Reason::Rule => "authz_rule",
            Reason::NoRule => "authz_no_rule",
            Reason::NoCredentials => "authz_no_credentials",
            Reason::TooManyHeaders => "authz_too_many_headers",
            Reason::BodyTooLarge => "authz_body_too_large",
            Reason::External => "authz_external",
            Reason::ExternalFailed => "authz_external_failed",
        }
    }

    /// The word for metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        self.details().trim_start_matches("authz_")
    }

    /// What the client is told where nothing else is configured.
    pub(crate) fn answer(self) -> Answer {
        match self {
            Reason::TokenTooLarge
            | Reason::TokenMalformed
            | Reason::TokenCritical
            | Reason::TokenAlgorithm
            | Reason::TokenIssuer
            | Reason::TokenKey
            | Reason::TokenSignature
            | Reason::TokenExpired
            | Reason::TokenWithoutExpiry
            | Reason::TokenNotYetValid
            | Reason::TokenAudience
            | Reason::TokenClaims => Answer::Unauthorized { invalid_token: true },
            Reason::AmbiguousCredentials | Reason::ApiKey | Reason::Password | Reason::NoCredentials => {
                Answer::Unauthorized { invalid_token: false }
            }
            Reason::Rule | Reason::NoRule | Reason::External => Answer::Forbidden,
            // Not the client's fault, and worth another try.
            Reason::KeysUnavailable | Reason::ExternalFailed => Answer::Status(503),
            Reason::TooManyHeaders => Answer::Status(431),
            Reason::BodyTooLarge => Answer::Status(413),
        }
    }
}
