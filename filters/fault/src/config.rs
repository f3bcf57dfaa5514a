//! What the operator writes, checked while it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, de};

/// The longest delay: beyond it every client has gone.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// What the body of an abort says, as Envoy's does.
pub(crate) const ABORT_BODY: &str = "fault filter abort";

/// The filter's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Answer in the upstream's place, or break the exchange off.
    #[serde(default)]
    pub(crate) abort: Option<AbortConfig>,
    /// Let the request wait.
    #[serde(default)]
    pub(crate) delay: Option<DelayConfig>,
    /// Slow the response down.
    #[serde(default)]
    pub(crate) rate_limit: Option<RateLimitConfig>,
    /// Only requests that match in everything given here; without it all.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// Let clients ask for faults by `x-envoy-fault-*` headers. Each kind's `percent` is then also the most of the
    /// requests that such a header reaches: 100 when the kind is not configured.
    #[serde(default)]
    pub(crate) allow_headers: bool,
    /// No new faults while this many exchanges have one, over all workers.
    #[serde(default)]
    pub(crate) max_active: Option<u64>,
}

/// Exactly one of `status` and `reset`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawAbort")]
pub(crate) struct AbortConfig {
    pub(crate) abort: Abort,
    pub(crate) percent: Percent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Abort {
    Status { status: u16, body: Rc<str> },
    Reset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAbort {
    status: Option<Status>,
    #[serde(default)]
    reset: bool,
    body: Option<String>,
    #[serde(default)]
    percent: Percent,
}

impl TryFrom<RawAbort> for AbortConfig {
    type Error = &'static str;

    fn try_from(raw: RawAbort) -> Result<AbortConfig, &'static str> {
        let abort = match (raw.status, raw.reset) {
            (Some(_), true) => return Err("`status` and `reset` exclude each other"),
            (None, false) => return Err("expected `status` (200 to 599) or `reset: true`"),
            (None, true) if raw.body.is_some() => return Err("a reset has no `body`"),
            (None, true) => Abort::Reset,
            (Some(Status(status)), false) => {
                Abort::Status { status, body: raw.body.as_deref().unwrap_or(ABORT_BODY).into() }
            }
        };
        Ok(AbortConfig { abort, percent: raw.percent })
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelayConfig {
    /// `250ms`, `1.5s`, `2m`, or a number of milliseconds.
    #[serde(deserialize_with = "delay")]
    pub(crate) fixed: Duration,
    #[serde(default)]
    pub(crate) percent: Percent,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimitConfig {
    /// Kilobits (1000 bits) a second.
    pub(crate) kbps: std::num::NonZeroU32,
    #[serde(default)]
    pub(crate) percent: Percent,
}

impl RateLimitConfig {
    pub(crate) fn bytes_per_second(&self) -> u64 {
        u64::from(self.kbps.get()) * 1000 / 8
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Rule>,
    #[serde(default)]
    pub(crate) cookies: BTreeMap<String, Rule>,
}

/// What a header or a cookie has to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    Exact(String),
    Prefix(String),
    Present(bool),
}

impl Rule {
    pub(crate) fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Rule::Exact(wanted) => value == Some(wanted.as_str()),
            Rule::Prefix(wanted) => value.is_some_and(|value| value.starts_with(wanted.as_str())),
            Rule::Present(wanted) => value.is_some() == *wanted,
        }
    }
}

/// A share of the requests, in ten-thousandths of a per cent; all of them by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Percent(pub(crate) u32);

impl Percent {
    pub(crate) const ALL: Percent = Percent(100 * Self::ONE);
    const ONE: u32 = 10_000;

    /// Of whole per cents; more than all is all.
    pub(crate) fn whole(percent: u64) -> Percent {
        Percent(percent.min(100) as u32 * Percent::ONE)
    }
}

impl Default for Percent {
    fn default() -> Percent {
        Percent::ALL
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(D::Error::invalid_value(Unexpected::Float(percent), &"a percentage from 0 to 100"));
        }
        Ok(Percent((percent * f64::from(Percent::ONE)).round() as u32))
    }
}

struct Status(u16);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let status = u64::deserialize(deserializer)?;
        let in_range = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
        in_range.map(Status).ok_or_else(|| {
            D::Error::invalid_value(Unexpected::Unsigned(status), &"an HTTP status from 200 to 599")
        })
    }
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Delay;

    impl Visitor<'_> for Delay {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration up to one hour, such as \"250ms\", \"1.5s\", \"2m\", or in milliseconds")
        }

        fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Duration, E> {
            let delay = Some(Duration::from_millis(ms)).filter(|delay| *delay <= LONGEST_DELAY);
            delay.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(ms), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse_duration(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Delay)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let number: f64 = number.trim_end().parse().ok()?;
    let duration = Duration::try_from_secs_f64(number * seconds).ok()?;
    (duration <= LONGEST_DELAY).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_configuration_reads() {
        let config = read(
            r#"{"abort": {"status": 503, "percent": 0.0125}, "delay": {"fixed": "1.5s"}, "rate_limit": {"kbps": 64},
                "match": {"headers": {"x-user": {"exact": "ann"}}, "cookies": {"beta": {"present": true}}},
                "allow_headers": true, "max_active": 100}"#,
        )
        .unwrap();
        let abort = config.abort.unwrap();
        assert_eq!(abort.abort, Abort::Status { status: 503, body: "fault filter abort".into() });
        assert_eq!(abort.percent, Percent(125));
        let delay = config.delay.unwrap();
        assert_eq!((delay.fixed, delay.percent), (Duration::from_millis(1500), Percent::ALL));
    }

    #[test]
    fn a_delay_is_milliseconds_or_has_a_unit() {
        for (written, ms) in
            [("250", 250), ("\"250ms\"", 250), ("\"1.5s\"", 1500), ("\"2m\"", 120_000), ("\"1h\"", 3_600_000)]
        {
            let config = read(&format!(r#"{{"delay": {{"fixed": {written}}}}}"#)).unwrap();
            assert_eq!(config.delay.unwrap().fixed, Duration::from_millis(ms), "{written}");
        }
    }

    #[test]
    fn an_error_names_the_field_its_value_and_what_was_expected() {
        let wrong = [
            (
                r#"{"abort": {"status": 99}}"#,
                "abort.status: invalid value: integer `99`, expected an HTTP status",
            ),
            (r#"{"abort": {"status": 503, "percent": 101}}"#, "expected a percentage from 0 to 100"),
            (
                r#"{"abort": {"status": 503, "reset": true}}"#,
                "abort: `status` and `reset` exclude each other",
            ),
            (r#"{"abort": {"reset": true, "body": "x"}}"#, "abort: a reset has no `body`"),
            (r#"{"abort": {"percent": 1}}"#, "abort: expected `status` (200 to 599) or `reset: true`"),
            (
                r#"{"delay": {"fixed": "soon"}}"#,
                "delay.fixed: invalid value: string \"soon\", expected a duration",
            ),
            (r#"{"delay": {"fixed": -1}}"#, "delay.fixed: invalid type: integer `-1`, expected a duration"),
            (
                r#"{"delay": {"fixed": "2h"}}"#,
                "delay.fixed: invalid value: string \"2h\", expected a duration",
            ),
            (r#"{"rate_limit": {"kbps": 0}}"#, "rate_limit.kbps: invalid value: integer `0`"),
            (
                r#"{"match": {"headers": {"x-a": {"regex": "a"}}}}"#,
                "match.headers.x-a: unknown variant `regex`",
            ),
            (
                r#"{"abrot": {"status": 503}}"#,
                "abrot: unknown field `abrot`, expected one of `abort`, `delay`",
            ),
        ];
        for (json, message) in wrong {
            let error = read(json).unwrap_err();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
