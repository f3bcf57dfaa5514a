//! How much is allowed: `100/s`, `5000/h`, `1/10s`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Unexpected, Visitor};
use serde::{Deserialize, de};

/// The longest time that a rate may be given for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The most requests that a rate or a burst may say: the host counts tokens in 31 bits.
pub(crate) const MOST: u32 = i32::MAX as u32;

const EXPECTED: &str =
    "a rate such as \"100/s\", \"5000/h\" or \"1/10s\" (units ms, s, m, h, d; up to 366 days)";

/// So many requests in each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) requests: u32,
    pub(crate) interval: Duration,
}

impl Rate {
    fn parse(text: &str) -> Option<Rate> {
        let (requests, interval) = text.split_once('/')?;
        let requests = requests.trim().parse().ok().filter(|requests| (1..=MOST).contains(requests))?;
        let interval = interval.trim();
        let unit_at = interval.find(|c: char| !c.is_ascii_digit())?;
        let (count, unit) = interval.split_at(unit_at);
        let count: u64 = if count.is_empty() { 1 } else { count.parse().ok()? };
        let unit_ms = match unit.trim_start() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let interval = Duration::from_millis(count.checked_mul(unit_ms)?);
        (!interval.is_zero() && interval <= LONGEST).then_some(Rate { requests, interval })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
                Rate::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "So many requests in a time: `100/s`, `5000/h`, `1/10s`. Units: ms, s, m, h, d.",
            "pattern": r"^\s*[0-9]+\s*/\s*[0-9]*\s*(ms|s|m|h|d)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_and_an_interval() {
        for (text, requests, ms) in [
            ("100/s", 100, 1000),
            ("1 / 10s", 1, 10_000),
            ("5000/h", 5000, 3_600_000),
            ("3/250ms", 3, 250),
            ("7/2d", 7, 172_800_000),
            ("1/m", 1, 60_000),
        ] {
            let rate = Rate { requests, interval: Duration::from_millis(ms) };
            assert_eq!(Rate::parse(text), Some(rate), "{text}");
        }
        for text in
            ["", "100", "/s", "0/s", "-1/s", "100/", "100/0s", "100/y", "1.5/s", "1/367d", "2147483648/s"]
        {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }
}
