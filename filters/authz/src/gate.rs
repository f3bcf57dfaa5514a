//! The decision about a request, without a host: authenticate, deny rules, allow rules.

use std::rc::Rc;
use std::time::Duration;

use crate::authenticate::{Authenticator, Known};
use crate::config::{Config, Mode, Realm};
use crate::external::ExternalConfig;
use crate::identity::Identity;
use crate::jwt::Issuer;
use crate::request::{Facts, MOST_HEADERS, Needs};
use crate::rule::Rules;
use crate::values::NewHeader;
use crate::verdict::{Denial, Reason};

/// A configuration at work, on one worker.
pub(crate) struct Gate {
    pub(crate) mode: Mode,
    pub(crate) realm: Realm,
    pub(crate) authenticator: Authenticator,
    pub(crate) external: Option<Rc<ExternalConfig>>,
    /// What has to be asked of the host about a request.
    pub(crate) needs: Needs,
    deny: Rules,
    allow: Rules,
    /// The headers that only this filter may set, with `-` for `_`.
    own_headers: Vec<String>,
}

/// What becomes of a request, before another service is asked.
pub(crate) enum Decision {
    Allowed(Identity),
    Denied(Denial),
    /// To be decided again when keys of this issuer were fetched.
    NeedsKeys(Rc<Issuer>),
}

/// What is asked of the host only where a decision needs it: each costs a hostcall.
pub(crate) trait Asked {
    /// Time since 1970.
    fn now(&self) -> Duration;

    /// What the client's certificate says it is.
    fn principal(&self) -> Option<String>;
}

impl Gate {
    pub(crate) fn new(config: Config) -> Gate {
        let authenticator = Authenticator::new(&config);
        let external = config.external.map(Rc::new);
        let from_service = external.iter().flat_map(|external| external.upstream_headers.iter());
        let own = authenticator.own_headers().chain(from_service.map(NewHeader::as_str));
        let own_headers = own.map(fold_name).collect();
        let needs = config.deny.needs().and(config.allow.needs());
        Gate {
            mode: config.mode,
            realm: config.realm,
            own_headers,
            authenticator,
            external,
            needs,
            deny: config.deny,
            allow: config.allow,
        }
    }

    /// Decides. `may_wait`: keys may still be fetched for this request.
    pub(crate) fn decide(&self, facts: &Facts, asked: &impl Asked, may_wait: bool) -> Decision {
        if facts.header_count() > MOST_HEADERS {
            return Decision::Denied(Reason::TooManyHeaders.into());
        }
        let mut identity = match self.authenticator.identify(facts, || asked.now(), may_wait) {
            Known::As(identity) => identity,
            Known::Denied(denial) => return Decision::Denied(denial),
            Known::NeedsKeys(issuer) => return Decision::NeedsKeys(issuer),
        };
        if self.needs.principal || (self.needs.authenticated && identity.has_no_credentials()) {
            identity.principal = asked.principal();
        }
        if let Some(rule) = self.deny.denying(facts, &identity) {
            return Decision::Denied(Denial::new(Reason::Rule, Some(rule)));
        }
        if !self.allow.is_empty() && !self.allow.allow(facts, &identity) {
            let could_say_more = identity.has_no_credentials() && self.authenticator.is_configured();
            let reason = if could_say_more { Reason::NoCredentials } else { Reason::NoRule };
            return Decision::Denied(reason.into());
        }
        Decision::Allowed(identity)
    }

    /// The headers of a request that a client may not send: those that this filter sets, also where `_` stands for `-`,
    /// which many a service takes for the same.
    pub(crate) fn forged<'a>(&'a self, facts: &'a Facts) -> impl Iterator<Item = &'a str> {
        let is_own = |name: &&str| self.own_headers.iter().any(|own| is_same(own, name));
        let sent = (!self.own_headers.is_empty()).then(|| facts.headers().map(|(name, _)| name));
        sent.into_iter().flatten().filter(is_own)
    }
}

fn fold_name(name: &str) -> String {
    name.replace('_', "-")
}

/// A folded name is this one's.
fn is_same(folded: &str, name: &str) -> bool {
    let same = |(own, sent): (u8, u8)| own == if sent == b'_' { b'-' } else { sent };
    folded.len() == name.len() && folded.bytes().zip(name.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    /// A client with a certificate, and how often that was asked for.
    #[derive(Default)]
    struct Client {
        asked: Cell<u32>,
    }

    impl Asked for Client {
        fn now(&self) -> Duration {
            Duration::ZERO
        }

        fn principal(&self) -> Option<String> {
            self.asked.set(self.asked.get() + 1);
            Some("spiffe://prod/web".to_owned())
        }
    }

    /// Whether a request with these headers is allowed, and how often its certificate was asked for.
    fn decide(config: serde_json::Value, headers: &[(&str, &str)]) -> (bool, u32) {
        let gate = Gate::new(serde_json::from_value(config).unwrap());
        let client = Client::default();
        let decision = gate.decide(&Facts::of(headers), &client, false);
        (matches!(decision, Decision::Allowed(_)), client.asked.get())
    }

    #[test]
    fn a_certificate_is_asked_for_where_the_decision_may_hang_on_it() {
        // Of `let-me-in`.
        let sha256 = "a3ee786b5707c27d42570785081ec17f5c7db9262a01366af362a1aa61a420b9";
        let keys = json!({"keys": [{"name": "ci", "sha256": sha256}]});
        let authenticated = json!([{"match": {"authenticated": true}}]);
        let principals = json!([{"match": {"principals": ["spiffe://prod/*"]}}]);
        let path = [(":path", "/")];
        assert_eq!(decide(json!({"allow": authenticated}), &path), (true, 1));
        assert_eq!(decide(json!({"allow": authenticated, "api_keys": keys}), &path), (true, 1));
        let with_key = [(":path", "/"), ("x-api-key", "let-me-in")];
        assert_eq!(decide(json!({"allow": authenticated, "api_keys": keys}), &with_key), (true, 0));
        assert_eq!(decide(json!({"allow": principals, "api_keys": keys}), &with_key), (true, 1));
        assert_eq!(decide(json!({"allow": [{"match": {"path": "/"}}]}), &path), (true, 0));
    }
}
