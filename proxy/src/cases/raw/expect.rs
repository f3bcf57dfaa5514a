//! What is expected, as the user wrote it.

use std::time::Duration;

use http::{HeaderName, Method};
use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::message::{Base64, FromText, Short, given};
use crate::config::decode::{Field, Map, OneOrMany};
use crate::config::scalar::{Count, Parse, Refusal, Size, Text};
use crate::config::suggest;
use crate::error::Failure;
use crate::wasm::{FaultKind, LogLevel};

/// What has to be true. What is not named may be anything, but for faults: one that is not expected fails the case.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct Expect {
    /// How the exchange ended: `forwarded` with the upstream's response, `replied` with one of the filter's own, or with one of
    /// the failures of the reference.
    #[serde(default)]
    pub(crate) outcome: Field<Text<OutcomeWord>>,
    /// The details of how it ended, such as those of the filter's reply.
    #[serde(default)]
    pub(crate) details: Field<Matcher>,
    /// The request that the upstream got; `nothing` where it is to get none.
    #[serde(default)]
    pub(crate) forwarded: Field<Short<Message>>,
    /// The response that the client got; `nothing` where it is to get none.
    #[serde(default)]
    pub(crate) response: Field<Short<Message>>,
    /// What the filter logged meanwhile: each of these.
    #[serde(default)]
    pub(crate) logs: Field<OneOrMany<Short<LogExpect>>>,
    /// What counters and gauges of the filter say now, and how many values its histograms have.
    #[serde(default)]
    pub(crate) metrics: Field<Map<String, Text<Count>>>,
    /// What the filter asked of clusters meanwhile: these, in this order, and no others.
    #[serde(default)]
    pub(crate) callouts: Field<Vec<Field<CallExpect>>>,
    /// How the filter failed meanwhile: these, in this order, and in no other way. Default: not at all.
    #[serde(default)]
    pub(crate) faults: Field<Vec<Field<Text<FaultWord>>>>,
    /// What the filter stored on the exchange: property paths, their parts with dots between them.
    #[serde(default)]
    pub(crate) properties: Field<Map<String, Matcher>>,
    /// How many instructions the filter may have run at most.
    #[serde(default)]
    pub(crate) instructions: Field<Text<Count>>,
    /// How much memory the instance may have at most.
    #[serde(default)]
    pub(crate) memory: Field<Text<Size>>,
    /// How long it took, on the filter's clock.
    #[serde(default)]
    pub(crate) duration: Field<Text<Duration>>,
}

/// A message as it has to be. `method` and `path` are a request's, `status` a response's.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct Message {
    #[serde(skip)]
    pub(crate) nothing: Nothing,
    /// The method.
    #[serde(default)]
    pub(crate) method: Field<Text<Method>>,
    /// The path, with the query.
    #[serde(default)]
    pub(crate) path: Field<Matcher>,
    /// The status.
    #[serde(default)]
    pub(crate) status: Field<Text<http::StatusCode>>,
    /// Each of these header fields. One value has to be the only one of its name; a list says all of them, in order.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, OneOrMany<Matcher>>>,
    /// The body.
    #[serde(default)]
    pub(crate) body: Field<BodyMatcher>,
    /// Each of these trailers.
    #[serde(default)]
    pub(crate) trailers: Field<Map<Text<HeaderName>, OneOrMany<Matcher>>>,
}

/// Whether a message is expected not to be there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::cases) enum Nothing {
    #[default]
    No,
    Yes,
}

impl FromText for Message {
    const EXPECTED: &'static str = "`nothing`";

    fn from_text(text: &str) -> Option<Message> {
        (text == "nothing").then(|| Message { nothing: Nothing::Yes, ..Message::default() })
    }
}

/// How a text is compared. A text alone is what it has to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::cases) enum Matcher {
    /// It is this.
    Exact(Field<String>),
    /// It begins with this.
    Prefix(Field<String>),
    /// It ends with this.
    Suffix(Field<String>),
    /// It has this in it.
    Contains(Field<String>),
    /// This regular expression matches all of it.
    Regex(Field<String>),
    /// It is there (`true`) or it is not (`false`).
    Present(Field<bool>),
    /// It is not what this says; a missing one counts as not.
    Not(Field<Box<Matcher>>),
    /// It is this.
    #[serde(rename = "$text")]
    #[schemars(untagged)]
    Plain(Field<String>),
}

/// How a body is compared. A text alone is what it has to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::cases) enum BodyMatcher {
    /// It is this.
    Exact(Field<String>),
    /// It begins with this.
    Prefix(Field<String>),
    /// It ends with this.
    Suffix(Field<String>),
    /// It has this in it.
    Contains(Field<String>),
    /// This regular expression matches all of it.
    Regex(Field<String>),
    /// It is not what this says.
    Not(Field<Box<Matcher>>),
    /// It is JSON of this value, however it is written and in whatever order its keys are.
    Json(Field<serde_json::Value>),
    /// It is these bytes, in base64.
    Base64(Field<Text<Base64>>),
    /// It is what is in a file, relative to the folder of this one.
    File(Field<String>),
    /// It has this many bytes.
    Size(Field<Text<Size>>),
    /// It is this.
    #[serde(rename = "$text")]
    #[schemars(untagged)]
    Plain(Field<String>),
}

/// A line that was logged, or was not. A text alone is the line.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct LogExpect {
    /// Its level: `trace`, `debug`, `info`, `warn`, `error` or `critical`. Default: any.
    #[serde(default)]
    pub(crate) level: Field<Text<LevelWord>>,
    /// What it says. Default: anything.
    #[serde(default)]
    pub(crate) text: Field<Matcher>,
    /// It has this in it: in the place of `text`.
    #[serde(default)]
    pub(crate) contains: Field<String>,
    /// Whether there is to be no such line. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) absent: Field<bool>,
}

impl FromText for LogExpect {
    const EXPECTED: &'static str = "a line";

    fn from_text(text: &str) -> Option<LogExpect> {
        let text = given(Matcher::Plain(given(text.to_owned())));
        Some(LogExpect { text, ..LogExpect::default() })
    }
}

/// A request that the filter made of a cluster. What is not named may be anything.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::cases) struct CallExpect {
    /// The cluster.
    #[serde(default)]
    pub(crate) cluster: Field<String>,
    /// The method.
    #[serde(default)]
    pub(crate) method: Field<Text<Method>>,
    /// The path, with the query.
    #[serde(default)]
    pub(crate) path: Field<Matcher>,
    /// Each of these header fields.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, OneOrMany<Matcher>>>,
    /// The body.
    #[serde(default)]
    pub(crate) body: Field<BodyMatcher>,
}

/// How an exchange ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cases) enum OutcomeWord {
    Forwarded,
    Replied,
    Failed(Failure),
}

impl OutcomeWord {
    pub(crate) fn word(self) -> &'static str {
        match self {
            OutcomeWord::Forwarded => "forwarded",
            OutcomeWord::Replied => "replied",
            OutcomeWord::Failed(failure) => failure.reason(),
        }
    }

    fn all() -> impl Iterator<Item = OutcomeWord> + Clone {
        let failures = Failure::ALL.iter().map(|failure| OutcomeWord::Failed(*failure));
        [OutcomeWord::Forwarded, OutcomeWord::Replied].into_iter().chain(failures)
    }
}

/// A scalar of this file that is one of a few words.
macro_rules! words {
    ($type:ty, $expected:literal, $all:expr, $word:expr) => {
        impl Parse for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Result<Self, Refusal> {
                let found = $all.find(|value| $word(*value) == text);
                found.ok_or_else(|| {
                    Self::refuse(&text).hint(suggest::remedy(text, "choices", $all.map($word)))
                })
            }

            fn schema() -> Schema {
                let words: Vec<_> = $all.map($word).collect();
                json_schema!({ "type": "string", "enum": words })
            }
        }
    };
}

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cases) struct FaultWord(pub(crate) FaultKind);

/// A level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cases) struct LevelWord(pub(crate) LogLevel);

words!(OutcomeWord, "an outcome such as `forwarded` or `replied`", OutcomeWord::all(), OutcomeWord::word);
words!(
    FaultWord,
    "a kind of fault such as `trap`",
    FaultKind::ALL.iter().map(|kind| FaultWord(*kind)),
    |fault: FaultWord| fault.0.word()
);
words!(
    LevelWord,
    "a level such as `info`",
    LogLevel::ALL.iter().map(|level| LevelWord(*level)),
    |level: LevelWord| level.0.word()
);
