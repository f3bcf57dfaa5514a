//! Capabilities in JSON: as manifests have them, and as the effective configuration shows them.

use serde::{Deserialize, Serialize};

use super::capabilities::{Access, BodyAccess, Capabilities, LogFloor, header_name};
use super::names::{BadName, Names};

/// A list of capabilities that has something that is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`capabilities.{field}`: {error}")]
pub struct BadList {
    /// Which list.
    pub field: &'static str,
    /// What is wrong.
    pub error: BadName,
}

/// The fields of a filter's `capabilities`, in JSON.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CapabilitiesForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostcalls: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clusters: Vec<String>,
    #[serde(skip_serializing_if = "AccessForm::is_empty")]
    headers: AccessForm,
    #[serde(skip_serializing_if = "BodyForm::is_none")]
    body: BodyForm,
    #[serde(skip_serializing_if = "AccessForm::is_empty")]
    properties: AccessForm,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shared_data: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reply: bool,
    #[serde(skip_serializing_if = "LogForm::is_all")]
    log: LogForm,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct AccessForm {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    read: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    write: Vec<String>,
}

impl AccessForm {
    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }
}

/// The words of the configuration, in JSON.
macro_rules! words {
    ($name:ident for $type:ident, $default:ident, $is_default:ident { $($member:ident),+ }) => {
        #[derive(Debug, Clone, Copy, Deserialize, Serialize)]
        #[serde(rename_all = "snake_case")]
        enum $name { $($member),+ }

        impl Default for $name {
            fn default() -> $name {
                $name::$default
            }
        }

        impl $name {
            fn $is_default(&self) -> bool {
                matches!(self, $name::$default)
            }
        }

        impl From<$name> for $type {
            fn from(word: $name) -> $type {
                match word { $($name::$member => $type::$member),+ }
            }
        }

        impl From<$type> for $name {
            fn from(value: $type) -> $name {
                match value { $($type::$member => $name::$member),+ }
            }
        }
    };
}

words!(BodyForm for BodyAccess, None, is_none { None, Read, Write });
words!(LogForm for LogFloor, Trace, is_all { Trace, Debug, Info, Warn, Error, Critical, None });

impl CapabilitiesForm {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// A list in it has something that is no name.
    pub fn check(self) -> Result<Capabilities, BadList> {
        let names = |field, list: Vec<String>| Names::new(list).map_err(|error| BadList { field, error });
        let headers =
            |field, list: Vec<String>| names(field, list.iter().map(|name| header_name(name)).collect());
        Ok(Capabilities {
            hostcalls: self.hostcalls.map(|list| names("hostcalls", list)).transpose()?,
            clusters: names("clusters", self.clusters)?,
            headers: Access {
                read: headers("headers.read", self.headers.read)?,
                write: headers("headers.write", self.headers.write)?,
            },
            body: self.body.into(),
            properties: Access {
                read: names("properties.read", self.properties.read)?,
                write: names("properties.write", self.properties.write)?,
            },
            shared_data: names("shared_data", self.shared_data)?,
            metrics: names("metrics", self.metrics)?,
            reply: self.reply,
            log: self.log.into(),
        })
    }
}

impl From<&Capabilities> for CapabilitiesForm {
    fn from(capabilities: &Capabilities) -> CapabilitiesForm {
        let list = |names: &Names| names.iter().map(str::to_owned).collect();
        let access = |access: &Access| AccessForm { read: list(&access.read), write: list(&access.write) };
        CapabilitiesForm {
            hostcalls: capabilities.hostcalls.as_ref().map(list),
            clusters: list(&capabilities.clusters),
            headers: access(&capabilities.headers),
            body: capabilities.body.into(),
            properties: access(&capabilities.properties),
            shared_data: list(&capabilities.shared_data),
            metrics: list(&capabilities.metrics),
            reply: capabilities.reply,
            log: capabilities.log.into(),
        }
    }
}

impl Capabilities {
    /// They in JSON, without what is as it is without a word.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(CapabilitiesForm::from(self)).unwrap_or_default()
    }
}
