//! Lengths of time.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

/// A length of time of at most `MOST` seconds: `250ms`, `1.5s`, `2m`, `1h`, `30d`, or a number of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<const MOST: u64>(Duration);

impl<const MOST: u64> Span<MOST> {
    /// The longest.
    pub const LONGEST: Duration = Duration::from_secs(MOST);

    /// A length of time; the longest, if it is longer than that.
    pub fn new(duration: Duration) -> Span<MOST> {
        Span(duration.min(Self::LONGEST))
    }

    /// How long.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl<'de, const MOST: u64> Deserialize<'de> for Span<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span<MOST>, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader<const MOST: u64>;

impl<const MOST: u64> Visitor<'_> for Reader<MOST> {
    type Value = Span<MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, unit) = in_largest_unit(MOST);
        write!(f, "a duration up to {most} {unit}, such as \"250ms\", \"1.5s\", \"2m\", or in milliseconds")
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Span<MOST>, E> {
        let span = Some(Duration::from_millis(ms)).filter(|span| *span <= Span::<MOST>::LONGEST);
        span.map(Span).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(ms), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span<MOST>, E> {
        let span = parse(text).filter(|span| *span <= Span::<MOST>::LONGEST);
        span.map(Span).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn parse(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.trim_end().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

fn in_largest_unit(seconds: u64) -> (u64, &'static str) {
    let units = [(86_400, "days"), (7200, "hours"), (60, "minutes")];
    let fits = |(length, _): &(u64, &str)| seconds >= *length && seconds.is_multiple_of(*length);
    units.into_iter().find(fits).map_or((seconds, "seconds"), |(length, unit)| (seconds / length, unit))
}

impl<const MOST: u64> JsonSchema for Span<MOST> {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?(ms|s|m|h|d)$"},
            {"type": "integer", "minimum": 0, "maximum": MOST * 1000},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    #[test]
    fn a_length_of_time_is_milliseconds_or_has_a_unit() {
        let cases = [
            ("250", 250),
            ("\"250ms\"", 250),
            ("\"1.5s\"", 1500),
            ("\"2 m\"", 120_000),
            ("\"1h\"", 3_600_000),
        ];
        for (json, ms) in cases {
            assert_eq!(read(json), Ok(Span::<3600>(Duration::from_millis(ms))), "{json}");
        }
    }

    #[test]
    fn an_error_says_what_was_expected_and_how_much_at_most() {
        for json in ["\"soon\"", "\"2h\"", "\"-1s\"", "3600001", "\"infs\"", "\"5\"", "null"] {
            let error = read::<Span<3600>>(json).unwrap_err();
            assert!(error.contains("expected a duration up to 60 minutes, such as"), "{json} gave: {error}");
        }
        assert_eq!(in_largest_unit(90), (90, "seconds"));
        assert_eq!(in_largest_unit(30 * 86_400), (30, "days"));
    }
}
