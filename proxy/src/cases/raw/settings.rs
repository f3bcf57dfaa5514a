//! What a file and each of its cases may say: the filter's settings, in the words of the configuration, and its world.

use std::time::SystemTime;

use jiff::Timestamp;
use schemars::{Schema, json_schema};

use super::Answer;
use crate::config::decode::{Field, Map, OneOrMany};
use crate::config::raw::Filter;
use crate::config::scalar::{Count, Parse, Refusal, Size, Text};

/// A moment, in RFC 3339.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(pub(crate) SystemTime);

impl Parse for Moment {
    const EXPECTED: &'static str = "a moment such as `\"2026-01-01T00:00:00Z\"`";

    fn parse(text: &str) -> Result<Moment, Refusal> {
        let moment: Timestamp = text.parse().map_err(|_| Self::refuse(&text))?;
        if moment < Timestamp::UNIX_EPOCH {
            return Err(Self::refuse(&text).hint("time begins with 1970"));
        }
        Ok(Moment(moment.into()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// All of it: see `with_settings`.
#[derive(Debug, Default)]
pub(in crate::cases) struct Settings {
    pub(crate) filter: Filter,
    pub(crate) buffer_limit: Field<Text<Size>>,
    pub(crate) workers: Field<Text<Count>>,
    pub(crate) seed: Field<Text<Count>>,
    pub(crate) start_time: Field<Text<Moment>>,
    pub(crate) timeout: Field<Text<std::time::Duration>>,
    pub(crate) upstream: Field<OneOrMany<Answer>>,
    pub(crate) clusters: Field<Map<String, OneOrMany<Answer>>>,
}

/// A structure with these fields and its own: serde cannot tell unknown fields from known ones through `flatten`.
macro_rules! with_settings {
    ($(#[$outer:meta])* $visible:vis struct $name:ident { $($own:tt)* }) => {
        #[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$outer])*
        $visible struct $name {
            $($own)*
            /// What the filter is configured with: a text as it is, anything else as JSON. Anywhere in it,
            /// `{from_file: PATH}` is the text of a file, relative to the folder of this one.
            #[serde(default)]
            pub(crate) config: $crate::config::decode::Field<$crate::config::raw::GuestConfig>,
            /// What the filter's VM is configured with: a text as it is, anything else as JSON.
            #[serde(default)]
            pub(crate) vm_config: $crate::config::decode::Field<serde_json::Value>,
            /// The filter's `vm_id`. Default: empty.
            #[serde(default)]
            pub(crate) vm_id: $crate::config::decode::Field<String>,
            /// Which root context of the module this is, where it has several. Default: empty.
            #[serde(default)]
            pub(crate) root_id: $crate::config::decode::Field<String>,
            /// Environment variables that the module sees, each a text, or `{from_env: NAME}`: that of the command's own
            /// environment.
            #[serde(default)]
            pub(crate) env: $crate::config::decode::Field<$crate::config::decode::Map<String, $crate::config::raw::Variable>>,
            /// What the filter may do: this and nothing else, or `manifest` for what its module asks for. Default:
            /// everything.
            #[serde(default)]
            pub(crate) capabilities: $crate::config::decode::Field<$crate::config::raw::Grant>,
            /// What the filter may use. There is no limit on wall-clock time, which is not the same in every run.
            #[serde(default)]
            pub(crate) limits: $crate::config::decode::Field<$crate::config::raw::FilterLimits>,
            /// What becomes of a request when the filter fails on it: answered 503 (`closed`) or sent on without the
            /// filter (`open`). Default: `closed`.
            #[serde(default)]
            #[schemars(extend("default" = "closed"))]
            pub(crate) on_fault: $crate::config::decode::Field<$crate::config::scalar::Text<$crate::config::model::OnFault>>,
            /// Whether a pause at the headers lets the filter see the body meanwhile. Default: `false`.
            #[serde(default)]
            #[schemars(extend("default" = false))]
            pub(crate) allow_on_headers_stop_iteration: $crate::config::decode::Field<bool>,
            /// How much of a body is held while the filter waits.
            #[serde(default)]
            #[schemars(transform = $crate::config::bounds::BUFFER_LIMIT.describe())]
            pub(crate) buffer_limit: $crate::config::decode::Field<$crate::config::scalar::Text<$crate::config::scalar::Size>>,
            /// How many workers there are, each with an instance of its own. Default: 1. Range: 1 to 64.
            #[serde(default)]
            #[schemars(extend("default" = 1))]
            pub(crate) workers: $crate::config::decode::Field<$crate::config::scalar::Text<$crate::config::scalar::Count>>,
            /// What randomness starts from, which is the same in every run. Default: 0.
            #[serde(default)]
            #[schemars(extend("default" = 0))]
            pub(crate) seed: $crate::config::decode::Field<$crate::config::scalar::Text<$crate::config::scalar::Count>>,
            /// What the wall clock says at first, in RFC 3339. Default: `2026-01-01T00:00:00Z`.
            #[serde(default)]
            #[schemars(extend("default" = "2026-01-01T00:00:00Z"))]
            pub(crate) start_time: $crate::config::decode::Field<$crate::config::scalar::Text<super::raw::Moment>>,
            /// How long an exchange may take, on the filter's clock, before it counts as one that never ends. Default: `10m`.
            #[serde(default)]
            #[schemars(extend("default" = "10m"))]
            pub(crate) timeout: $crate::config::decode::Field<$crate::config::scalar::Text<std::time::Duration>>,
            /// What the service behind the proxy answers: one answer, or several of which the first that matches is taken.
            /// Default: 200 and nothing else.
            #[serde(default)]
            pub(crate) upstream: $crate::config::decode::Field<$crate::config::decode::OneOrMany<super::raw::Answer>>,
            /// The clusters that the filter may call, by name, and what each answers.
            #[serde(default)]
            pub(crate) clusters: $crate::config::decode::Field<$crate::config::decode::Map<String, $crate::config::decode::OneOrMany<super::raw::Answer>>>,
        }

        impl $name {
            /// Takes out what is common to a file and a case.
            pub(crate) fn settings(&mut self) -> super::raw::Settings {
                use std::mem::take;
                let filter = $crate::config::raw::Filter {
                    config: take(&mut self.config),
                    vm_config: take(&mut self.vm_config),
                    vm_id: take(&mut self.vm_id),
                    root_id: take(&mut self.root_id),
                    env: take(&mut self.env),
                    capabilities: take(&mut self.capabilities),
                    limits: take(&mut self.limits),
                    on_fault: take(&mut self.on_fault),
                    allow_on_headers_stop_iteration: take(&mut self.allow_on_headers_stop_iteration),
                    ..Default::default()
                };
                super::raw::Settings {
                    filter,
                    buffer_limit: take(&mut self.buffer_limit),
                    workers: take(&mut self.workers),
                    seed: take(&mut self.seed),
                    start_time: take(&mut self.start_time),
                    timeout: take(&mut self.timeout),
                    upstream: take(&mut self.upstream),
                    clusters: take(&mut self.clusters),
                }
            }
        }
    };
}

pub(super) use with_settings;
