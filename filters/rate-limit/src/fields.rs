//! Header fields that tell a client where it stands.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limiter::{Decision, Limit};

/// Which fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Headers {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
    #[default]
    Ietf,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, as Envoy has them: those of the rule with the least left.
    XRatelimit,
    /// None.
    None,
}

/// What one rule decided about a request.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The name that the client sees.
    pub(crate) policy: std::rc::Rc<str>,
    pub(crate) limit: Limit,
    pub(crate) decision: Decision,
}

impl Headers {
    /// Names and values for these standings; nothing where no rule applied.
    pub(crate) fn render(self, standings: &[Standing]) -> Vec<(&'static str, String)> {
        let Some(tightest) = standings.iter().min_by_key(|standing| standing.decision.remaining) else {
            return Vec::new();
        };
        match self {
            Headers::Ietf => {
                vec![
                    ("ratelimit-policy", list(standings, Standing::policy)),
                    ("ratelimit", list(standings, Standing::state)),
                ]
            }
            Headers::XRatelimit => vec![
                ("x-ratelimit-limit", tightest.limit.rate.requests.to_string()),
                ("x-ratelimit-remaining", tightest.decision.remaining.to_string()),
                ("x-ratelimit-reset", whole_seconds(tightest.until()).to_string()),
            ],
            Headers::None => Vec::new(),
        }
    }
}

impl Standing {
    fn policy(&self) -> String {
        let Limit { rate, .. } = &self.limit;
        format!("{};q={};w={}", quoted(&self.policy), rate.requests, whole_seconds(rate.interval))
    }

    fn state(&self) -> String {
        format!("{};r={};t={}", quoted(&self.policy), self.decision.remaining, whole_seconds(self.until()))
    }

    /// When there is more: for a client that was refused, when to come back.
    fn until(&self) -> Duration {
        self.decision.retry_after.unwrap_or(self.decision.reset)
    }
}

fn list(standings: &[Standing], item: impl Fn(&Standing) -> String) -> String {
    standings.iter().map(item).collect::<Vec<_>>().join(", ")
}

/// Rounded up: a client that comes back then does not come too early.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// A string of structured fields (RFC 9651, section 3.3.3): printable ASCII, quote and backslash escaped.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Algorithm;
    use crate::rate::Rate;

    fn standing(policy: &str, remaining: u32, retry_after: Option<u64>) -> Standing {
        let rate = Rate { requests: 100, interval: Duration::from_secs(60) };
        let retry_after = retry_after.map(Duration::from_millis);
        Standing {
            policy: policy.into(),
            limit: Limit { rate, burst: 100, algorithm: Algorithm::TokenBucket },
            decision: Decision { retry_after, remaining, reset: Duration::from_millis(29_001) },
        }
    }

    #[test]
    fn every_policy_is_named_with_what_is_left_of_it() {
        let standings = [standing("per user", 7, None), standing("all \"of\" them", 0, Some(1500))];
        assert_eq!(
            Headers::Ietf.render(&standings),
            [
                ("ratelimit-policy", r#""per user";q=100;w=60, "all \"of\" them";q=100;w=60"#.to_owned()),
                ("ratelimit", r#""per user";r=7;t=30, "all \"of\" them";r=0;t=2"#.to_owned()),
            ]
        );
        let fields = Headers::XRatelimit.render(&standings).into_iter().map(|(_, value)| value);
        assert_eq!(fields.collect::<Vec<_>>(), ["100", "0", "2"]);
        assert_eq!(Headers::None.render(&standings), []);
        assert_eq!(Headers::Ietf.render(&[]), []);
    }
}
