//! What the operator writes, checked while it is read.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected};
use vocabulary::{HeaderName, Match, Part};

use crate::fields::Headers;
use crate::key;
use crate::limiter::{Algorithm, Limit};
use crate::rate::{MOST, Rate};

/// The most rules of one filter, parts of one key and overrides of one rule.
const MAX_RULES: usize = 64;
const MAX_PARTS: usize = 8;
const MAX_OVERRIDES: usize = 10_000;

/// In an override: any value of this part.
const ANY: &str = "*";

/// The configuration of `rate-limit`: one rule, or several under `rules`. A request goes on if all that apply to it allow
/// it; where one refuses, the others are not charged.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Several rules, in the order in which they are asked.
    rules: Option<Vec<RuleFile>>,
    /// Without `rules`: the name of the one rule.
    name: Option<String>,
    /// Without `rules`: the key of the one rule.
    key: Option<Vec<Part>>,
    /// Without `rules`: which requests the one rule is for.
    #[serde(rename = "match")]
    matches: Option<Match>,
    /// Without `rules`: the rate of the one rule.
    rate: Option<Rate>,
    /// Without `rules`: the burst of the one rule.
    #[serde(default, deserialize_with = "burst")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    burst: Option<u32>,
    /// Without `rules`: the algorithm of the one rule.
    algorithm: Option<Algorithm>,
    /// Without `rules`: what keys have limits of their own.
    overrides: Option<Vec<OverrideFile>>,
    /// Without `rules`: what becomes of requests that lack a part of the key.
    missing: Option<Missing>,
    /// Refuse nothing: count and show in metrics what would have been refused. For all rules, beside their own.
    #[serde(default)]
    dry_run: bool,
    /// Which header fields tell the client where it stands.
    #[serde(default)]
    headers: Headers,
    /// What becomes of a request that could not be counted.
    #[serde(default)]
    on_error: OnError,
    /// The answer to a request that is refused.
    #[serde(default)]
    response: ResponseFile,
}

/// One rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    /// In metrics, in the access log and in the `RateLimit` fields; the parts of the key without this.
    name: Option<String>,
    /// Each value of these gets the rate for itself; all requests together without this.
    #[serde(default)]
    key: Vec<Part>,
    /// Only requests like these; all without this.
    #[serde(default, rename = "match")]
    matches: Match,
    /// How much is allowed.
    rate: Rate,
    /// How many requests may come at one moment; as many as the rate says without this. Token buckets only.
    #[serde(default, deserialize_with = "burst")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    burst: Option<u32>,
    /// How requests are counted.
    #[serde(default)]
    algorithm: Algorithm,
    /// Keys with limits of their own. Those without `*` come first, then in order.
    #[serde(default)]
    overrides: Vec<OverrideFile>,
    /// What becomes of requests that lack a part of the key.
    #[serde(default)]
    missing: Missing,
    /// Refuse nothing by this rule: count and show in metrics what would have been refused.
    #[serde(default)]
    dry_run: bool,
}

/// A limit for some values of a rule's key: another rate and burst, or none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OverrideFile {
    /// A value for each part of the key, or `*` for any.
    key: Vec<String>,
    /// How much is allowed; as the rule says without this.
    rate: Option<Rate>,
    /// How many requests may come at one moment.
    #[serde(default, deserialize_with = "burst")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    burst: Option<u32>,
    /// No limit.
    #[serde(default)]
    unlimited: bool,
}

/// What becomes of a request that lacks a part of a rule's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Missing {
    /// The rule does not apply to it.
    #[default]
    Skip,
    /// It counts as one whose part is empty: all such requests share a limit.
    Empty,
    /// It is refused.
    Refuse,
}

/// What becomes of a request that could not be counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// It goes on.
    #[default]
    Open,
    /// It is answered 503.
    Closed,
}

/// The answer to a request that is refused. `retry-after` and the fields of `headers` are added.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ResponseFile {
    /// 400 to 599.
    #[serde(deserialize_with = "status")]
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// Its text.
    body: String,
    /// More header fields.
    headers: BTreeMap<HeaderName, String>,
}

impl Default for ResponseFile {
    fn default() -> ResponseFile {
        let (status, body) = (429, "too many requests\n".to_owned());
        ResponseFile { status, body, headers: BTreeMap::new() }
    }
}

/// The configuration, ready to use.
#[derive(Debug, Deserialize)]
#[serde(try_from = "File")]
pub struct Config {
    pub(crate) rules: Vec<Rule>,
    pub(crate) headers: Headers,
    pub(crate) on_error: OnError,
    pub(crate) refusal: Refusal,
}

/// The answer to a request that is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// One rule, ready to use.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) key: Vec<Part>,
    /// Which requests it is for; `None` is all.
    pub(crate) matches: Option<Match>,
    pub(crate) limit: Limit,
    pub(crate) missing: Missing,
    pub(crate) dry_run: bool,
    overrides: Overrides,
}

/// Limits of their own; `None` is no limit.
#[derive(Debug, Default)]
struct Overrides {
    exact: HashMap<Vec<u8>, Option<Limit>>,
    patterns: Vec<(Vec<String>, Option<Limit>)>,
}

impl Rule {
    /// The limit of a key by its values; `None` where there is none.
    pub(crate) fn limit_of(&self, values: &[String]) -> Option<Limit> {
        let Overrides { exact, patterns } = &self.overrides;
        if exact.is_empty() && patterns.is_empty() {
            return Some(self.limit);
        }
        if let Some(limit) = exact.get(&key::join("", values)) {
            return *limit;
        }
        let matches =
            |pattern: &[String]| pattern.iter().zip(values).all(|(p, value)| p == ANY || p == value);
        let found = patterns.iter().find(|(pattern, _)| matches(pattern));
        found.map_or(Some(self.limit), |(_, limit)| *limit)
    }
}

impl TryFrom<File> for Config {
    type Error = String;

    fn try_from(file: File) -> Result<Config, String> {
        let File { rules, name, key, matches, rate, burst, algorithm, overrides, missing, dry_run, .. } =
            file;
        let one = [
            ("name", name.is_some()),
            ("key", key.is_some()),
            ("match", matches.is_some()),
            ("rate", rate.is_some()),
            ("burst", burst.is_some()),
            ("algorithm", algorithm.is_some()),
            ("overrides", overrides.is_some()),
            ("missing", missing.is_some()),
        ];
        let is_list = rules.is_some();
        let rules = match (rules, one.iter().find(|(_, given)| *given), rate) {
            (Some(_), Some((field, _)), _) => {
                return Err(format!("`{field}` beside `rules`: put it into a rule, or leave `rules` out"));
            }
            (Some(rules), None, _) => rules,
            (None, _, Some(rate)) => vec![RuleFile {
                name,
                key: key.unwrap_or_default(),
                matches: matches.unwrap_or_default(),
                rate,
                burst,
                algorithm: algorithm.unwrap_or_default(),
                overrides: overrides.unwrap_or_default(),
                missing: missing.unwrap_or_default(),
                dry_run: false,
            }],
            (None, _, None) => return Err("expected `rate`, such as \"100/s\", or `rules`".to_owned()),
        };
        if !(1..=MAX_RULES).contains(&rules.len()) {
            return Err(format!("rules: {} of them, expected 1 to {MAX_RULES}", rules.len()));
        }
        let mut ready: Vec<Rule> = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            let place = |problem| if is_list { format!("rules[{index}].{problem}") } else { problem };
            let rule = rule.check(dry_run).map_err(place)?;
            if let Some(first) = ready.iter().position(|other| other.name == rule.name) {
                let name = &rule.name;
                return Err(format!(
                    "rules[{index}].name: `{name}` is the name of rules[{first}]: give it another"
                ));
            }
            ready.push(rule);
        }
        let ResponseFile { status, body, headers } = file.response;
        for (name, value) in &headers {
            if value.contains(['\r', '\n', '\0']) {
                return Err(format!("response.headers.{name}: expected a value without line breaks and NUL"));
            }
        }
        let refusal = Refusal { status, body, headers: headers.into_iter().collect() };
        Ok(Config { rules: ready, headers: file.headers, on_error: file.on_error, refusal })
    }
}

impl RuleFile {
    fn check(self, dry_run: bool) -> Result<Rule, String> {
        let RuleFile { name, key, matches, rate, burst, algorithm, overrides, missing, .. } = self;
        if key.len() > MAX_PARTS {
            return Err(format!("key: {} parts, expected at most {MAX_PARTS}", key.len()));
        }
        let limit = limit(rate, burst, algorithm)?;
        let overrides = Overrides::check(overrides, key.len(), &limit)?;
        let name = name.unwrap_or_else(|| usual_name(&key));
        if name.is_empty() || name.len() > 100 {
            return Err(format!("name: `{name}` has {} bytes, expected 1 to 100", name.len()));
        }
        let matches = (!matches.is_everything()).then_some(matches);
        Ok(Rule { name, key, matches, limit, missing, dry_run: dry_run || self.dry_run, overrides })
    }
}

fn limit(rate: Rate, burst: Option<u32>, algorithm: Algorithm) -> Result<Limit, String> {
    if burst.is_some() && algorithm == Algorithm::SlidingWindow {
        return Err("burst: a sliding window has none: it allows its rate at any moment".to_owned());
    }
    Ok(Limit { rate, burst: burst.unwrap_or(rate.requests), algorithm })
}

/// The parts of a key, as they are written.
fn usual_name(key: &[Part]) -> String {
    if key.is_empty() {
        return "all".to_owned();
    }
    key.iter().map(Part::to_string).collect::<Vec<_>>().join("+")
}

impl Overrides {
    fn check(files: Vec<OverrideFile>, parts: usize, usual: &Limit) -> Result<Overrides, String> {
        if files.len() > MAX_OVERRIDES {
            return Err(format!("overrides: {} of them, expected at most {MAX_OVERRIDES}", files.len()));
        }
        let mut overrides = Overrides::default();
        for (index, file) in files.into_iter().enumerate() {
            let place = format!("overrides[{index}]");
            let OverrideFile { key, rate, burst, unlimited } = file;
            if key.len() != parts {
                return Err(format!(
                    "{place}.key: {} values, expected {parts}, one for each part of the key",
                    key.len()
                ));
            }
            let limit = match (unlimited, rate, burst) {
                (true, None, None) => None,
                (true, _, _) => return Err(format!("{place}: `unlimited` excludes `rate` and `burst`")),
                (false, None, None) => {
                    return Err(format!("{place}: expected `rate`, `burst` or `unlimited: true`"));
                }
                (false, rate, burst) => {
                    let burst = burst.or_else(|| rate.is_none().then_some(usual.burst));
                    let limit = limit(rate.unwrap_or(usual.rate), burst, usual.algorithm);
                    Some(limit.map_err(|problem| format!("{place}.{problem}"))?)
                }
            };
            if key.iter().any(|value| value == ANY) {
                overrides.patterns.push((key, limit));
            } else if overrides.exact.insert(key::join("", &key), limit).is_some() {
                return Err(format!("{place}.key: {key:?} has an override already"));
            }
        }
        Ok(overrides)
    }
}

fn burst<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(burst) = Option::<i64>::deserialize(deserializer)? else { return Ok(None) };
    let in_range = u32::try_from(burst).ok().filter(|burst| (1..=MOST).contains(burst));
    let expected =
        || D::Error::invalid_value(Unexpected::Signed(burst), &"a number of requests from 1 to 2147483647");
    in_range.map(Some).ok_or_else(expected)
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let status = u64::deserialize(deserializer)?;
    let in_range = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
    let expected =
        || D::Error::invalid_value(Unexpected::Unsigned(status), &"an HTTP status from 400 to 599");
    in_range.ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
    }

    fn values(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn one_rule_needs_no_list() {
        let config = read(r#"{"key": ["header:x-user"], "rate": "100/s", "burst": 20}"#).unwrap();
        let [rule] = &config.rules[..] else { panic!("one rule") };
        assert_eq!((rule.name.as_str(), rule.limit.burst), ("header:x-user", 20));
        assert_eq!(read(r#"{"rate": "100/s"}"#).unwrap().rules[0].name, "all");
    }

    #[test]
    fn a_key_may_have_a_limit_of_its_own() {
        let config = read(
            r#"{"rules": [{"key": ["header:x-user", "method"], "rate": "10/s", "overrides": [
                {"key": ["*", "POST"], "rate": "1/s"}, {"key": ["ann", "POST"], "burst": 50},
                {"key": ["robot", "*"], "unlimited": true}]}]}"#,
        )
        .unwrap();
        let rule = &config.rules[0];
        let rate = |requests| Rate { requests, interval: Duration::from_secs(1) };
        let limit =
            |requests, burst| Some(Limit { rate: rate(requests), burst, algorithm: Algorithm::TokenBucket });
        assert_eq!(rule.limit_of(&values(&["bob", "GET"])), limit(10, 10));
        assert_eq!(rule.limit_of(&values(&["bob", "POST"])), limit(1, 1));
        assert_eq!(rule.limit_of(&values(&["ann", "POST"])), limit(10, 50), "the exact one comes first");
        assert_eq!(rule.limit_of(&values(&["robot", "GET"])), None);
    }

    #[test]
    fn an_error_names_the_field_its_value_and_what_was_expected() {
        let wrong = [
            (r#"{}"#, "expected `rate`, such as \"100/s\", or `rules`"),
            (
                r#"{"rate": "fast"}"#,
                "rate: invalid value: string \"fast\", expected a rate such as \"100/s\"",
            ),
            (r#"{"rate": 5}"#, "rate: invalid type: integer `5`, expected a rate such as"),
            (
                r#"{"rate": "1/s", "burst": 0}"#,
                "burst: invalid value: integer `0`, expected a number of requests",
            ),
            (
                r#"{"rate": "1/s", "key": ["user"]}"#,
                "key[0]: invalid value: string \"user\", expected `header:NAME`",
            ),
            (r#"{"rate": "1/s", "rules": []}"#, "`rate` beside `rules`"),
            (r#"{"rules": []}"#, "rules: 0 of them, expected 1 to 64"),
            (r#"{"rules": [{"key": []}]}"#, "rules[0]: missing field `rate`"),
            (
                r#"{"rules": [{"rate": "1/s"}, {"rate": "2/s"}]}"#,
                "rules[1].name: `all` is the name of rules[0]",
            ),
            (
                r#"{"rate": "1/s", "algorithm": "sliding_window", "burst": 5}"#,
                "burst: a sliding window has none",
            ),
            (
                r#"{"rate": "1/s", "key": ["path"], "overrides": [{"key": [], "rate": "1/s"}]}"#,
                "overrides[0].key: 0 values, expected 1",
            ),
            (
                r#"{"rules": [{"rate": "1/s", "key": ["path"], "overrides": [{"key": ["/"]}]}]}"#,
                "rules[0].overrides[0]: expected `rate`, `burst` or `unlimited: true`",
            ),
            (
                r#"{"rate": "1/s", "response": {"status": 200}}"#,
                "response.status: invalid value: integer `200`",
            ),
            (
                r#"{"rate": "1/s", "algorithm": "leaky"}"#,
                "algorithm: unknown variant `leaky`, expected `token_bucket`",
            ),
            (
                r#"{"rate": "1/s", "burst": 3000000000}"#,
                "burst: invalid value: integer `3000000000`, expected a number of requests from 1 to 2147483647",
            ),
            (
                r#"{"rate": "1/s", "response": {"headers": {"x why": "a"}}}"#,
                "invalid value: string \"x why\", expected the name of a header",
            ),
            (
                r#"{"rate": "1/s", "response": {"headers": {"x-why": "a\nb"}}}"#,
                "response.headers.x-why: expected a value without line breaks and NUL",
            ),
            (r#"{"rates": "1/s"}"#, "rates: unknown field `rates`, expected one of"),
        ];
        for (json, message) in wrong {
            let error = read(json).unwrap_err();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
