//! What is left to look at once host and path led to a route: method, headers, query, and a path's regular expression or template.

use bytes::Bytes;
use http::header::{GetAll, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri};
use smallvec::SmallVec;

use super::claims::Claims;
use super::{cookie, query};
use crate::config::model::{Match, PathMatch, Percent, ValueMatch};

/// A route's conditions other than its hosts and the text of its path.
#[derive(Debug)]
pub(super) struct Conditions {
    methods: SmallVec<[Method; 1]>,
    /// Where its text does not say it all.
    path: Option<PathMatch>,
    headers: Box<[(HeaderName, ValueMatch)]>,
    query: Box<[(String, ValueMatch)]>,
    cookies: Box<[(String, ValueMatch)]>,
    /// By the two ways in which a path can be meant: dots part segments, or are of a name.
    properties: Box<[([Vec<u8>; 2], ValueMatch)]>,
    claims: Box<[(String, ValueMatch)]>,
    percent: Option<Percent>,
}

/// What filters stored for an exchange, by its path, whose segments NULs part.
pub type Stored<'a> = &'a dyn Fn(&[u8]) -> Option<Bytes>;

/// What a route is looked for with.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) stored: Stored<'a>,
    pub(super) claims: Claims,
    pub(super) chance: u32,
}

impl Conditions {
    pub(super) fn new(matches: &Match) -> Conditions {
        Conditions {
            methods: matches.methods.iter().cloned().collect(),
            path: matches.path.regex().map(|_| matches.path.clone()),
            headers: matches.headers.clone().into(),
            query: matches.query.clone().into(),
            cookies: matches.cookies.clone().into(),
            percent: matches.percent,
            claims: matches.claims.clone().into(),
            properties: matches.properties.iter().map(|(path, value)| (paths(path), value.clone())).collect(),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.methods.is_empty()
            && self.path.is_none()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.cookies.is_empty()
            && self.properties.is_empty()
            && self.claims.is_empty()
            && self.percent.is_none()
    }

    /// Whether some of them are of what filters stored.
    pub(super) fn look_at_properties(&self) -> bool {
        !self.properties.is_empty() || !self.claims.is_empty()
    }

    /// Whether all of them hold; the cheapest are looked at first.
    pub(super) fn hold(&self, asked: &Asked<'_>) -> bool {
        let Asked { method, uri, headers, stored, claims, chance } = asked;
        self.percent.is_none_or(|percent| chance % Percent::ALL.0 < percent.0)
            && (self.methods.is_empty() || self.methods.contains(method))
            && self.headers.iter().all(|(name, value)| holds_of_field(value, &headers.get_all(name)))
            && self.query.iter().all(|(name, value)| {
                holds(value, query::first(uri.query().unwrap_or_default(), name).map(str::as_bytes))
            })
            && self.cookies.iter().all(|(name, value)| holds(value, cookie::first(headers, name)))
            && self.properties.iter().all(|([segments, name], value)| {
                let found = stored(segments).or_else(|| stored(name));
                holds(value, found.as_deref())
            })
            && self.claims.iter().all(|(name, value)| claims.meet(name, value, stored))
            && self.path.as_ref().is_none_or(|form| has_form(uri.path(), form))
    }
}

fn has_form(path: &str, form: &PathMatch) -> bool {
    match form {
        PathMatch::Regex(regex) => regex.is_match(path),
        PathMatch::Template(template) => template.matches(path),
        PathMatch::Any | PathMatch::Exact(_) | PathMatch::Prefix(_) | PathMatch::Segments(_) => true,
    }
}

/// Whether `condition` holds of a field: of any of its values, as in Envoy. A field that is missing meets only what asks
/// for that.
pub(crate) fn holds_of_field(condition: &ValueMatch, values: &GetAll<'_, HeaderValue>) -> bool {
    match condition {
        ValueMatch::Not(condition) => !holds_of_field(condition, values),
        ValueMatch::Present(present) => values.iter().next().is_some() == *present,
        condition => values.iter().any(|value| holds(condition, Some(value.as_bytes()))),
    }
}

/// Whether `condition` holds of a value that is there.
pub fn holds_of_value(condition: &ValueMatch, value: &[u8]) -> bool {
    holds(condition, Some(value))
}

/// Whether `condition` holds of `value`; `None` is a value that is missing. A value that is not UTF-8 matches no
/// regular expression.
pub(super) fn holds(condition: &ValueMatch, value: Option<&[u8]>) -> bool {
    match (condition, value) {
        (ValueMatch::Present(present), value) => value.is_some() == *present,
        (ValueMatch::Not(condition), value) => !holds(condition, value),
        (_, None) => false,
        (ValueMatch::Range(from, to), Some(value)) => {
            let number = std::str::from_utf8(value).ok().and_then(|value| value.parse::<i64>().ok());
            number.is_some_and(|number| (*from..=*to).contains(&number))
        }
        (ValueMatch::Exact(text), Some(value)) => value == text.as_bytes(),
        (ValueMatch::Prefix(text), Some(value)) => value.starts_with(text.as_bytes()),
        (ValueMatch::Suffix(text), Some(value)) => value.ends_with(text.as_bytes()),
        (ValueMatch::Contains(text), Some(value)) => contains(value, text.as_bytes()),
        (ValueMatch::Regex(regex), Some(value)) => {
            std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
        }
    }
}

/// A path as it may be stored.
fn paths(text: &str) -> [Vec<u8>; 2] {
    [text.replace('.', "\0").into_bytes(), text.as_bytes().to_vec()]
}

fn contains(value: &[u8], part: &[u8]) -> bool {
    part.is_empty() || value.windows(part.len()).any(|window| window == part)
}
