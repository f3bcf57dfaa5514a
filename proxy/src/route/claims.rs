//! The claims of a token that a filter has verified ([RFC 7519 section 4]) and left for others.
//!
//! [RFC 7519 section 4]: https://www.rfc-editor.org/rfc/rfc7519#section-4

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::{Map, Value};

use super::matcher::{Stored, holds};
use crate::config::model::ValueMatch;

/// Where a filter leaves them, as the text of a JSON object: `set_verified_claims` of the SDK.
const PROPERTY: &[u8] = b"jwt_claims";

/// Those of one exchange, read when a route first asks for them.
#[derive(Debug, Default)]
pub(super) struct Claims(OnceCell<Option<Map<String, Value>>>);

impl Claims {
    /// Whether `condition` holds of the claim of that name. A list is met by any of its elements; numbers and truth values
    /// by their text. Null and objects have no value.
    pub(super) fn meet(&self, name: &str, condition: &ValueMatch, stored: Stored<'_>) -> bool {
        let read = || serde_json::from_slice(&stored(PROPERTY)?).ok();
        let claim = self.0.get_or_init(read).as_ref().and_then(|all| find(all, name));
        meets(claim, condition)
    }
}

/// A claim by its own name or, where there is none of that name, by a path of names with dots between them.
fn find<'a>(all: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(claim) = all.get(name) {
        return Some(claim);
    }
    let mut names = name.split('.');
    let first = all.get(names.next()?)?;
    names.try_fold(first, |value, name| value.as_object()?.get(name))
}

fn meets(claim: Option<&Value>, condition: &ValueMatch) -> bool {
    match (condition, claim) {
        (ValueMatch::Present(present), _) => claim.is_some() == *present,
        (ValueMatch::Not(condition), _) => !meets(claim, condition),
        (_, Some(Value::Array(elements))) => elements.iter().any(|element| one_meets(element, condition)),
        (_, Some(value)) => one_meets(value, condition),
        (_, None) => false,
    }
}

fn one_meets(value: &Value, condition: &ValueMatch) -> bool {
    let text: Cow<'_, str> = match value {
        Value::String(text) => text.into(),
        Value::Number(_) | Value::Bool(_) => value.to_string().into(),
        Value::Null | Value::Array(_) | Value::Object(_) => return false,
    };
    holds(condition, Some(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn meets(name: &str, condition: &ValueMatch) -> bool {
        let claims = r#"{"sub": "ann", "groups": ["dev", "ops"], "level": 7, "staff": true, "a.b": "own",
            "realm_access": {"roles": ["admin"]}, "none": null}"#;
        let stored = |path: &[u8]| (path == PROPERTY).then(|| Bytes::from_static(claims.as_bytes()));
        Claims::default().meet(name, condition, &stored)
    }

    fn exact(text: &str) -> ValueMatch {
        ValueMatch::Exact(text.to_owned())
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_its_path_and_any_element_of_a_list_counts() {
        for (name, text) in [
            ("sub", "ann"),
            ("groups", "dev"),
            ("groups", "ops"),
            ("level", "7"),
            ("staff", "true"),
            ("a.b", "own"),
            ("realm_access.roles", "admin"),
        ] {
            assert!(meets(name, &exact(text)), "{name}");
            assert!(!meets(name, &exact("other")), "{name}");
            assert!(!meets(name, &ValueMatch::Not(Box::new(exact(text)))), "{name}");
        }
        assert!(meets("level", &ValueMatch::Range(5, 9)));
    }

    #[test]
    fn what_is_not_there_meets_only_what_asks_for_that() {
        for name in ["other", "sub.x", "realm_access.none"] {
            assert!(!meets(name, &ValueMatch::Prefix(String::new())), "{name}");
            assert!(meets(name, &ValueMatch::Present(false)), "{name}");
            assert!(meets(name, &ValueMatch::Not(Box::new(exact("x")))), "{name}");
        }
        assert!(!meets("realm_access", &ValueMatch::Contains(String::new())), "an object has no value");
        assert!(meets("none", &ValueMatch::Present(true)));
        let unread = |_: &[u8]| Some(Bytes::from_static(b"[not claims"));
        assert!(!Claims::default().meet("sub", &exact("ann"), &unread));
    }
}
