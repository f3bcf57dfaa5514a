//! What the configurations of the shipped filters have in common, so that a rule is written alike in all of them: which
//! requests a rule is for ([`Match`]), what a text has to be ([`Pattern`]) and a value that may be missing ([`Value`]), what
//! requests are told apart by ([`Part`]), shares, durations, sizes, names, networks.
//!
//! Everything is checked while serde reads it, and an error says what was expected. Rules ask for the [`Facts`] of a
//! request, which are those that the SDK shows, or those of a test.

mod glob;
mod matching;
mod name;
mod network;
mod part;
mod pattern;
mod percent;
mod regex;
mod size;
mod span;
mod value;
mod words;

pub use glob::Glob;
pub use matching::{Facts, Match};
pub use name::{HeaderName, Token};
pub use network::Network;
pub use part::Part;
pub use pattern::Pattern;
pub use percent::Percent;
pub use size::Size;
pub use span::Span;
pub use value::Value;
pub use words::{Words, words};

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    /// Reads a value as the SDK reads a configuration; an error has the path in front.
    pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
    }
}
