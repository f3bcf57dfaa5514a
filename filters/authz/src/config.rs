//! What the operator writes, checked while it is read.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api_key::ApiKeysConfig;
use crate::basic::BasicConfig;
use crate::external::ExternalConfig;
use crate::jwt::JwtConfig;
use crate::rule::Rules;

/// Who may do what.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "authz")]
pub struct Config {
    /// Whether requests are denied, or only counted and logged.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// What challenges name as the part of the site that credentials are for.
    #[serde(default)]
    pub(crate) realm: Realm,
    /// JSON Web Tokens.
    #[serde(default)]
    pub(crate) jwt: Option<JwtConfig>,
    /// API keys.
    #[serde(default)]
    pub(crate) api_keys: Option<ApiKeysConfig>,
    /// HTTP Basic.
    #[serde(default)]
    pub(crate) basic: Option<BasicConfig>,
    /// A request that one of these applies to is denied.
    #[serde(default)]
    pub(crate) deny: Rules,
    /// If there are any, a request that none of these applies to is denied.
    #[serde(default)]
    pub(crate) allow: Rules,
    /// Another service that is asked last.
    #[serde(default)]
    pub(crate) external: Option<ExternalConfig>,
}

/// What is done to a request that is denied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// It is answered.
    #[default]
    Enforce,
    /// It passes; what would have been done is counted and logged.
    Audit,
}

/// Text for the quotes of a challenge.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub(crate) struct Realm(String);

impl Realm {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Realm {
    fn default() -> Realm {
        Realm("restricted".to_owned())
    }
}

impl TryFrom<String> for Realm {
    type Error = String;

    fn try_from(text: String) -> Result<Realm, String> {
        let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
        if text.is_empty() || text.len() > 128 || !text.chars().all(is_plain) {
            return Err(format!(
                "`{}` cannot be named in a challenge; expected printable ASCII",
                text.escape_debug()
            ));
        }
        Ok(Realm(text))
    }
}
