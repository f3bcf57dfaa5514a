//! What the operator writes, checked while it is read.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use expression::Expression;
use schemars::JsonSchema;
use serde::de::{Deserializer, Error, IgnoredAny, Unexpected};
use serde::{Deserialize, de};
use vocabulary::{Match, Percent, Size, Span};

/// What the body of an abort says, as Envoy's does.
pub(crate) const ABORT_BODY: &str = "fault filter abort";

/// The longest delay, one hour: beyond it every client has gone.
pub(crate) type Delay = Span<3600>;

/// The largest body that is cut short behind its beginning.
type After = Size<{ 1 << 30 }>;

/// The configuration of `fault`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "fault")]
pub struct Config {
    /// Answer in the upstream's place, or break the exchange off.
    pub(crate) abort: Option<AbortConfig>,
    /// Let the request wait.
    pub(crate) delay: Option<DelayConfig>,
    /// Slow the response's body down.
    pub(crate) rate_limit: Option<RateLimitConfig>,
    /// Leave out the end of the response's body.
    pub(crate) truncate: Option<TruncateConfig>,
    /// Change bits of the response's body.
    pub(crate) corrupt: Option<CorruptConfig>,
    /// Which requests; all without it.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// Only requests of which this expression (CEL) is true.
    pub(crate) when: Option<Expression>,
    /// Let clients ask for faults by `x-envoy-fault-*` headers. Each kind's `percent` is then also the most of the
    /// requests that such a header reaches: 100 when the kind is not configured.
    #[serde(default)]
    pub(crate) allow_headers: bool,
    /// No new faults while this many exchanges have one, over all workers.
    pub(crate) max_active: Option<u64>,
}

/// `status`, `grpc_status` or both; or `reset`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "AbortFile")]
#[schemars(with = "AbortFile")]
pub(crate) struct AbortConfig {
    pub(crate) abort: Abort,
    pub(crate) percent: Percent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Abort {
    Answer {
        status: u16,
        /// For requests in gRPC.
        grpc_status: Option<u8>,
        body: Rc<str>,
    },
    Reset,
}

/// `status`, `grpc_status` or both; or `reset`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AbortFile {
    /// The HTTP status, 200 to 599. A client that speaks gRPC is told the gRPC status for it.
    #[serde(default, deserialize_with = "status")]
    #[schemars(range(min = 200, max = 599))]
    status: Option<u16>,
    /// The gRPC status, 1 to 16, for clients that speak gRPC; others get the HTTP status for it, unless `status` is given.
    #[serde(default, deserialize_with = "grpc_status")]
    #[schemars(range(min = 1, max = 16))]
    grpc_status: Option<u8>,
    /// Break the exchange off without an answer.
    #[serde(default)]
    reset: bool,
    /// What the answer says.
    body: Option<String>,
    /// The share of the requests.
    #[serde(default)]
    percent: Percent,
}

impl TryFrom<AbortFile> for AbortConfig {
    type Error = &'static str;

    fn try_from(file: AbortFile) -> Result<AbortConfig, &'static str> {
        let AbortFile { status, grpc_status, reset, body, percent } = file;
        let http_status = status.or(grpc_status.map(http_status));
        let abort = match (http_status, reset) {
            (Some(_), true) => return Err("a `reset` has no `status` and no `grpc_status`"),
            (None, false) => {
                return Err("expected `status` (200 to 599), `grpc_status` (1 to 16) or `reset: true`");
            }
            (None, true) if body.is_some() => return Err("a reset has no `body`"),
            (None, true) => Abort::Reset,
            (Some(status), false) => {
                Abort::Answer { status, grpc_status, body: body.as_deref().unwrap_or(ABORT_BODY).into() }
            }
        };
        Ok(AbortConfig { abort, percent })
    }
}

/// The HTTP status for a gRPC one (google/rpc/code.proto).
pub(crate) fn http_status(grpc_status: u8) -> u16 {
    match grpc_status {
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelayConfig {
    /// How long.
    pub(crate) fixed: Delay,
    /// Whether the wait is part of the route's timeout, as a slow service's would be. In Envoy it never is.
    #[serde(default)]
    pub(crate) counts_against_timeout: bool,
    /// The share of the requests.
    #[serde(default)]
    pub(crate) percent: Percent,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "RateLimitFile")]
#[schemars(with = "RateLimitFile")]
pub(crate) struct RateLimitConfig {
    pub(crate) bytes_per_second: u64,
    pub(crate) percent: Percent,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RateLimitFile {
    /// KiB (1024 bytes) a second, as in Envoy.
    limit_kbps: Option<NonZeroU32>,
    /// What it was called.
    #[schemars(skip)]
    kbps: Option<IgnoredAny>,
    /// The share of the requests.
    #[serde(default)]
    percent: Percent,
}

impl TryFrom<RateLimitFile> for RateLimitConfig {
    type Error = &'static str;

    fn try_from(file: RateLimitFile) -> Result<RateLimitConfig, &'static str> {
        if file.kbps.is_some() {
            return Err(
                "`kbps` was thousands of bits a second; write `limit_kbps`, KiB a second as in Envoy: 64 \
                        of those are about 8 of these",
            );
        }
        let limit = file.limit_kbps.ok_or("expected `limit_kbps`, KiB a second")?;
        Ok(RateLimitConfig { bytes_per_second: u64::from(limit.get()) * 1024, percent: file.percent })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TruncateConfig {
    /// How much of the body is left. A body that is not larger stays whole.
    pub(crate) after: After,
    /// What the client sees then.
    #[serde(default)]
    pub(crate) then: Then,
    /// The share of the requests.
    #[serde(default)]
    pub(crate) percent: Percent,
}

/// What follows what is left of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Then {
    /// The response ends, as if that were all: its length is not announced.
    #[default]
    End,
    /// The connection is cut.
    Cut,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorruptConfig {
    /// The share of the bytes in which a bit is changed, up to 10 %. At least one.
    #[serde(deserialize_with = "few")]
    #[schemars(range(max = 10))]
    pub(crate) bytes: Percent,
    /// The share of the requests.
    #[serde(default)]
    pub(crate) percent: Percent,
}

fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
    let percent = f64::deserialize(deserializer)?;
    let few = Percent::of(percent).filter(|share| *share <= Percent::whole(10));
    few.ok_or_else(|| D::Error::invalid_value(Unexpected::Float(percent), &"a percentage from 0 to 10"))
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    ranged(deserializer, 200, 599, &"an HTTP status from 200 to 599")
}

fn grpc_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    ranged(deserializer, 1, 16, &"a gRPC status from 1 to 16")
}

/// A number in a range; `null` is none.
fn ranged<'de, D: Deserializer<'de>, N: TryFrom<u64>>(
    deserializer: D,
    least: u64,
    most: u64,
    expected: &dyn de::Expected,
) -> Result<Option<N>, D::Error> {
    let Some(number) = Option::<u64>::deserialize(deserializer)? else { return Ok(None) };
    let found = Some(number).filter(|number| (least..=most).contains(number));
    let found = found.and_then(|number| N::try_from(number).ok());
    found.map(Some).ok_or_else(|| D::Error::invalid_value(Unexpected::Unsigned(number), expected))
}

impl Abort {
    /// As a client asks for it.
    pub(crate) fn with_status(status: u64) -> Option<Abort> {
        let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status))?;
        Some(Abort::Answer { status, grpc_status: None, body: ABORT_BODY.into() })
    }

    /// As a client asks for it.
    pub(crate) fn with_grpc_status(status: u64) -> Option<Abort> {
        let grpc_status = u8::try_from(status).ok().filter(|status| (1..=16).contains(status))?;
        let status = http_status(grpc_status);
        Some(Abort::Answer { status, grpc_status: Some(grpc_status), body: ABORT_BODY.into() })
    }
}

impl DelayConfig {
    pub(crate) fn duration(&self) -> Duration {
        self.fixed.duration()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
    }

    #[test]
    fn the_schema_is_that_of_the_code() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Config)).unwrap();
        expect_file!["../config.schema.json"].assert_eq(&format!("{schema}\n"));
    }

    #[test]
    fn the_documented_configuration_reads() {
        let config = read(
            r#"{"abort": {"status": 503, "percent": 0.0125}, "delay": {"fixed": "1.5s"}, "rate_limit": {"limit_kbps": 64},
                "truncate": {"after": "1KiB", "then": "cut"}, "corrupt": {"bytes": 0.1},
                "match": {"headers": {"x-user": {"exact": "ann"}}, "cookies": {"beta": {"present": true}}},
                "when": "request.method == \"GET\"", "allow_headers": true, "max_active": 100}"#,
        )
        .unwrap();
        let abort = config.abort.unwrap();
        let body = "fault filter abort".into();
        assert_eq!(abort.abort, Abort::Answer { status: 503, grpc_status: None, body });
        let delay = config.delay.unwrap();
        assert_eq!((delay.duration(), delay.percent), (Duration::from_millis(1500), Percent::ALL));
        assert_eq!(config.rate_limit.unwrap().bytes_per_second, 65_536);
        let truncate = config.truncate.unwrap();
        assert_eq!((truncate.after.bytes(), truncate.then), (1024, Then::Cut));
    }

    #[test]
    fn an_abort_for_grpc_has_an_http_status_for_others() {
        let abort = |json: &str| read(&format!(r#"{{"abort": {json}}}"#)).unwrap().abort.unwrap().abort;
        let answer = |status, grpc_status| Abort::Answer {
            status,
            grpc_status: Some(grpc_status),
            body: ABORT_BODY.into(),
        };
        assert_eq!(abort(r#"{"grpc_status": 14}"#), answer(503, 14));
        assert_eq!(abort(r#"{"grpc_status": 2}"#), answer(500, 2));
        assert_eq!(abort(r#"{"grpc_status": 14, "status": 200}"#), answer(200, 14));
    }

    #[test]
    fn an_error_names_the_field_its_value_and_what_was_expected() {
        let wrong = [
            (
                r#"{"abort": {"status": 99}}"#,
                "abort.status: invalid value: integer `99`, expected an HTTP status from 200 to 599",
            ),
            (
                r#"{"abort": {"grpc_status": 0}}"#,
                "abort.grpc_status: invalid value: integer `0`, expected a gRPC status from 1 to 16",
            ),
            (r#"{"abort": {"status": 503, "percent": 101}}"#, "expected a percentage from 0 to 100"),
            (
                r#"{"abort": {"status": 503, "reset": true}}"#,
                "abort: a `reset` has no `status` and no `grpc_status`",
            ),
            (r#"{"abort": {"reset": true, "body": "x"}}"#, "abort: a reset has no `body`"),
            (
                r#"{"abort": {"percent": 1}}"#,
                "abort: expected `status` (200 to 599), `grpc_status` (1 to 16) or `reset: true`",
            ),
            (
                r#"{"delay": {"fixed": "soon"}}"#,
                "delay.fixed: invalid value: string \"soon\", expected a duration",
            ),
            (r#"{"delay": {"fixed": -1}}"#, "delay.fixed: invalid type: integer `-1`, expected a duration"),
            (
                r#"{"delay": {"fixed": "2h"}}"#,
                "delay.fixed: invalid value: string \"2h\", expected a duration",
            ),
            (r#"{"rate_limit": {"limit_kbps": 0}}"#, "rate_limit.limit_kbps: invalid value: integer `0`"),
            (
                r#"{"rate_limit": {"kbps": 64}}"#,
                "rate_limit: `kbps` was thousands of bits a second; write `limit_kbps`, KiB a second as in Envoy",
            ),
            (r#"{"rate_limit": {}}"#, "rate_limit: expected `limit_kbps`"),
            (
                r#"{"truncate": {"after": "much"}}"#,
                "truncate.after: invalid value: string \"much\", expected a size",
            ),
            (
                r#"{"truncate": {"after": 1, "then": "stop"}}"#,
                "truncate.then: unknown variant `stop`, expected `end` or `cut`",
            ),
            (
                r#"{"corrupt": {"bytes": 11}}"#,
                "corrupt.bytes: invalid value: floating point `11.0`, expected a percentage from 0 to 10",
            ),
            (
                r#"{"match": {"headers": {"x-a": {"globe": "a"}}}}"#,
                "match.headers.x-a.globe: unknown field `globe`, expected one of `exact`",
            ),
            (r#"{"when": "requst.path"}"#, "when: `requst.path` speaks of `requst`; expected `request`"),
            (
                r#"{"abrot": {"status": 503}}"#,
                "abrot: unknown field `abrot`, expected one of `abort`, `delay`",
            ),
        ];
        for (json, message) in wrong {
            let error = read(json).expect_err(json);
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
