//! Rules: what a request has to be for one of them to apply, and which decides.
//!
//! Some things about a request cannot be told for certain: a path that services read differently, a header with
//! several values, an expression that fails. Each is settled against the request: a rule that denies applies if it
//! may, a rule that allows only if it must.

use std::collections::BTreeMap;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, MapAccess};
use vocabulary::{Glob, HeaderName, Network, Pattern, Words, words};

use crate::expression::Expression;
use crate::identity::Identity;
use crate::jwt::{ClaimName, ClaimRule};
use crate::request::{Facts, Needs};
use crate::values::{Method, OneOrMany};

/// The most rules of a kind.
const MOST_RULES: usize = 1000;

/// Rules of one kind, in order.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Rule>")]
#[schemars(with = "Vec<Rule>")]
pub(crate) struct Rules(Vec<Rule>);

impl TryFrom<Vec<Rule>> for Rules {
    type Error = String;

    fn try_from(rules: Vec<Rule>) -> Result<Rules, String> {
        if rules.len() > MOST_RULES {
            return Err(format!("{} rules; expected at most {MOST_RULES}", rules.len()));
        }
        Ok(Rules(rules))
    }
}

/// One rule: it applies to a request that matches, unless that is excepted.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// What it is called in logs and metrics; `deny[0]` and the like without it.
    #[serde(default)]
    name: Option<String>,
    /// Which requests; all without it.
    #[serde(default, rename = "match")]
    matches: Conditions,
    /// Which of these not.
    #[serde(default)]
    except: Option<Conditions>,
}

/// What a request has to be: everything that is given here, and of a list any one.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conditions {
    /// One method or several, such as `GET`.
    #[serde(default)]
    method: Option<OneOrMany<Method>>,
    /// One path or several, without the query.
    #[serde(default)]
    path: Option<OneOrMany<Pattern>>,
    /// Headers, by name.
    #[serde(default)]
    headers: BTreeMap<HeaderName, HeaderRule>,
    /// Ranges of client addresses, such as `10.0.0.0/8`, or single ones.
    #[serde(default)]
    client: Option<Vec<Network>>,
    /// What the client's certificate says it is (its URI, a SPIFFE id in a mesh), as globs.
    #[serde(default)]
    principals: Option<Vec<Glob>>,
    /// Claims of the verified token.
    #[serde(default)]
    claims: BTreeMap<ClaimName, ClaimRule>,
    /// Names of API keys, as globs.
    #[serde(default)]
    api_keys: Option<Vec<Glob>>,
    /// Users that showed their password, as globs.
    #[serde(default)]
    users: Option<Vec<Glob>>,
    /// Whether the request shows who it is from: by a token, an API key, a password or a certificate.
    #[serde(default)]
    authenticated: Option<bool>,
    /// An expression in CEL that has to be true.
    #[serde(default)]
    expression: Option<Expression>,
}

/// What a header has to be.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum HeaderRule {
    /// There is one (`true`) or there is none (`false`).
    Present(bool),
    /// There is one, and it is as this says of a text.
    #[schemars(untagged)]
    Text(Pattern),
}

impl From<Pattern> for HeaderRule {
    fn from(pattern: Pattern) -> HeaderRule {
        HeaderRule::Text(pattern)
    }
}

impl Words for HeaderRule {
    const MORE: &'static [&'static str] = &["present"];

    fn read<'de, A: MapAccess<'de>>(_: &str, map: &mut A) -> Result<HeaderRule, A::Error> {
        map.next_value().map(HeaderRule::Present)
    }
}

impl<'de> Deserialize<'de> for HeaderRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HeaderRule, D::Error> {
        words(deserializer)
    }
}

/// How what cannot be told for certain is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The rule denies.
    Applies,
    /// The rule allows.
    AppliesNot,
}

impl Doubt {
    /// Of several readings of one thing: any of them is enough, or all of them are needed.
    fn settle(self, mut readings: impl Iterator<Item = bool>) -> bool {
        match self {
            Doubt::Applies => readings.any(|applies| applies),
            Doubt::AppliesNot => readings.all(|applies| applies),
        }
    }

    fn unknown(self) -> bool {
        self == Doubt::Applies
    }

    fn opposite(self) -> Doubt {
        match self {
            Doubt::Applies => Doubt::AppliesNot,
            Doubt::AppliesNot => Doubt::Applies,
        }
    }
}

impl Rules {
    /// There are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the first that applies, where these rules deny.
    pub(crate) fn denying(&self, facts: &Facts, identity: &Identity) -> Option<Rc<str>> {
        let at = self.0.iter().position(|rule| rule.applies(facts, identity, Doubt::Applies))?;
        Some(self.0[at].name.clone().unwrap_or_else(|| format!("deny[{at}]")).into())
    }

    /// Whether one applies, where these rules allow.
    pub(crate) fn allow(&self, facts: &Facts, identity: &Identity) -> bool {
        self.0.iter().any(|rule| rule.applies(facts, identity, Doubt::AppliesNot))
    }

    /// What they look at.
    pub(crate) fn needs(&self) -> Needs {
        let conditions = self.0.iter().flat_map(|rule| [Some(&rule.matches), rule.except.as_ref()]).flatten();
        conditions.map(Conditions::needs).fold(Needs::default(), Needs::and)
    }
}

impl Rule {
    fn applies(&self, facts: &Facts, identity: &Identity, doubt: Doubt) -> bool {
        let excepted = |except: &Conditions| except.hold(facts, identity, doubt.opposite());
        self.matches.hold(facts, identity, doubt) && !self.except.as_ref().is_some_and(excepted)
    }
}

impl Conditions {
    fn hold(&self, facts: &Facts, identity: &Identity, doubt: Doubt) -> bool {
        // Cheap ones first.
        given(&self.method, |methods| methods.all().iter().any(|method| method.as_str() == facts.method()))
            && given(&self.path, |paths| {
                doubt.settle(
                    facts.path.readings().map(|path| paths.all().iter().any(|pattern| pattern.matches(path))),
                )
            })
            && given(&self.api_keys, |globs| any_glob(globs, identity.api_key.as_deref()))
            && given(&self.users, |globs| any_glob(globs, identity.user.as_deref()))
            && given(&self.client, |ranges| match facts.source {
                Some(address) => ranges.iter().any(|range| range.contains(address)),
                None => doubt.unknown(),
            })
            && given(&self.principals, |globs| any_glob(globs, identity.principal.as_deref()))
            && given(&self.authenticated, |wanted| *wanted != identity.is_anonymous())
            && self.headers.iter().all(|(name, rule)| rule.holds(facts, name.as_str(), doubt))
            && self.claims.iter().all(|(name, rule)| {
                rule.accepts(identity.token.as_ref().and_then(|token| token.claims.get(name)))
            })
            && given(&self.expression, |expression| {
                let says = |path| expression.evaluate(facts, path, identity).unwrap_or(doubt.unknown());
                doubt.settle(facts.path.readings().map(says))
            })
    }

    fn needs(&self) -> Needs {
        let own = Needs {
            source: self.client.is_some(),
            principal: self.principals.is_some(),
            authenticated: self.authenticated.is_some(),
        };
        own.and(self.expression.as_ref().map(Expression::needs).unwrap_or_default())
    }
}

impl HeaderRule {
    fn holds(&self, facts: &Facts, name: &str, doubt: Doubt) -> bool {
        let mut values = facts.values(name).peekable();
        let is_there = values.peek().is_some();
        match self {
            HeaderRule::Present(wanted) => is_there == *wanted,
            HeaderRule::Text(pattern) => is_there && doubt.settle(values.map(|value| pattern.matches(value))),
        }
    }
}

/// What is not given holds.
fn given<T>(condition: &Option<T>, holds: impl FnOnce(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(holds)
}

fn any_glob(globs: &[Glob], text: Option<&str>) -> bool {
    text.is_some_and(|text| globs.iter().any(|glob| glob.matches(text)))
}

#[cfg(test)]
mod tests;
