//! What an unquoted scalar is: the core schema of YAML 1.2.2, section 10.3.2.
//!
//! Unlike YAML 1.1 there are no `yes` and `no`, no `0777`, no `12:30:45`: what looks like text is text.

use super::Scalar;

/// Resolves an unquoted scalar. A number that no setting could take is refused rather than rounded.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        _ => {}
    }
    if let Some(digits) =
        text.strip_prefix("0x").filter(|digits| is_run_of(digits, |c| c.is_ascii_hexdigit()))
    {
        return integer(text, i128::from_str_radix(digits, 16).ok());
    }
    if let Some(digits) =
        text.strip_prefix("0o").filter(|digits| is_run_of(digits, |c| matches!(c, '0'..='7')))
    {
        return integer(text, i128::from_str_radix(digits, 8).ok());
    }
    let magnitude = text.strip_prefix(['-', '+']).unwrap_or(text);
    if is_digits(magnitude) {
        return integer(text, text.parse().ok());
    }
    match magnitude {
        ".inf" | ".Inf" | ".INF" => Scalar::Unusable(format!("no setting takes the number `{text}`")),
        ".nan" | ".NaN" | ".NAN" if magnitude == text => {
            Scalar::Unusable(format!("`{text}` is not a number"))
        }
        _ if is_float(magnitude) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Scalar::Float(number),
            _ => Scalar::Unusable(format!("the number `{text}` is too large")),
        },
        _ => Scalar::Text(text.to_owned()),
    }
}

fn integer(text: &str, number: Option<i128>) -> Scalar {
    let unsigned = number.and_then(|number| u64::try_from(number).ok()).map(Scalar::Unsigned);
    let signed = number.and_then(|number| i64::try_from(number).ok()).map(Scalar::Signed);
    let unusable = || Scalar::Unusable(format!("the number `{text}` does not fit 64 bits"));
    unsigned.or(signed).unwrap_or_else(unusable)
}

fn is_run_of(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(allowed)
}

fn is_digits(text: &str) -> bool {
    is_run_of(text, |c| c.is_ascii_digit())
}

/// `( "." [0-9]+ | [0-9]+ ( "." [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, the sign taken off.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    if exponent.is_some_and(|digits| !is_digits(digits.strip_prefix(['-', '+']).unwrap_or(digits))) {
        return false;
    }
    match mantissa.split_once('.') {
        Some(("", fraction)) => is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && (fraction.is_empty() || is_digits(fraction)),
        None => is_digits(mantissa),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unquoted_scalars_follow_the_core_schema() {
        for (text, scalar) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("True", Scalar::Bool(true)),
            ("0", Scalar::Unsigned(0)),
            ("-0", Scalar::Unsigned(0)),
            ("+7", Scalar::Unsigned(7)),
            ("-7", Scalar::Signed(-7)),
            ("0x1F", Scalar::Unsigned(31)),
            ("0o17", Scalar::Unsigned(15)),
            ("0777", Scalar::Unsigned(777)),
            ("18446744073709551615", Scalar::Unsigned(u64::MAX)),
            ("-9223372036854775808", Scalar::Signed(i64::MIN)),
            ("1.5", Scalar::Float(1.5)),
            ("-.5e1", Scalar::Float(-5.0)),
            ("1.", Scalar::Float(1.0)),
        ] {
            assert_eq!(resolve(text), scalar, "{text:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_number_is_text() {
        for text in [
            "yes", "no", "on", ".", "e5", "1e", "1.2.3", "10.0.0.1", "0x", "0o8", "-", "+", "1_000", "nan",
            "inf",
        ] {
            assert_eq!(resolve(text), Scalar::Text(text.to_owned()));
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        for text in [
            "18446744073709551616",
            "-9223372036854775809",
            "1e999",
            ".inf",
            "-.INF",
            ".nan",
            "0xFFFFFFFFFFFFFFFFF",
        ] {
            assert!(matches!(resolve(text), Scalar::Unusable(_)), "{text}");
        }
    }
}
