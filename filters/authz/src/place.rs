//! Where in a request credentials are, finding them there, and taking them out.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::request::Facts;
use vocabulary::{HeaderName, Token};

/// A place for a credential.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Place {
    /// A header.
    Header(HeaderName),
    /// A parameter of the query.
    Query(Token),
    /// A cookie.
    Cookie(Token),
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Nothing,
    One(Cow<'a, str>),
    /// In two places, or twice in one.
    Several,
}

/// Looks in all the places. `take` makes a credential of what is in a header, or says that it is something else.
pub(crate) fn find<'a>(
    places: &'a [Place],
    facts: &'a Facts,
    take: impl Fn(&'a str) -> Option<&'a str>,
) -> Found<'a> {
    let mut found = Found::Nothing;
    let mut add = |value| {
        found = match found {
            Found::Nothing => Found::One(value),
            Found::One(_) | Found::Several => Found::Several,
        };
    };
    for place in places {
        match place {
            Place::Header(name) => {
                facts.values(name.as_str()).filter_map(&take).for_each(|value| add(Cow::Borrowed(value)));
            }
            Place::Query(name) => parameters(facts.path.query())
                .filter(|(found, _)| decode(found) == name.as_str())
                .for_each(|(_, value)| add(decode(value))),
            Place::Cookie(name) => {
                let cookies = facts.values("cookie").flat_map(cookies);
                cookies
                    .filter(|(found, _)| *found == name.as_str())
                    .for_each(|(_, value)| add(Cow::Borrowed(value)));
            }
        }
    }
    found
}

/// A header's new value after credentials were taken out; `None` where nothing of it is left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) header: String,
    pub(crate) value: Option<String>,
}

/// What has to change so that the upstream does not see what is in these places. `facts` are changed so, for the next
/// places to begin from.
pub(crate) fn take_out(
    places: &[Place],
    facts: &mut Facts,
    take: impl Fn(&str) -> Option<&str>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for place in places {
        let change = match place {
            Place::Header(name) if facts.values(name.as_str()).any(|value| take(value).is_some()) => {
                Some(Change { header: name.as_str().to_owned(), value: None })
            }
            Place::Header(_) => None,
            Place::Query(name) => without_parameter(name.as_str(), facts),
            Place::Cookie(name) => without_cookie(name.as_str(), facts),
        };
        if let Some(change) = change {
            facts.replace(&change.header, change.value.as_deref());
            changes.push(change);
        }
    }
    changes
}

fn without_parameter(name: &str, facts: &Facts) -> Option<Change> {
    let (path, query) = facts.header(":path")?.split_once('?')?;
    let kept: Vec<&str> =
        query.split('&').filter(|pair| decode(pair.split('=').next().unwrap_or_default()) != name).collect();
    let value = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    (kept.len() < query.split('&').count()).then(|| Change { header: ":path".to_owned(), value: Some(value) })
}

fn without_cookie(name: &str, facts: &Facts) -> Option<Change> {
    let pairs: Vec<&str> = facts.values("cookie").flat_map(|value| value.split(';')).map(str::trim).collect();
    let is_it = |pair: &&str| pair.split_once('=').is_some_and(|(found, _)| found == name);
    let kept: Vec<&str> = pairs.iter().filter(|pair| !is_it(pair)).copied().collect();
    let value = (!kept.is_empty()).then(|| kept.join("; "));
    (kept.len() < pairs.len()).then(|| Change { header: "cookie".to_owned(), value })
}

fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn cookies(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = value.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| (name, value.trim_matches('"')))
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(headers: &[(&str, &str)]) -> Facts {
        Facts::of(headers)
    }

    fn places(json: &str) -> Vec<Place> {
        serde_json::from_str(json).unwrap()
    }

    const ALL: &str = r#"[{"header": "X-Key"}, {"query": "key"}, {"cookie": "key"}]"#;

    fn found(headers: &[(&str, &str)]) -> String {
        match find(&places(ALL), &facts(headers), Some) {
            Found::Nothing => "nothing".to_owned(),
            Found::One(value) => value.into_owned(),
            Found::Several => "several".to_owned(),
        }
    }

    #[test]
    fn a_credential_is_found_in_each_of_its_places() {
        assert_eq!(found(&[("x-key", "abc")]), "abc");
        assert_eq!(found(&[(":path", "/a?b=c&key=a%2Bc")]), "a+c");
        assert_eq!(found(&[("cookie", "a=b; key=\"abc\"")]), "abc");
        assert_eq!(found(&[(":path", "/key?monkey=1"), ("cookie", "monkey=1")]), "nothing");
    }

    #[test]
    fn two_credentials_are_one_too_many_wherever_they_are() {
        assert_eq!(found(&[("x-key", "a"), ("x-key", "a")]), "several");
        assert_eq!(found(&[("x-key", "a"), (":path", "/?key=a")]), "several");
        assert_eq!(found(&[(":path", "/?key=a&k%65y=b")]), "several");
        assert_eq!(found(&[("cookie", "key=a"), ("cookie", "key=b")]), "several");
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest_as_it_was() {
        let take = |headers: &[(&str, &str)]| {
            let changes = take_out(&places(ALL), &mut facts(headers), |key| Some(key));
            changes.into_iter().map(|change| (change.header, change.value)).collect::<Vec<_>>()
        };
        let change = |header: &str, value: Option<&str>| vec![(header.to_owned(), value.map(str::to_owned))];
        assert_eq!(take(&[("x-key", "a"), ("x-other", "b")]), change("x-key", None));
        assert_eq!(take(&[(":path", "/a?b=1&key=x&c=%20")]), change(":path", Some("/a?b=1&c=%20")));
        assert_eq!(take(&[(":path", "/a?key=x")]), change(":path", Some("/a")));
        assert_eq!(take(&[("cookie", "a=b; key=x"), ("cookie", "c=d")]), change("cookie", Some("a=b; c=d")));
        assert_eq!(take(&[("cookie", "key=x")]), change("cookie", None));
        assert_eq!(take(&[(":path", "/a?b=1"), ("cookie", "a=b")]), []);
    }

    #[test]
    fn two_that_are_taken_out_of_one_place_are_both_gone() {
        let two = places(r#"[{"query": "a"}, {"query": "b"}]"#);
        let changes = take_out(&two, &mut facts(&[(":path", "/x?a=1&b=2&c=3")]), |key| Some(key));
        assert_eq!(changes.last().unwrap().value.as_deref(), Some("/x?c=3"));
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        for (json, message) in [
            (r#"{"query": "a=b"}"#, "a name of letters, digits"),
            (r#"{"header": "a b"}"#, "the name of a header"),
            (r#"{"body": "a"}"#, "unknown variant `body`"),
        ] {
            let error = serde_json::from_str::<Place>(json).unwrap_err().to_string();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
