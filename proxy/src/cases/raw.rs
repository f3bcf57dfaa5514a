//! What the user wrote: the fields of a file of cases, their types and their descriptions. The JSON Schema is generated from
//! here.

mod expect;
mod message;
mod settings;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::{Field, OneOrMany};
use crate::config::scalar::{Count, Text};

pub(super) use expect::{BodyMatcher, CallExpect, Expect, LogExpect, Matcher, Message, Nothing, OutcomeWord};
pub(super) use message::{Answer, Body, Request, Short};
pub(super) use settings::{Moment, Settings};

settings::with_settings! {
    /// Cases for a filter: what it is given, and what is expected of it. What is said beside `cases` holds for each of them that
    /// does not say otherwise.
    #[schemars(title = "tidegate filter test")]
    pub(super) struct File {
        /// The cases, each with a filter that was just started.
        pub(crate) cases: Field<Vec<Field<Case>>>,
    }
}

settings::with_settings! {
    /// One case: a filter that was just started, what it is sent, and what is expected of it.
    pub(super) struct Case {
        /// What it shows, as a sentence. No two cases of a file have the same.
        pub(crate) name: Field<String>,
        /// What the client sends: `GET /path`, or a mapping that says more.
        #[serde(default)]
        pub(crate) request: Field<Short<Request>>,
        /// Several requests, one after the other, in the place of `request`.
        #[serde(default)]
        pub(crate) steps: Field<Vec<Field<Step>>>,
        /// What has to be true of the exchange; after `steps`, of all of them together.
        #[serde(default)]
        pub(crate) expect: Field<Expect>,
        /// The filter has to refuse its configuration, and this is among what it logs then, or what the proxy says of it.
        #[serde(default)]
        pub(crate) config_refused: Field<Matcher>,
        /// Whether the exchange is tried in every division of its bodies, which has to make no difference to client and
        /// upstream. Default: `false`.
        #[serde(default)]
        #[schemars(extend("default" = false))]
        pub(crate) any_chunking: Field<bool>,
    }
}

/// One of several steps: time that passes, a request, or both in this order.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// How much time passes first. The clock is the filter's: nobody waits.
    #[serde(default)]
    pub(crate) advance: Field<Text<Duration>>,
    /// What the client sends: `GET /path`, or a mapping that says more.
    #[serde(default)]
    pub(crate) request: Field<Short<Request>>,
    /// How often it is sent; each time the same is expected. Default: 1. Range: 1 to 100k.
    #[serde(default)]
    #[schemars(extend("default" = 1))]
    pub(crate) times: Field<Text<Count>>,
    /// What the upstream answers, for this step.
    #[serde(default)]
    pub(crate) upstream: Field<OneOrMany<Answer>>,
    /// What has to be true of the exchange.
    #[serde(default)]
    pub(crate) expect: Field<Expect>,
}
