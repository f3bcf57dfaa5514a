//! Pages for errors, as the user wrote them.

use ::http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::decode::{Field, Map, OneOrMany};
use super::super::model::StatusRange;
use super::super::scalar::Text;
use crate::error::Failure;

/// Another answer for some errors: for those of the proxy itself, its filters and its routes' `respond`, and where it is
/// asked for of upstreams. Not for gRPC, whose clients read a status.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorPage {
    /// Answers with any of these statuses. Default: all from 400 on; others never.
    #[serde(default)]
    pub(crate) statuses: Field<OneOrMany<Text<StatusRange>>>,
    /// Answers for any of these failures, in the words of the metrics and the access log. Default: any answer, for a failure
    /// or not.
    #[serde(default)]
    pub(crate) outcomes: Field<OneOrMany<Text<Failure>>>,
    /// Whether also the answers of upstreams, whose bodies nobody gets then. Default: `false`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) upstreams: Field<bool>,
    /// The status that is sent instead. Default: the same.
    #[serde(default)]
    pub(crate) status: Field<Text<StatusCode>>,
    /// Header fields, each in the place of what there is of its name.
    #[serde(default)]
    pub(crate) headers: Field<Map<Text<HeaderName>, Text<HeaderValue>>>,
    /// The type of the body. What operators put into HTML, XML and JSON is escaped as these want it. Default: `text/plain`.
    #[serde(default)]
    #[schemars(extend("default" = "text/plain"))]
    pub(crate) content_type: Field<Text<HeaderValue>>,
    /// The body, at most 64 KiB, with operators such as `%RESPONSE_CODE%`; `%%` is a percent sign. Default: the body that there
    /// is.
    #[serde(default)]
    pub(crate) body: Field<String>,
    /// The same in a file, at most 1 MiB, relative to the folder of this configuration. It is read with the configuration, and
    /// again when it changes.
    #[serde(default)]
    pub(crate) file: Field<String>,
}
