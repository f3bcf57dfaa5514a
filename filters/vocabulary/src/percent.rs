//! Shares of the requests.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A share of the requests: a number from 0 to 100, kept in ten-thousandths of a per cent. All of them by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// All of them.
    pub const ALL: Percent = Percent(Percent::PARTS);

    /// How many parts all are: a draw is a number below this.
    pub const PARTS: u32 = 100 * Percent::ONE;

    const ONE: u32 = 10_000;

    /// Of a number from 0 to 100.
    pub fn of(percent: f64) -> Option<Percent> {
        let parts = || (percent * f64::from(Percent::ONE)).round() as u32;
        (0.0..=100.0).contains(&percent).then(|| Percent(parts()))
    }

    /// Of so many in 100; more than all is all.
    pub fn whole(percent: u64) -> Percent {
        Percent::per(percent, 100)
    }

    /// So many of so many: more than all is all, and of nothing it is nothing.
    pub fn per(share: u64, of: u64) -> Percent {
        let parts = u128::from(share.min(of)) * u128::from(Percent::PARTS);
        Percent(parts.checked_div(of.into()).unwrap_or(0) as u32)
    }

    /// How much of `whole`, rounded down, and the rest in parts: whoever draws a number below [`PARTS`](Percent::PARTS)
    /// that is below the rest has one more.
    pub fn share_of(self, whole: usize) -> (usize, u32) {
        let parts = whole as u64 * u64::from(self.0);
        ((parts / u64::from(Percent::PARTS)) as usize, (parts % u64::from(Percent::PARTS)) as u32)
    }

    /// Whether a draw, a number below [`PARTS`](Percent::PARTS), falls into this share. None is drawn for all and for
    /// nothing.
    pub fn includes(self, draw: impl FnOnce() -> u32) -> bool {
        match self.0 {
            0 => false,
            Percent::PARTS => true,
            parts => draw() < parts,
        }
    }
}

impl Default for Percent {
    fn default() -> Percent {
        Percent::ALL
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Percent, D::Error> {
        deserializer.deserialize_f64(Number)
    }
}

struct Number;

impl Visitor<'_> for Number {
    type Value = Percent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a percentage from 0 to 100")
    }

    fn visit_f64<E: Error>(self, percent: f64) -> Result<Percent, E> {
        Percent::of(percent).ok_or_else(|| E::invalid_value(Unexpected::Float(percent), &self))
    }

    fn visit_u64<E: Error>(self, percent: u64) -> Result<Percent, E> {
        self.visit_f64(percent as f64)
    }

    fn visit_i64<E: Error>(self, percent: i64) -> Result<Percent, E> {
        self.visit_f64(percent as f64)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "maximum": 100})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    #[test]
    fn a_share_is_kept_to_its_fractions() {
        assert_eq!(read("0.0125"), Ok(Percent(125)));
        assert_eq!(read("100"), Ok(Percent::ALL));
        assert_eq!(Percent::whole(250), Percent::ALL);
        assert_eq!(Percent::per(1, 1_000_000), Percent(1));
        assert_eq!(Percent::per(1, 0), Percent(0));
    }

    #[test]
    fn nothing_is_drawn_for_a_certainty() {
        let never = || -> u32 { panic!("drawn") };
        assert!(Percent::ALL.includes(never));
        assert!(!Percent(0).includes(never));
        assert!(Percent(125).includes(|| 124) && !Percent(125).includes(|| 125));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for json in ["-1", "100.1", "1e9", "\"5%\"", "null"] {
            let error = read::<Percent>(json).unwrap_err();
            assert!(error.contains("expected a percentage from 0 to 100"), "{json} gave: {error}");
        }
    }
}
