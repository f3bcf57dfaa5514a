//! From a plugin's configuration, as the host hands it over, to the filter's own type.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// For a filter that takes no configuration: nothing and `{}` are accepted, anything else is refused. See the README's
/// filter for one.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Reads JSON; no configuration at all reads as `{}`. An error says which field, what it holds and what was expected.
pub(crate) fn parse<C: DeserializeOwned>(json: &[u8]) -> Result<C, String> {
    let json = if json.trim_ascii().is_empty() { b"{}" } else { json };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        match error.into_inner() {
            error if !error.is_data() => error.to_string(),
            error if path == "." => without_place(&error),
            error => format!("{path}: {}", without_place(&error)),
        }
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(config)
}

/// An error about a value without its line and column: they are those of the JSON that the host made, which nobody wrote.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Config {
        #[serde(default)]
        limits: Vec<Limit>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limit {
        rate: u32,
    }

    #[test]
    fn no_configuration_reads_as_an_empty_one() {
        assert!(parse::<NoConfig>(b" \n").is_ok());
        assert_eq!(parse::<Config>(b"").unwrap().limits, []);
    }

    #[test]
    fn an_error_names_the_field_and_what_was_expected() {
        let error = parse::<Config>(br#"{"limits": [{"rate": 1}, {"rate": "fast"}]}"#).unwrap_err();
        assert_eq!(error, "limits[1].rate: invalid type: string \"fast\", expected u32");
        let error = parse::<Config>(br#"{"limits": [{"rates": 1}]}"#).unwrap_err();
        assert!(error.starts_with("limits[0].rates: unknown field `rates`, expected `rate`"), "{error}");
        assert_eq!(parse::<Config>(b"7").unwrap_err(), "invalid type: integer `7`, expected struct Config");
        let error = parse::<Config>(b"{\"limits\": [").unwrap_err();
        assert_eq!(error, "EOF while parsing a list at line 1 column 12", "a text has lines");
        assert!(parse::<NoConfig>(b"{} {}").is_err());
    }
}
