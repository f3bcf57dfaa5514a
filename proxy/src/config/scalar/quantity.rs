//! Numbers with units: durations, sizes and counts.

use std::fmt::{self, Display};
use std::time::Duration;

use schemars::{Schema, json_schema};

use super::{Parse, Refusal};

/// A number with a unit, that has a range.
pub(crate) trait Quantity: Parse + Copy + Ord {
    /// As it is written in the file: parsing it gives the same value.
    fn write(self) -> String;
}

/// Splits `250ms` into 250 and `ms`.
fn split<T: Parse>(text: &str) -> Result<(u64, &str), Refusal> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit);
    if digits.is_empty() {
        return Err(T::refuse(&text));
    }
    if unit.starts_with('.') {
        return Err(T::refuse(&text).hint("write a whole number of a smaller unit"));
    }
    let number = digits.parse().map_err(|_| Refusal::new(format!("`{text}` is too large")))?;
    Ok((number, unit.trim_start()))
}

fn scale(text: &str, number: u64, factor: u64) -> Result<u64, Refusal> {
    number.checked_mul(factor).ok_or_else(|| Refusal::new(format!("`{text}` is too large")))
}

/// The largest of `units` (name and factor, largest first) that divides `number`.
fn write(number: u64, units: &[(&'static str, u64)]) -> String {
    let unit = units.iter().find(|(_, factor)| number > 0 && number.is_multiple_of(*factor));
    unit.map_or_else(|| number.to_string(), |(name, factor)| format!("{}{name}", number / factor))
}

impl Parse for Duration {
    const EXPECTED: &'static str = "a duration such as `250ms` or `2s`";

    fn parse(text: &str) -> Result<Duration, Refusal> {
        let (number, unit) = split::<Self>(text)?;
        match unit {
            "ms" => Ok(Duration::from_millis(number)),
            "s" => Ok(Duration::from_secs(number)),
            "m" => scale(text, number, 60).map(Duration::from_secs),
            "h" => scale(text, number, 3600).map(Duration::from_secs),
            "" => Err(Self::refuse(&text).hint(Self::remedy_for_bare(&text))),
            _ => {
                Err(Self::refuse(&text)
                    .hint("the units are `ms`, `s`, `m` and `h`, one of them in a duration"))
            }
        }
    }

    fn remedy_for_bare(found: &dyn Display) -> String {
        format!("add a unit: `{found}s` for seconds, `{found}ms` for milliseconds")
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h)$" })
    }
}

impl Quantity for Duration {
    fn write(self) -> String {
        match u64::try_from(self.as_millis()) {
            Ok(0) | Err(_) => format!("{}s", self.as_secs()),
            Ok(millis) => write(millis, &[("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]),
        }
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

const SIZE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Parse for Size {
    const EXPECTED: &'static str = "a size such as `64KiB`, `1MiB` or `4096`";

    fn parse(text: &str) -> Result<Size, Refusal> {
        let (number, unit) = split::<Self>(text)?;
        if let "" | "B" = unit {
            return Ok(Size(number));
        }
        if let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
            return scale(text, number, *factor).map(Size);
        }
        let refusal = Self::refuse(&text);
        // `KB` is 1000 to some and 1024 to others.
        match unit.chars().next().map(|letter| letter.to_ascii_uppercase()) {
            Some(letter @ ('K' | 'M' | 'G')) => Err(refusal.hint(format!("write `{number}{letter}iB`"))),
            _ => Err(refusal.hint("the units are `B`, `KiB`, `MiB` and `GiB`")),
        }
    }

    fn from_number(number: u64) -> Result<Size, Refusal> {
        Ok(Size(number))
    }

    fn remedy_for_bare(_found: &dyn Display) -> String {
        "write a whole number of bytes, `KiB`, `MiB` or `GiB`".to_owned()
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)?$" })
    }
}

impl Quantity for Size {
    fn write(self) -> String {
        write(self.0, &SIZE_UNITS)
    }
}

/// How many of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Count(pub(crate) u64);

const COUNT_UNITS: [(&str, u64); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1000)];

impl Parse for Count {
    const EXPECTED: &'static str = "a whole number such as `500`, `20k` or `2M`";

    fn parse(text: &str) -> Result<Count, Refusal> {
        let (number, unit) = split::<Self>(text)?;
        match (unit, COUNT_UNITS.iter().find(|(name, _)| *name == unit)) {
            ("", _) => Ok(Count(number)),
            (_, Some((_, factor))) => scale(text, number, *factor).map(Count),
            (_, None) => Err(Self::refuse(&text).hint("the units are `k`, `M` and `G`")),
        }
    }

    fn from_number(number: u64) -> Result<Count, Refusal> {
        Ok(Count(number))
    }

    fn remedy_for_bare(_found: &dyn Display) -> String {
        "write a whole number".to_owned()
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+ ?(k|M|G)?$" })
    }
}

impl Quantity for Count {
    fn write(self) -> String {
        write(self.0, &COUNT_UNITS)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written_back() {
        for text in ["0s", "1ms", "1500ms", "2s", "5m", "90m", "1h"] {
            assert_eq!(Duration::parse(text).unwrap().write(), text);
        }
        for (text, bytes) in
            [("0", 0), ("1000", 1000), ("64KiB", 65536), ("1MiB", 1 << 20), ("3GiB", 3 << 30)]
        {
            assert_eq!(Size::parse(text).unwrap(), Size(bytes));
            assert_eq!(Size(bytes).write(), text);
        }
        for (text, number) in [("0", 0), ("1024", 1024), ("500k", 500_000), ("2M", 2_000_000)] {
            assert_eq!(Count::parse(text).unwrap(), Count(number));
            assert_eq!(Count(number).write(), text);
        }
    }

    #[test]
    fn what_overflows_is_refused() {
        for text in ["18446744073709551615h", "99999999999999999999s"] {
            assert!(Duration::parse(text).is_err());
        }
        assert!(Size::parse("18446744073709551615GiB").is_err());
        assert!(Count::parse("18446744073709551615M").is_err());
    }
}
