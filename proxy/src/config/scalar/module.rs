//! Where a module is, and what it is known by.

use std::path::PathBuf;

use http::Uri;
use schemars::{Schema, json_schema};

use super::super::model::{Image, Location, ModuleSource, Pull, Remote, Sha256};
use super::{Parse, Refusal};

impl Parse for ModuleSource {
    const EXPECTED: &'static str = "a module such as `builtin:fault`, `./my.wasm`, `https://host/my.wasm` or `oci://registry/my-filter:1.0`";

    fn parse(text: &str) -> Result<ModuleSource, Refusal> {
        let refuse = |hint: &str| Err(Self::refuse(&text).hint(hint));
        match text.split_once(':') {
            Some(("builtin", "")) => refuse("name the built-in filter: `builtin:fault`"),
            Some(("builtin", name)) => Ok(ModuleSource::Builtin(name.to_owned())),
            Some(("oci", _)) => Image::parse(text).map(|image| remote(Location::Image(image))),
            Some(("http" | "https", rest)) if rest.starts_with("//") => {
                Url::parse(text).map(|Url(url)| remote(Location::Url { url, cluster: None }))
            }
            Some((_, rest)) if rest.starts_with("//") => {
                refuse("a module is fetched by `https://`, `http://` or `oci://`")
            }
            _ if text.is_empty() => refuse("name a file or a built-in filter"),
            _ if text.contains('\0') => refuse("a file's name has no NUL in it"),
            _ => Ok(ModuleSource::File(PathBuf::from(text))),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

fn remote(location: Location) -> ModuleSource {
    ModuleSource::Remote(Box::new(Remote::new(location)))
}

/// An address that a module can be fetched from.
#[derive(Debug, Clone)]
pub(crate) struct Url(pub(crate) Uri);

impl Parse for Url {
    const EXPECTED: &'static str = "a URL such as `https://modules.example.com/my.wasm`";

    fn parse(text: &str) -> Result<Url, Refusal> {
        let uri: Uri = text.parse().map_err(|_| Self::refuse(&text))?;
        let refuse = |shown: &str, hint: &str| Err(Self::refuse(&shown).hint(hint));
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                // What stands before the `@` may be a password, which is shown to nobody.
                let shown = format!(
                    "{}://…@{}",
                    uri.scheme_str().unwrap_or_default(),
                    uri.host().unwrap_or_default()
                );
                refuse(&shown, "a password does not stand in a URL: use `credentials`")
            }
            (Some("http" | "https"), Some(authority)) if !authority.host().is_empty() => Ok(Url(uri)),
            _ => refuse(text, "it begins with `https://` or `http://`, and a host follows"),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://[^@/]+(/|$)" })
    }
}

impl Parse for Image {
    const EXPECTED: &'static str = "an image such as `oci://registry.example.com/my-filter:1.0`";

    fn parse(text: &str) -> Result<Image, Refusal> {
        let refuse = |hint: &str| Err(Self::refuse(&text).hint(hint));
        let name = text.strip_prefix("oci://").unwrap_or(text);
        let Some((registry, rest)) = name.split_once('/') else {
            return refuse("give the registry and the repository: `oci://registry/repository:tag`");
        };
        let is_host = registry.contains(['.', ':']) || registry == "localhost";
        if !is_host || format!("http://{registry}/").parse::<Uri>().is_err() || registry.contains('@') {
            return refuse("it begins with the registry's host: `oci://docker.io/me/my-filter:1.0`");
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => match digest.strip_prefix("sha256:").map(Sha256::parse) {
                Some(Ok(digest)) => (rest, Some(digest)),
                _ => return refuse("a digest is `@sha256:` and 64 hexadecimal digits"),
            },
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_repository(repository) {
            return refuse("a repository has lower-case letters, digits, `.`, `_`, `-` and `/`");
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return refuse("a tag has letters, digits, `.`, `_` and `-`, at most 128 of them");
        }
        Ok(Image {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// OCI Distribution Specification 1.1, "Pulling manifests": components of a name.
fn is_repository(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let is_edge =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_component = |part: &str| {
        part.bytes().all(allowed) && is_edge(part.bytes().next()) && is_edge(part.bytes().next_back())
    };
    name.len() <= 255 && name.split('/').all(is_component)
}

/// The same, "tag".
fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = tag.bytes().next().is_some_and(is_word);
    first && tag.len() <= 128 && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

impl Parse for Sha256 {
    const EXPECTED: &'static str = "a SHA-256 digest: 64 hexadecimal digits";

    fn parse(text: &str) -> Result<Sha256, Refusal> {
        let hint = "`tidegate filter inspect FILE` and `sha256sum FILE` show it";
        Sha256::from_hex(text.strip_prefix("sha256:").unwrap_or(text))
            .ok_or_else(|| Self::refuse(&text).hint(hint))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(sha256:)?[0-9a-fA-F]{64}$" })
    }
}

impl Pull {
    /// What holds where the file does not say, as Istio has it: a tag that is `latest` is meant to move.
    pub(crate) fn usual(location: &Location) -> Pull {
        match location {
            Location::Image(image) if image.digest.is_none() && image.tag().eq("latest") => Pull::Always,
            Location::Image(_) | Location::Url { .. } => Pull::IfNotPresent,
        }
    }
}
