//! Shares of a whole, and how many times something else: `5%`, `2x`. Both to two places after the point.

use std::fmt::Display;

use schemars::{Schema, json_schema};

use super::super::model::{Percent, Times};
use super::{Parse, Quantity, Refusal};

/// Places after the point.
const PLACES: usize = 2;

/// Reads `1.5` as 150: hundredths. `None` for what is no such number.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > PLACES {
        return None;
    }
    let part: u32 = format!("{part:0<PLACES$}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}

fn write(hundredths: u32, unit: &str) -> String {
    let (whole, part) = (hundredths / 100, hundredths % 100);
    let part = format!("{part:02}");
    match part.trim_end_matches('0') {
        "" => format!("{whole}{unit}"),
        part => format!("{whole}.{part}{unit}"),
    }
}

fn of_number<T: Parse>(number: u64) -> Result<u32, Refusal> {
    let number = u32::try_from(number).ok().and_then(|number| number.checked_mul(100));
    number.ok_or_else(|| Refusal::new(format!("expected {}: the number is too large", T::EXPECTED)))
}

/// A type of hundredths that are written with this unit, or without.
macro_rules! ratio {
    ($name:ident, $unit:literal, $expected:literal) => {
        impl Parse for $name {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Result<$name, Refusal> {
                let number = text.strip_suffix($unit).unwrap_or(text).trim_end();
                hundredths(number).map($name).ok_or_else(|| Self::refuse(&text))
            }

            fn from_number(number: u64) -> Result<$name, Refusal> {
                of_number::<$name>(number).map($name)
            }

            fn remedy_for_bare(found: &dyn Display) -> String {
                format!("write `{found}{}`, with two places after the point at most", $unit)
            }

            fn schema() -> Schema {
                let pattern = concat!(r"^[0-9]+(\.[0-9]{1,2})? ?", $unit, "?$");
                json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": pattern })
            }
        }

        impl Quantity for $name {
            fn write(self) -> String {
                write(self.0, $unit)
            }
        }
    };
}

ratio!(Percent, "%", "a percentage such as `5%` or `0.5%`");
ratio!(Times, "x", "how many times as much, such as `2x` or `1.5x`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_read_and_written_back() {
        for (text, share) in [("0%", 0), ("5%", 500), ("0.5%", 50), ("0.05%", 5), ("100%", 10_000)] {
            assert_eq!(Percent::parse(text), Ok(Percent(share)));
            assert_eq!(Percent(share).write(), text);
        }
        for (text, times) in [("2x", 200), ("1.5x", 150), ("1.01x", 101)] {
            assert_eq!(Times::parse(text), Ok(Times(times)));
            assert_eq!(Times(times).write(), text);
        }
        assert_eq!(Percent::from_number(5), Ok(Percent(500)));
        for wrong in ["", "%", "-1%", "1.%", ".5%", "0.001%", "5x", "99999999999%"] {
            assert!(Percent::parse(wrong).is_err(), "{wrong}");
        }
    }
}
