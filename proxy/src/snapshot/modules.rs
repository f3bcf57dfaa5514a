//! The modules of one configuration: each is compiled once, and a filter of it is tried before it may serve.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::unusable::Unusable;
use super::variants::Variants;
use super::{Snapshot, trust};
use bytes::Bytes;

use crate::config::model::{Config, Filter, Grant, Isolation, OnFault, Protocol, Variant};
use crate::files::Sha256;
use crate::origin::{Obtained, Origins, Unobtainable};
use crate::wasm::stream::Subject;
use crate::wasm::{Blank, Engine, LoadError, Module, Plugin, Proof, Services, debug_info};

/// A filter that may serve.
#[derive(Debug, Clone)]
pub(super) struct Proved {
    pub(super) plugin: Plugin,
    /// Where its module is from: what messages call it.
    pub(super) origin: String,
    /// What its module's bytes are; nothing where they could not be fetched yet.
    pub(super) digest: Option<Sha256>,
    /// Why it is missing, by the last look for it.
    pub(super) lack: Option<Lack>,
    /// What it was shown to make contexts for.
    pub(super) subjects: Vec<Subject>,
}

/// Why a module is missing, in a line. The last look for it says, so that it changes in a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Lack(Arc<Mutex<String>>);

impl Lack {
    fn new(why: &impl Display) -> Lack {
        Lack(Arc::new(Mutex::new(in_a_line(why))))
    }

    pub(super) fn why(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It was looked for in vain again. Whether for another reason.
    pub(super) fn note(&self, why: &impl Display) -> bool {
        let (mut known, why) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), in_a_line(why));
        let is_new = *known != why;
        *known = why;
        is_new
    }
}

/// A server's words may be among it.
fn in_a_line(text: &impl Display) -> String {
    text.to_string().replace(char::is_control, " ")
}

/// The module of filters whose own is missing, which is never called. It exports what every filter must, and does
/// nothing: `(memory 0)`, the marker of ABI 0.2.1, and an allocator that has nothing to give.
const STAND_IN: &[u8] =
    b"\0asm\x01\0\0\0\x01\x09\x02`\0\0`\x01\x7f\x01\x7f\x03\x03\x02\0\x01\x05\x03\x01\0\0\
\x07-\x03\x06memory\x02\0\x17proxy_abi_version_0_2_1\0\0\x06malloc\0\x01\
\x0a\x09\x02\x02\0\x0b\x04\0A\0\x0b";

/// The modules of one configuration, by their bytes: filters that run the same code share it, in memory and in the
/// processor's caches.
pub(super) struct Modules<'a> {
    engine: &'a Engine,
    origins: &'a Origins,
    config: &'a Config,
    services: Services,
    former: &'a [Proved],
    former_variants: HashMap<(&'a str, &'a Bytes), &'a Proved>,
    compiled: HashMap<Sha256, Module>,
    pub(super) variants: Variants,
}

impl<'a> Modules<'a> {
    /// `services`: what filters have while they are tried. What is as it was in `former` is taken from there.
    pub(super) fn new(
        engine: &'a Engine,
        origins: &'a Origins,
        config: &'a Config,
        services: Services,
        former: Option<&'a Snapshot>,
    ) -> Modules<'a> {
        let (former, variants) =
            former.map_or((&[][..], &[][..]), |former| (&former.filters[..], &former.variants[..]));
        // What images are made of exports more than the module does.
        let plain = former.iter().filter(|former| former.plugin.filter().isolation == Isolation::Worker);
        let compiled = plain.filter_map(|former| Some((former.digest?, former.plugin.module().clone())));
        let compiled = compiled.collect();
        let by_config = |variant: &'a Proved| {
            let filter = variant.plugin.filter();
            ((filter.name.as_str(), &filter.config), variant)
        };
        let former_variants = variants.iter().map(by_config).collect();
        let variants = Variants::default();
        Modules { engine, origins, config, services, former, former_variants, compiled, variants }
    }

    pub(super) fn config(&self) -> &'a Config {
        self.config
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    /// What a variant was in the configuration before, if nothing else about its filter has changed.
    pub(super) fn former_variant(&self, variant: &Variant) -> Option<&'a Proved> {
        let filter = &variant.filter;
        let former = self.former_variants.get(&(filter.name.as_str(), &filter.config)).copied()?;
        (former.plugin.filter() == filter).then_some(former)
    }

    /// The filter at `index`, of the module that was obtained for it. Where that is a copy on disk which is no good, the
    /// server is asked for what it has now.
    pub(super) fn accept(
        &mut self,
        index: usize,
        obtained: Result<Obtained, Unobtainable>,
    ) -> Result<Proved, Unusable> {
        let obtained = obtained?;
        let may_be_outdated = obtained.may_be_outdated();
        match self.try_out(index, obtained) {
            Err(why) if may_be_outdated && why.is_of_the_module() => self.try_what_is_there_now(index, why),
            Err(why) if may_be_outdated => {
                let filter = &self.config.filters[index].name;
                tracing::warn!(
                    filter,
                    "the module is a copy on disk: `pull: always` has the server asked for what it has now"
                );
                Err(why)
            }
            outcome => outcome,
        }
    }

    /// The same with what the server has, instead of a copy that is no good and why it is not.
    fn try_what_is_there_now(&mut self, index: usize, why: Unusable) -> Result<Proved, Unusable> {
        match super::obtain_anew(self.origins, self.config, index) {
            Ok(obtained) => self.try_out(index, obtained),
            Err(error) => {
                let filter = &self.config.filters[index].name;
                tracing::warn!(filter, %error, "the copy of the module on disk is no good, and no other can be had");
                Err(why)
            }
        }
    }

    /// The same of this module and no other. It is remembered when it may serve, and not before.
    fn try_out(&mut self, index: usize, obtained: Obtained) -> Result<Proved, Unusable> {
        let trusted = trust::examine(self.config, index, obtained)?;
        let kept = trusted.clone();
        let proved = self.prove(&self.config.filters[index], trusted, subjects(self.config, index))?;
        self.vary(index, &proved, &kept);
        self.origins.keep(&kept);
        Ok(proved)
    }

    /// What takes the place of the filter at `index`, whose module is missing. It is never called, so that there is no
    /// image of it either.
    pub(super) fn stand_in(&mut self, index: usize, why: &Unobtainable) -> Result<Proved, Unusable> {
        let filter = &self.config.filters[index];
        let passes = match filter.on_fault {
            OnFault::Open => "requests go on without it",
            OnFault::Closed => "requests to it are answered 503",
        };
        tracing::warn!(filter = filter.name, reason = %why, "the filter's module is missing: {passes} until it is there");
        let origin = filter.module.to_string();
        let module = self.compile(Sha256::of(STAND_IN), STAND_IN);
        let module = module.map_err(|source| Unusable::Load { origin: origin.clone(), source })?;
        let plugin = Plugin::new(filter.clone(), module);
        let proved =
            Proved { plugin, origin, digest: None, lack: Some(Lack::new(why)), subjects: Vec::new() };
        self.vary_untried(index, &proved);
        Ok(proved)
    }

    /// `subjects`: what the filter is to make contexts for.
    pub(super) fn prove(
        &mut self,
        filter: &Arc<Filter>,
        module: Obtained,
        subjects: Vec<Subject>,
    ) -> Result<Proved, Unusable> {
        let began = Instant::now();
        let Obtained { name: origin, bytes, digest, debug, .. } = module;
        let is_as_it_was = |former: &&Proved| {
            former.digest == Some(digest)
                && former.plugin.filter() == filter
                && subjects.iter().all(|subject| former.subjects.contains(subject))
        };
        let variant = self.former_variants.get(&(filter.name.as_str(), &filter.config)).copied();
        if let Some(former) = self.former.iter().chain(variant).find(is_as_it_was) {
            return Ok(Proved { origin, ..former.clone() });
        }
        let explained = debug.and_then(|debug| debug_info::join(&bytes, &debug));
        let bytes = explained.as_deref().unwrap_or(&bytes);
        let is_shared = filter.isolation == Isolation::Worker && self.compiled.contains_key(&digest);
        let (plugin, mut proof) = self.start(filter, &origin, digest, bytes)?;
        for &subject in &subjects {
            let none =
                |fault| Unusable::NoContexts { origin: origin.clone(), subject, fault: Box::new(fault) };
            proof.open(subject).map_err(none)?;
        }
        let code = match (is_shared, plugin.module().is_kept()) {
            (true, _) => "shared", // with another filter, of this configuration or of the one before
            (false, true) => "kept",
            (false, false) => "compiled",
        };
        tracing::info!(
            filter = filter.name,
            module = origin,
            sha256 = %digest,
            abi = ?plugin.module().abi(),
            code,
            milliseconds = began.elapsed().as_millis() as u64,
            "filter prepared"
        );
        Ok(Proved { plugin, origin, digest: Some(digest), lack: None, subjects })
    }

    /// Starts the filter in an instance that is thrown away, and if each exchange is to have its own, keeps an image of it.
    fn start(
        &mut self,
        filter: &Arc<Filter>,
        origin: &str,
        digest: Sha256,
        bytes: &[u8],
    ) -> Result<(Plugin, Proof), Unusable> {
        let origin = || origin.to_owned();
        let no_image = |source| Unusable::NoImage { origin: origin(), source };
        let alone = filter.isolation == Isolation::Exchange;
        let blank = alone.then(|| Blank::new(bytes)).transpose().map_err(no_image)?;
        let module = match &blank {
            Some(blank) => self.engine.compile_as(digest, blank.bytes()),
            None => self.compile(digest, bytes),
        };
        let module = module.map_err(|source| Unusable::Load { origin: origin(), source })?;
        if let Some(reason) = lack_of_manifest(filter, &module) {
            return Err(Unusable::NoManifest { origin: origin(), reason });
        }
        let plugin = Plugin::new(filter.clone(), module);
        let start = |fault| Unusable::Start { origin: origin(), fault: Box::new(fault) };
        let mut proof = plugin.prove(&self.services).map_err(start)?;
        let plugin = match &blank {
            Some(blank) => plugin.with_image(blank, &mut proof, self.engine).map_err(no_image)?,
            None => plugin,
        };
        Ok((plugin, proof))
    }

    fn compile(&mut self, digest: Sha256, bytes: &[u8]) -> Result<Module, LoadError> {
        if let Some(module) = self.compiled.get(&digest) {
            return Ok(module.clone());
        }
        let module = self.engine.compile_as(digest, bytes)?;
        self.compiled.insert(digest, module.clone());
        Ok(module)
    }
}

/// What passes the chains that a filter is in; a second version is in those of the first.
fn subjects(config: &Config, filter: usize) -> Vec<Subject> {
    let filter = config.first_version(filter);
    let subject = |protocol: &Protocol| match protocol {
        Protocol::Http | Protocol::Auto(_) => Subject::Exchange,
        Protocol::Tcp(_) => Subject::Connection,
    };
    let listeners = config.listeners.iter().filter(|listener| listener.runs(filter));
    let mut subjects: Vec<_> = listeners.map(|listener| subject(&listener.protocol)).collect();
    subjects.dedup();
    subjects
}

/// Why a filter cannot be allowed what its module asks for, if that is what it is to be allowed.
fn lack_of_manifest(filter: &Filter, module: &Module) -> Option<String> {
    match (&filter.capabilities, module.manifest()) {
        (Grant::Manifest, None) => Some(match module.manifest_error() {
            Some(error) => error.to_string(),
            None => "the module has no manifest that says what it asks for".to_owned(),
        }),
        (Grant::Manifest, Some(_)) | (Grant::Everything | Grant::Only(_), _) => None,
    }
}
