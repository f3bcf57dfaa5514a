//! Pulls an image from a registry: OCI Distribution Specification 1.1, "Pull", and the token exchange that registries
//! have in common (<https://distribution.github.io/distribution/spec/auth/token/>).
//!
//! Everything that a registry says is bounded, and what is called by a digest is held against it.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::client::{self, Client};
use super::credentials::{self, Basic};
use super::image::{self, Described, Index, Manifest, Module};
use super::{FetchError, Fetched, MODULE_LIMIT};
use crate::config::model::{Image, Remote, Sha256};

/// Bytes of a manifest or an index: the least that registries have to take, and the most that they do.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// Bytes of the answer with a token.
const TOKEN_LIMIT: u64 = 64 << 10;

/// What an image and an index may be written as.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";

/// One pull: what the registry was shown so far.
struct Session<'a> {
    client: &'a Client,
    /// Scheme and host, and the repository behind it.
    base: String,
    host: String,
    basic: Option<Basic>,
    authorization: Option<HeaderValue>,
}

/// Gets the module out of an image. `kept` may have that of a manifest already.
pub(super) async fn pull(
    client: &Client,
    remote: &Remote,
    image: &Image,
    kept: impl Fn(Sha256) -> Option<Bytes>,
) -> Result<Fetched, FetchError> {
    let mut session = Session::begin(client, remote, image)?;
    let name = match image.digest {
        Some(digest) => format!("sha256:{digest}"),
        None => image.tag().to_owned(),
    };
    let (digest, bytes) = session.manifest(&name, image.digest).await?;
    if let Some(bytes) = kept(digest) {
        return Ok(Fetched { bytes, manifest: Some(digest), is_copy: true });
    }
    let manifest = match parse::<Described>(&bytes)?.is_index() {
        false => bytes,
        true => {
            let chosen = parse::<Index>(&bytes)?.choose()?;
            let (_, bytes) = session.manifest(&format!("sha256:{chosen}"), Some(chosen)).await?;
            bytes
        }
    };
    let layer = parse::<Manifest>(&manifest)?.module()?;
    let bytes = match layer {
        Module::Bare(layer) => session.blob(layer.digest, layer.size).await?,
        Module::Archive(layer, compression) => {
            let archive = session.blob(layer.digest, layer.size).await?;
            image::extract(&archive, compression)?
        }
    };
    Ok(Fetched { bytes, manifest: Some(digest), is_copy: false })
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, FetchError> {
    serde_json::from_slice(text)
        .map_err(|error| FetchError::Malformed(format!("its manifest is none: {error}")))
}

impl<'a> Session<'a> {
    fn begin(client: &'a Client, remote: &Remote, image: &Image) -> Result<Session<'a>, FetchError> {
        // Docker's own registry has another host than its name says, and a folder for what is nobody's.
        let (host, repository) = match (&*image.registry, &*image.repository) {
            ("docker.io" | "index.docker.io", name) if !name.contains('/') => {
                ("registry-1.docker.io", format!("library/{name}"))
            }
            ("docker.io" | "index.docker.io", name) => ("registry-1.docker.io", name.to_owned()),
            (host, name) => (host, name.to_owned()),
        };
        let scheme = if remote.plain_http { "http" } else { "https" };
        Ok(Session {
            client,
            base: format!("{scheme}://{host}/v2/{repository}"),
            host: host.to_owned(),
            basic: credentials::of(&remote.credentials, &image.registry)?,
            authorization: None,
        })
    }

    /// A manifest and its digest, which is `expected` where that is given.
    async fn manifest(
        &mut self,
        name: &str,
        expected: Option<Sha256>,
    ) -> Result<(Sha256, Bytes), FetchError> {
        let bytes = self.get(&format!("manifests/{name}"), "the image's manifest", MANIFEST_LIMIT).await?;
        let digest = Sha256::of(&bytes);
        if expected.is_some_and(|expected| expected != digest) {
            return Err(FetchError::Corrupt { what: "the image's manifest" });
        }
        Ok((digest, bytes))
    }

    /// A layer.
    async fn blob(&mut self, digest: Sha256, size: u64) -> Result<Bytes, FetchError> {
        let what = "the image's layer";
        if size > MODULE_LIMIT {
            return Err(FetchError::TooLarge { what, limit: MODULE_LIMIT });
        }
        let bytes = self.get(&format!("blobs/sha256:{digest}"), what, size).await?;
        if Sha256::of(&bytes) != digest {
            return Err(FetchError::Corrupt { what });
        }
        Ok(bytes)
    }

    /// Asks; where the registry wants to know who does, once more with what it wants.
    async fn get(&mut self, path: &str, what: &'static str, limit: u64) -> Result<Bytes, FetchError> {
        let url = format!("{}/{path}", self.base);
        let mut response = self.send(&url).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            self.authorization = self.authorize(response.headers()).await?;
            if self.authorization.is_some() {
                response = self.send(&url).await?;
            }
        }
        if response.status() != StatusCode::OK {
            return Err(client::refusal(self.host.clone(), response.status(), self.basic.is_some(), true));
        }
        client::body(response, &self.host, what, limit).await
    }

    async fn send(&self, url: &str) -> Result<reqwest::Response, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.client.send(url, headers).await
    }

    /// What the registry's challenge asks for: a token of those that it trusts, or the password itself. Nothing where
    /// there is nothing to show.
    async fn authorize(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, FetchError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let mut is_basic = false;
        for challenge in challenges {
            let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                return self.token(&parameters_of(parameters)).await.map(Some);
            }
            is_basic |= scheme.eq_ignore_ascii_case("basic");
        }
        match &self.basic {
            Some(basic) if is_basic => basic.header().map(Some),
            _ => Ok(None),
        }
    }

    async fn token(&self, challenge: &HashMap<String, String>) -> Result<HeaderValue, FetchError> {
        let malformed = |why: &str| FetchError::Malformed(why.to_owned());
        let realm = challenge.get("realm").ok_or_else(|| malformed("its challenge has no `realm`"))?;
        let parsed: Uri = realm.parse().map_err(|_| malformed("the `realm` of its challenge is no URL"))?;
        if self.base.starts_with("https:") && parsed.scheme_str() != Some("https") {
            return Err(malformed("the `realm` of its challenge is without TLS"));
        }
        let mut url = realm.clone();
        for name in ["service", "scope"] {
            if let Some(value) = challenge.get(name) {
                url.push(if url.contains('?') { '&' } else { '?' });
                url.extend([name, "=", &utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()]);
            }
        }
        let mut headers = HeaderMap::new();
        if let Some(basic) = &self.basic {
            headers.insert(AUTHORIZATION, basic.header()?);
        }
        let host = client::host(&parsed);
        let response = self.client.send(&url, headers).await?;
        if response.status() != StatusCode::OK {
            return Err(client::refusal(host, response.status(), self.basic.is_some(), true));
        }
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer = client::body(response, &host, "the answer with a token", TOKEN_LIMIT).await?;
        // Its own message could repeat what stands there.
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| malformed("its token is none"))?;
        let token = answer.token.or(answer.access_token).ok_or_else(|| malformed("its token is none"))?;
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut header = header.map_err(|_| malformed("its token is none"))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// The parameters of a challenge, quoted or not (RFC 9110 section 11.2).
fn parameters_of(mut text: &str) -> HashMap<String, String> {
    let mut parameters = HashMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        parameters.insert(name.trim_matches([' ', ',']).to_ascii_lowercase(), value.trim().to_owned());
        text = after;
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_taken_apart() {
        let found = parameters_of(
            r#"realm="https://auth.example/token",service="a, b" , scope=repository:x:pull,e="#,
        );
        let found: Vec<_> =
            ["realm", "service", "scope", "e"].map(|name| found.get(name).cloned().unwrap()).into();
        assert_eq!(found, ["https://auth.example/token", "a, b", "repository:x:pull", ""]);
        assert!(parameters_of("").is_empty());
        assert_eq!(parameters_of(r#"realm="cut"#).get("realm").map(String::as_str), Some("cut"));
    }
}
