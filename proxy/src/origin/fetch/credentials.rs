//! What a server is shown: a name and a password, from the configuration or from a file of Docker's.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::FetchError;
use crate::config::model::Credentials;
use crate::files;

/// Bytes of a file of Docker's.
const FILE_LIMIT: u64 = 1 << 20;
/// What Docker calls its own registry there, whose host is `docker.io`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A name and a password.
pub(super) struct Basic {
    pub(super) username: String,
    pub(super) password: String,
}

/// `config.json`, the part of it that counts here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, DockerAuth>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
}

#[derive(Deserialize)]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// What this host is to be shown, if anything.
pub(super) fn of(credentials: &Credentials, host: &str) -> Result<Option<Basic>, FetchError> {
    match credentials {
        Credentials::None => Ok(None),
        Credentials::Basic { username, password } => {
            Ok(Some(Basic { username: username.text.clone(), password: password.text.clone() }))
        }
        Credentials::DockerConfig(path) => {
            let unusable = |why: &str| FetchError::Credentials(format!("{}: {why}", path.display()));
            let config = files::read(path, FILE_LIMIT)
                .map_err(|error| FetchError::Credentials(format!("{} {error}", path.display())))?;
            // Its own message would repeat what stands there.
            let config: DockerConfig = serde_json::from_slice(&config)
                .map_err(|_| unusable("it is not as `docker login` writes it"))?;
            config.of(host).map_err(unusable)
        }
    }
}

impl DockerConfig {
    /// A registry that is not in the file is shown nothing.
    fn of(&self, host: &str) -> Result<Option<Basic>, &'static str> {
        let bare = |key: &str| {
            let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
            key.split('/').next().unwrap_or_default().to_owned()
        };
        let is_hub = matches!(host, "docker.io" | "registry-1.docker.io");
        let entry =
            self.auths.iter().find(|(key, _)| if is_hub { *key == DOCKER_HUB } else { bare(key) == host });
        let by_helper = self.creds_store.is_some() || self.cred_helpers.contains_key(host);
        match entry.map(|(_, auth)| auth) {
            Some(DockerAuth { auth: Some(auth), .. }) if !auth.is_empty() => {
                let text = STANDARD.decode(auth).ok().and_then(|text| String::from_utf8(text).ok());
                let text = text.ok_or("an `auth` there is not base64")?;
                let (username, password) = text.split_once(':').ok_or("an `auth` there has no `:` in it")?;
                Ok(Some(Basic { username: username.to_owned(), password: password.to_owned() }))
            }
            Some(DockerAuth { username: Some(username), password: Some(password), .. }) => {
                Ok(Some(Basic { username: username.clone(), password: password.clone() }))
            }
            _ if by_helper => Err("a credential helper has them, which is not asked"),
            _ => Ok(None),
        }
    }
}
