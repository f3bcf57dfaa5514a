//! Who a request is from: every kind of credential that is configured, where the request has it.
//!
//! A request without credentials is anonymous, and the rules say what it may. A request with bad ones is denied, even if
//! an anonymous one would pass: its sender believes to be somebody here.

use std::rc::Rc;
use std::time::Duration;

use crate::api_key::{ApiKeys, ApiKeysConfig};
use crate::basic::{self, Basic, BasicConfig};
use crate::config::{Config, Realm};
use crate::identity::Identity;
use crate::jwt::{Issuer, Jwt, Outcome, bearer};
use crate::place::{Change, Found, Place, find, take_out};
use crate::request::Facts;
use crate::verdict::{Denial, Reason};
use vocabulary::HeaderName;

/// The kinds of credentials that are taken.
pub(crate) struct Authenticator {
    pub(crate) jwt: Option<Jwt>,
    api_keys: Option<(ApiKeysConfig, ApiKeys)>,
    basic: Option<(BasicConfig, Basic)>,
    /// `authorization`, where HTTP Basic is.
    basic_place: [Place; 1],
}

/// What came of looking.
pub(crate) enum Known {
    As(Identity),
    Denied(Denial),
    /// The answer needs keys of this issuer first.
    NeedsKeys(Rc<Issuer>),
}

impl Authenticator {
    pub(crate) fn new(config: &Config) -> Authenticator {
        Authenticator {
            jwt: config.jwt.clone().map(Jwt::new),
            api_keys: config.api_keys.clone().map(|config| (config.clone(), ApiKeys::new(&config))),
            basic: config.basic.clone().map(|config| (config.clone(), Basic::new(&config))),
            basic_place: [Place::Header(HeaderName::from_known("authorization"))],
        }
    }

    /// Who a request is from, `now` since 1970. `may_wait`: keys may still be fetched for it.
    pub(crate) fn identify(&self, facts: &Facts, now: impl FnOnce() -> Duration, may_wait: bool) -> Known {
        let mut identity = Identity::default();
        // Cheap ones first.
        if let Some((config, keys)) = &self.api_keys {
            match find(&config.from, facts, Some) {
                Found::Nothing => {}
                Found::Several => return Known::Denied(Reason::AmbiguousCredentials.into()),
                Found::One(key) => match keys.name_of(&key) {
                    Some(name) => identity.api_key = Some(name),
                    None => return Known::Denied(Reason::ApiKey.into()),
                },
            }
        }
        if let Some(jwt) = &self.jwt {
            match find(&jwt.from, facts, bearer) {
                Found::Nothing => {}
                Found::Several => return Known::Denied(Reason::AmbiguousCredentials.into()),
                Found::One(token) => match jwt.verify(&token, now(), may_wait) {
                    Outcome::Verified(verified) => identity.token = Some(verified),
                    Outcome::Refused(denial) => return Known::Denied(denial),
                    Outcome::NeedsKeys(issuer) => return Known::NeedsKeys(issuer),
                },
            }
        }
        if let Some((_, basic)) = &self.basic {
            match find(&self.basic_place, facts, basic::credentials) {
                Found::Nothing => {}
                Found::Several => return Known::Denied(Reason::AmbiguousCredentials.into()),
                Found::One(credentials) => match basic.user_of(&credentials) {
                    Some(user) => identity.user = Some(user),
                    None => return Known::Denied(Reason::Password.into()),
                },
            }
        }
        Known::As(identity)
    }

    /// There is a way for a request to say who it is from.
    pub(crate) fn is_configured(&self) -> bool {
        self.jwt.is_some() || self.api_keys.is_some() || self.basic.is_some()
    }

    /// The challenges of an answer of 401 (RFC 9110, section 11.6.1; RFC 6750, section 3). That a token was bad is said,
    /// as clients get another then; why is not.
    pub(crate) fn challenges(&self, realm: &Realm, invalid_token: bool) -> Vec<String> {
        let realm = realm.as_str();
        let mut challenges = Vec::new();
        if self.jwt.is_some() {
            let error = if invalid_token { ", error=\"invalid_token\"" } else { "" };
            challenges.push(format!("Bearer realm=\"{realm}\"{error}"));
        }
        if self.basic.is_some() {
            challenges.push(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        }
        if challenges.is_empty() {
            // No scheme is registered for keys, and an answer of 401 has to name one.
            challenges.push(format!("ApiKey realm=\"{realm}\""));
        }
        challenges
    }

    /// The headers that only this filter may set.
    pub(crate) fn own_headers(&self) -> impl Iterator<Item = &str> {
        let keys = self.api_keys.iter().filter_map(|(config, _)| config.header.as_ref());
        let basic = self.basic.iter().filter_map(|(config, _)| config.header.as_ref());
        let named = keys.chain(basic).map(crate::values::NewHeader::as_str);
        self.jwt.iter().flat_map(Jwt::headers).chain(named)
    }

    /// The headers that the upstream gets about who the request is from.
    pub(crate) fn headers_of(&self, identity: &Identity) -> Vec<(&str, String)> {
        let token = self.jwt.as_ref().zip(identity.token.as_ref());
        let mut headers = token.map(|(jwt, token)| jwt.headers_of(token)).unwrap_or_default();
        let named = [
            (self.api_keys.as_ref().and_then(|(config, _)| config.header.as_ref()), &identity.api_key),
            (self.basic.as_ref().and_then(|(config, _)| config.header.as_ref()), &identity.user),
        ];
        for (header, name) in named {
            if let (Some(header), Some(name)) = (header, name) {
                headers.push((header.as_str(), name.to_string()));
            }
        }
        headers
    }

    /// What has to change so that the upstream does not see credentials that are not for it.
    pub(crate) fn hiding(&self, facts: &Facts) -> Vec<Change> {
        let jwt = self.jwt.as_ref().filter(|jwt| !jwt.forward);
        let api_keys = self.api_keys.as_ref().map(|(config, _)| config).filter(|config| !config.forward);
        let basic = self.basic.as_ref().filter(|(config, _)| !config.forward);
        let mut changes = Vec::new();
        if jwt.is_none() && api_keys.is_none() && basic.is_none() {
            return changes;
        }
        let mut facts = facts.clone();
        if let Some(jwt) = jwt {
            changes.extend(take_out(&jwt.from, &mut facts, bearer));
        }
        if let Some(config) = api_keys {
            changes.extend(take_out(&config.from, &mut facts, |key| Some(key)));
        }
        if basic.is_some() {
            changes.extend(take_out(&self.basic_place, &mut facts, basic::credentials));
        }
        changes
    }
}
