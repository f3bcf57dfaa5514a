//! From a plugin's configuration, as the host hands it over, to the filter's own type.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// For a filter that takes no configuration: nothing and `{}` are accepted, anything else is refused.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Reads JSON; no configuration at all reads as `{}`. An error says which field, what it holds and what was expected.
pub(crate) fn parse<C: DeserializeOwned>(json: &[u8]) -> Result<C, String> {
    let json = if json.trim_ascii().is_empty() { b"{}" } else { json };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        match error.path().to_string() {
            path if path == "." => error.into_inner().to_string(),
            path => format!("{path}: {}", error.into_inner()),
        }
    })?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(config)
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
        assert_eq!(error, "limits[1].rate: invalid type: string \"fast\", expected u32 at line 1 column 40");
        let error = parse::<Config>(br#"{"limits": [{"rates": 1}]}"#).unwrap_err();
        assert!(error.starts_with("limits[0].rates: unknown field `rates`, expected `rate`"), "{error}");
        assert!(parse::<NoConfig>(b"{} {}").is_err());
    }
}
