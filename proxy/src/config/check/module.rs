//! Checks where modules are, what they are fetched with, and the keys that they are signed with.

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{
    Config, Credentials, Filter, Location, ModuleSource, Pull, Remote, Secret, SecretOrigin, Sha256,
    TrustedKey,
};
use super::super::raw::{self, Module, ModuleFields};
use super::super::scalar::Text;
use super::super::source::Span;
use super::super::suggest;
use super::{Checker, Unique, items};
use crate::signature::PublicKey;

impl Checker<'_> {
    /// Where a module is, and what it must be.
    pub(super) fn module(&self, raw: Located<Module>) -> Option<(ModuleSource, Option<Sha256>)> {
        let Located { value, span } = raw;
        match value {
            Module::Text(ModuleSource::File(path)) => {
                Some((ModuleSource::File(self.folder.join(path)), None))
            }
            Module::Text(source) => Some((source, None)),
            Module::Fields(fields) => self.module_of(*fields, span),
        }
    }

    fn module_of(&self, mut raw: ModuleFields, span: Span) -> Option<(ModuleSource, Option<Sha256>)> {
        let sha256 = std::mem::take(&mut raw.sha256).value().map(|Text(digest)| digest);
        let given = [("file", raw.file.span()), ("url", raw.url.span()), ("oci", raw.oci.span())];
        let mut given = given.into_iter().filter_map(|(name, span)| Some((name, span?)));
        match (given.next(), given.next()) {
            (Some(_), None) => {}
            (Some((one, _)), Some((other, span))) => {
                let message = format!("`{one}` and `{other}` cannot be given together");
                self.log.error_with_hint(span, message, "keep one of `file`, `url`, `oci`");
                return None;
            }
            (None, _) => {
                let says_none = raw.file.is_absent() && raw.url.is_absent() && raw.oci.is_absent();
                if says_none {
                    let hint = "say where it is: `file`, `url` or `oci`";
                    self.log.error_with_hint(span, "the module has no place", hint);
                }
                return None;
            }
        }
        if let Some(path) = std::mem::take(&mut raw.file).given() {
            self.refuse_what_only_a_fetch_has(&raw);
            return Some((ModuleSource::File(self.folder.join(path.value)), sha256));
        }
        let source = ModuleSource::Remote(Box::new(self.remote(raw)?));
        self.warn_of_what_anybody_can_read(&source, span);
        Some((source, sha256))
    }

    fn refuse_what_only_a_fetch_has(&self, raw: &ModuleFields) {
        let fields = [
            ("cluster", raw.cluster.span()),
            ("credentials", raw.credentials.span()),
            ("timeout", raw.timeout.span()),
            ("retries", raw.retries.span()),
            ("pull", raw.pull.span()),
            ("plain_http", raw.plain_http.span()),
        ];
        for (field, span) in fields {
            if let Some(span) = span {
                let message = format!("`{field}` is of modules that are fetched, and this is a file");
                self.log.error_with_hint(span, message, format!("remove `{field}`"));
            }
        }
    }

    fn remote(&self, raw: ModuleFields) -> Option<Remote> {
        let cluster = raw.cluster.given();
        let location = match (raw.url.given(), raw.oci.given()) {
            (Some(Located { value: Text(url), span }), _) => {
                if let Some(name) = &cluster {
                    self.cluster_index(name);
                    if self.encrypted.contains(&name.value) {
                        let hint = "leave `cluster` out: a URL with `https://` is fetched without one";
                        let message =
                            format!("modules are not fetched from `{}`, which speaks TLS", name.value);
                        self.log.error_with_hint(name.span, message, hint);
                    }
                    if url.0.scheme_str() == Some("https") {
                        let hint =
                            "give the URL as `http://`: connections to a cluster's endpoints are plain";
                        self.log.error_with_hint(span, "a cluster is not asked by `https://`", hint);
                    }
                }
                if let Some(span) = raw.plain_http.span() {
                    let hint = "the URL says it: `http://`";
                    self.log.error_with_hint(span, "`plain_http` is of registries", hint);
                }
                Location::Url { url: url.0, cluster: cluster.map(|name| name.value) }
            }
            (None, Some(Located { value: Text(image), .. })) => {
                if let Some(cluster) = &cluster {
                    let hint = "a registry is asked where its name says";
                    self.log.error_with_hint(cluster.span, "`cluster` is of `url`", hint);
                }
                Location::Image(image)
            }
            (None, None) => return None,
        };
        let usual = Remote::new(location);
        Some(Remote {
            credentials: self.credentials(raw.credentials),
            timeout: self.duration(raw.timeout, bounds::FETCH_TIMEOUT),
            retries: self.count(raw.retries, bounds::FETCH_RETRIES).try_into().unwrap_or(u32::MAX),
            pull: raw.pull.value().map_or(Pull::usual(&usual.location), |Text(pull)| pull),
            plain_http: raw.plain_http.value().unwrap_or(false),
            ..usual
        })
    }

    fn credentials(&self, raw: Field<raw::Credentials>) -> Credentials {
        let Some(Located { value: raw, span }) = raw.given() else { return Credentials::None };
        let (username, password) = (raw.username.given(), raw.password.given());
        match (username, password, raw.docker_config.given()) {
            (None, None, Some(path)) => Credentials::DockerConfig(self.folder.join(path.value)),
            (Some(username), Some(password), None) => match (self.secret(username), self.secret(password)) {
                (Some(username), Some(password)) => Credentials::Basic { username, password },
                _ => Credentials::None,
            },
            _ => {
                let hint = "give both, each as `{from_env: NAME}` or `{from_file: PATH}`, or only `docker_config: PATH`";
                let message = "credentials are a `username` and a `password`, or a `docker_config`";
                self.log.error_with_hint(span, message, hint);
                Credentials::None
            }
        }
    }

    /// A secret's text. Line breaks at the end of a file are no part of it.
    pub(super) fn secret(&self, raw: Located<raw::Secret>) -> Option<Secret> {
        match raw.value {
            raw::Secret::FromEnv(name) => {
                let name = name.given()?;
                let text = self.own_variable(&name)?;
                Some(Secret { text, origin: SecretOrigin::Environment(name.value) })
            }
            raw::Secret::FromFile(path) => {
                let Located { value, span } = path.given()?;
                let path = self.folder.join(value);
                let text = self.text_of(&path, bounds::MAX_KEY_FILE_BYTES, span)?;
                let text = text.trim_end_matches(['\n', '\r']).to_owned();
                Some(Secret { text, origin: SecretOrigin::File(path) })
            }
        }
    }

    fn warn_of_what_anybody_can_read(&self, source: &ModuleSource, span: Span) {
        let ModuleSource::Remote(remote) = source else { return };
        let is_clear = match &remote.location {
            Location::Url { url, .. } => url.scheme_str() == Some("http"),
            Location::Image(_) => remote.plain_http,
        };
        if is_clear && remote.credentials != Credentials::None {
            let message = "the credentials are sent without TLS, and anybody on the way can read them";
            self.log.warning(span, message, "let only a network that is trusted lie between");
        }
    }

    /// Code that came over plain HTTP is whoever's was on the way, unless it is known, or has to be signed wherever it
    /// runs.
    pub(super) fn warn_of_what_anybody_can_change(&self, config: &Config) {
        for (index, (filter, &span)) in config.filters.iter().zip(&self.places.filter_modules).enumerate() {
            let first = config.first_version(index);
            let is_its_firsts = first != index && config.filters[first].module == filter.module;
            let mut chains = config.listeners.iter().filter(|listener| listener.runs(first));
            let is_signed = config.listeners.iter().any(|listener| listener.runs(first))
                && chains.all(|listener| !listener.require_signature_by.is_empty());
            if is_replaceable(filter) && !is_signed && !is_its_firsts {
                let message = "the module is fetched without TLS, and anybody on the way can replace it";
                self.log.warning(span, message, "pin it: `sha256: DIGEST`");
            }
        }
    }

    pub(super) fn trusted_keys(
        &self,
        keys: Vec<(Located<String>, Field<raw::TrustedKey>)>,
    ) -> Vec<TrustedKey> {
        if let Some((name, _)) = keys.get(bounds::MAX_TRUSTED_KEYS) {
            let message = format!("there are at most {} trusted keys", bounds::MAX_TRUSTED_KEYS);
            self.log.error(name.span, message);
            return Vec::new();
        }
        keys.into_iter().filter_map(|(name, raw)| self.trusted_key(name, raw.given()?)).collect()
    }

    fn trusted_key(&self, name: Located<String>, raw: Located<raw::TrustedKey>) -> Option<TrustedKey> {
        self.name(&name);
        let Located { value, span } = self.required(raw.value.from_file, "from_file", raw.span)?;
        let path = self.folder.join(value);
        let text = self.text_of(&path, bounds::MAX_KEY_FILE_BYTES, span)?;
        match PublicKey::from_pem(&text) {
            Ok(key) => Some(TrustedKey { name: name.value, path, key }),
            Err(error) => {
                let hint = "`openssl pkey -in private.pem -pubout` writes a public key";
                self.log.error_with_hint(span, format!("`{}`: {error}", path.display()), hint);
                None
            }
        }
    }

    /// The keys that a listener names.
    pub(super) fn signers(&self, field: Field<Vec<Field<String>>>) -> Vec<usize> {
        let Some(Located { value, span }) = field.given() else { return Vec::new() };
        if value.is_empty() {
            let hint = "name a key of `trusted_keys`, or leave the line out";
            self.log.error_with_hint(span, "a signature by nobody is required", hint);
        }
        let mut twice = Unique::new(self.log);
        let mut signers = Vec::new();
        for name in items(value) {
            let Some(index) = self.trusted_keys.get_index_of(&name.value) else {
                self.log.error_suggesting(
                    name.span,
                    format!("there is no trusted key `{}`", name.value),
                    || {
                        suggest::remedy(
                            &name.value,
                            "trusted keys",
                            self.trusted_keys.iter().map(String::as_str),
                        )
                    },
                );
                continue;
            };
            twice.take(index, name.span, || format!("the key `{}` is named twice", name.value));
            signers.push(index);
        }
        signers
    }
}

/// Whether a network decides what the module is.
fn is_replaceable(filter: &Filter) -> bool {
    let ModuleSource::Remote(remote) = &filter.module else { return false };
    let is_plain = match &remote.location {
        Location::Url { url, cluster } => url.scheme_str() == Some("http") && cluster.is_none(),
        Location::Image(image) => remote.plain_http && image.digest.is_none(),
    };
    is_plain && filter.sha256.is_none()
}
