//! Where a module's code is, and what makes it trusted.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::super::bounds;
use crate::files::Sha256;
use crate::signature::PublicKey;

/// Where a module's code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleSource {
    /// Shipped in the binary: `builtin:NAME`.
    Builtin(String),
    /// A file, or a folder of which the newest version serves; relative paths are relative to the configuration file's
    /// folder (already resolved here).
    File(PathBuf),
    /// A server or a registry.
    Remote(Box<Remote>),
}

/// As logs and messages name it.
impl fmt::Display for ModuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModuleSource::Builtin(name) => write!(f, "builtin:{name}"),
            ModuleSource::File(path) => write!(f, "{}", path.display()),
            ModuleSource::Remote(remote) => write!(f, "{}", remote.location),
        }
    }
}

/// A module that is fetched, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Where it is.
    pub location: Location,
    /// What proves that it may be had.
    pub credentials: Credentials,
    /// How long one attempt may take, from its first connection to its last byte.
    pub timeout: Duration,
    /// How many attempts may follow the first.
    pub retries: u32,
    /// Whether a copy that was fetched before will do.
    pub pull: Pull,
    /// Whether a registry is spoken to without TLS.
    pub plain_http: bool,
}

impl Remote {
    /// A place and nothing else said.
    pub(crate) fn new(location: Location) -> Remote {
        Remote {
            pull: Pull::usual(&location),
            location,
            credentials: Credentials::None,
            timeout: bounds::FETCH_TIMEOUT.default,
            retries: u32::try_from(bounds::FETCH_RETRIES.default.0).unwrap_or(u32::MAX),
            plain_http: false,
        }
    }
}

/// A place that modules can be fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A server.
    Url {
        /// `http` or `https`, without user and password.
        url: Uri,
        /// The cluster whose endpoints are asked, in the place of the URL's host.
        cluster: Option<String>,
    },
    /// A registry.
    Image(Image),
}

/// As logs and messages name it: a URL without its query, which may be secret.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Url { url, .. } => {
                let scheme = url.scheme_str().unwrap_or_default();
                let authority = url.authority().map_or("", |authority| authority.as_str());
                write!(f, "{scheme}://{authority}{}", url.path())
            }
            Location::Image(image) => write!(f, "{image}"),
        }
    }
}

/// An image in a registry that speaks the OCI Distribution Specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its host, with a port where it has one.
    pub registry: String,
    /// The name there.
    pub repository: String,
    /// Which of its images, unless a digest says it.
    pub tag: Option<String>,
    /// The digest of its manifest, or of its index.
    pub digest: Option<Sha256>,
}

impl Image {
    /// The tag, `latest` where none is given.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@sha256:{digest}"))
    }
}

/// Whether a copy that was fetched before will do. What is known by its digest never changes, and is asked for once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// It will.
    IfNotPresent,
    /// Where it comes from is asked each time that the configuration is read.
    Always,
}

/// What proves that a module may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing: it is there for everybody.
    None,
    /// A name and a password: HTTP's basic authentication, which a registry may take against a token.
    Basic {
        /// Whose.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// Those for the registry in a file as `docker login` writes it, and as Kubernetes mounts a pull secret.
    DockerConfig(PathBuf),
}

/// A text that nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub(crate) text: String,
    pub(crate) origin: SecretOrigin,
}

/// Where a secret was taken from, which may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretOrigin {
    /// A variable of the proxy's own environment.
    Environment(String),
    /// A file.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.origin)
    }
}

/// A key whose signatures may be required.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// What listeners call it.
    pub name: String,
    /// Where it was read from.
    pub path: PathBuf,
    /// The key itself.
    pub key: PublicKey,
}
