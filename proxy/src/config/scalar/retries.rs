//! What makes a request be sent again: Envoy's words, statuses of gRPC by name, and statuses of HTTP by number.

use ::http::StatusCode;
use schemars::{Schema, json_schema};

use super::super::model::{RetryCondition, StatusRange};
use super::super::suggest;
use super::{Parse, Refusal};
use crate::error::Failure;

impl Parse for RetryCondition {
    const EXPECTED: &'static str = "a condition such as `connect-failure`, `5xx`, `unavailable` or `429`";

    fn parse(text: &str) -> Result<RetryCondition, Refusal> {
        if let Some((_, condition)) = RetryCondition::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*condition);
        }
        if let Ok(number) = text.parse() {
            return RetryCondition::from_number(number);
        }
        let words = RetryCondition::WORDS.iter().map(|(word, _)| *word);
        Err(Self::refuse(&text).hint(suggest::remedy(text, "conditions", words)))
    }

    fn from_number(number: u64) -> Result<RetryCondition, Refusal> {
        let status = u16::try_from(number).ok().filter(|number| (200..600).contains(number));
        let status = status.and_then(|number| StatusCode::from_u16(number).ok());
        let refusal = || Self::refuse(&number).hint("a status is a number from 200 to 599");
        status.map(RetryCondition::Status).ok_or_else(refusal)
    }

    fn schema() -> Schema {
        let words: Vec<_> = RetryCondition::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "anyOf": [
            { "type": "string", "enum": words },
            { "type": "integer", "minimum": 200, "maximum": 599 },
        ] })
    }
}

/// As it is written in the file.
pub(crate) fn written(condition: RetryCondition) -> serde_json::Value {
    let word = RetryCondition::WORDS.iter().find(|(_, meant)| *meant == condition);
    match (word, condition) {
        (Some((word, _)), _) => (*word).into(),
        (None, RetryCondition::Status(status)) => status.as_u16().into(),
        // Only those with a word can be written.
        (None, _) => serde_json::Value::Null,
    }
}

impl Parse for Failure {
    const EXPECTED: &'static str = "an outcome such as `no_route` or `upstream_timeout`";

    fn parse(text: &str) -> Result<Failure, Refusal> {
        let with_answer = || Failure::ALL.iter().filter(|failure| failure.status().is_some());
        let found = with_answer().find(|failure| failure.reason() == text);
        found.copied().ok_or_else(|| {
            let known = with_answer().map(|failure| failure.reason());
            Self::refuse(&text).hint(suggest::remedy(text, "outcomes with an answer", known))
        })
    }

    fn schema() -> Schema {
        let words: Vec<_> =
            Failure::ALL.iter().filter(|it| it.status().is_some()).map(|it| it.reason()).collect();
        json_schema!({ "enum": words })
    }
}

impl Parse for StatusRange {
    const EXPECTED: &'static str = "a status or a range of them such as `200`, `2xx` or `200-204`";

    fn parse(text: &str) -> Result<StatusRange, Refusal> {
        let status = |text: &str| text.parse().ok().filter(|number| (100..600).contains(number));
        let range = match (text.split_once('-'), text.strip_suffix("xx")) {
            (Some((first, last)), _) => status(first).zip(status(last)),
            (None, Some(class)) => status(&format!("{class}00")).map(|first| (first, first + 99)),
            (None, None) => status(text).map(|status| (status, status)),
        };
        match range {
            Some((first, last)) if first <= last => Ok(StatusRange { first, last }),
            _ => Err(Self::refuse(&text).hint("statuses are from 100 to 599")),
        }
    }

    fn from_number(number: u64) -> Result<StatusRange, Refusal> {
        Self::parse(&number.to_string())
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["integer", "string"], "pattern": "^[1-5]([0-9]{2}(-[1-5][0-9]{2})?|xx)$", "minimum": 100, "maximum": 599 })
    }
}

impl StatusRange {
    /// As it is written in the file.
    pub(crate) fn write(self) -> String {
        let StatusRange { first, last } = self;
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    }
}
