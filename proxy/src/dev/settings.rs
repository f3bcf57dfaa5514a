//! What the filter is given: files in the words of a proxy's configuration, and what the command line adds.

mod schema;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::places::Turn;
use super::{Cluster, Options};
use crate::cases::from_here;
use crate::config::collector::Collector;
use crate::config::decode::decode;
use crate::config::{self, yaml};
pub(crate) use schema::schema;

/// What a filter's settings are called in the folder of its crate, where nobody names them.
const SETTINGS: &str = "dev.yaml";

/// What its configuration alone is called there.
const CONFIGS: [&str; 2] = ["config.yaml", "config.json"];

/// What a filter has in a proxy's configuration and not here: its module is the one that is developed, and there is no other
/// beside it.
const NOT_FOR_HERE: [&str; 2] = ["module", "canary"];

/// How long requests in flight are waited for when Ctrl-C ends it: whoever sent them is the one who pressed it.
const DRAIN_TIMEOUT: &str = "1s";

/// The cluster that requests go to.
const UPSTREAM: &str = "upstream";

/// Where the settings come from. The files are read each time that they are asked for: they are being written.
#[derive(Debug)]
pub(super) struct Settings {
    /// The folder of the crate or module, in which files are found that nobody named.
    beside: PathBuf,
    config: Option<PathBuf>,
    settings: Option<PathBuf>,
    /// Of the command line, each with its address.
    clusters: Vec<(String, SocketAddr)>,
    /// Where requests go if nobody says.
    sample: Option<SocketAddr>,
}

impl Settings {
    /// `sample` is where clusters are that nobody gave an address.
    pub(super) fn set_up(
        options: &Options,
        beside: PathBuf,
        sample: Option<SocketAddr>,
    ) -> anyhow::Result<Settings> {
        for file in [&options.config, &options.settings].into_iter().flatten() {
            if !file.is_file() {
                bail!("there is no file {}", file.display());
            }
        }
        let upstream = options.upstream.clone();
        let upstream = upstream.map(|address| Cluster { name: UPSTREAM.to_owned(), address: Some(address) });
        let clusters = options.clusters.iter().chain(&upstream).map(|Cluster { name, address }| {
            let address = match (address, sample) {
                (Some(address), _) => resolve(address)?,
                (None, Some(sample)) => sample,
                (None, None) => bail!("cluster {name} has no address"),
            };
            Ok((name.clone(), address))
        });
        let clusters = clusters.collect::<anyhow::Result<Vec<_>>>()?;
        let (config, settings) = (options.config.clone(), options.settings.clone());
        Ok(Settings { beside, config, settings, clusters, sample })
    }

    /// Whether a change of this file, by its whole path, is one of the settings.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.candidates().any(|candidate| candidate == file || super::stage::whole(&candidate) == file)
    }

    /// The folders that its files are in, or would be.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<_> = self
            .candidates()
            .filter_map(|file| Some(super::stage::whole(&file).parent()?.to_owned()))
            .collect();
        folders.sort();
        folders.dedup();
        folders
    }

    fn candidates(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let usual = CONFIGS.iter().chain([&SETTINGS]).map(|name| self.beside.join(name));
        self.config.iter().chain(&self.settings).cloned().chain(usual)
    }

    /// The first of the files that nobody named that is there.
    fn usual(&self, names: &[&str]) -> Option<PathBuf> {
        names.iter().map(|name| self.beside.join(name)).find(|file| file.is_file())
    }

    /// Which file what leads to a value of the configuration that is served came from, and what leads to it there.
    pub(super) fn origin_of<'t>(&self, turns: &'t [Turn]) -> Option<(PathBuf, &'t [Turn])> {
        let is = |turn: &Turn, name: &str| matches!(turn, Turn::Field(field) if field == name);
        match turns {
            [first, _, config, rest @ ..] if is(first, "filters") && is(config, "config") => {
                match self.config_file(&self.settings().ok()?) {
                    Some(file) => Some((file, rest)),
                    None => Some((self.settings_file()?, &turns[2..])),
                }
            }
            [first, _, rest @ ..] if is(first, "filters") => Some((self.settings_file()?, rest)),
            [first, _, rest @ ..] if is(first, "listeners") => Some((self.settings_file()?, rest)),
            [first, ..] if is(first, "clusters") => Some((self.settings_file()?, turns)),
            _ => None,
        }
    }

    /// The file with all that the filter is given, if there is one.
    fn settings_file(&self) -> Option<PathBuf> {
        self.settings.clone().or_else(|| self.usual(&[SETTINGS]))
    }

    /// The file with its configuration alone, where that is not among the settings.
    fn config_file(&self, settings: &Map<String, Value>) -> Option<PathBuf> {
        match (&self.config, settings.contains_key("config")) {
            (Some(file), _) => Some(file.clone()),
            (None, true) => None,
            (None, false) => self.usual(&CONFIGS),
        }
    }

    /// What the settings say.
    fn settings(&self) -> anyhow::Result<Map<String, Value>> {
        let Some(file) = self.settings_file() else { return Ok(Map::new()) };
        match read(&file)? {
            Value::Object(fields) => Ok(fields),
            Value::Null => Ok(Map::new()),
            _ => bail!("{}: give a mapping, such as `config: {{}}`", from_here(&file).display()),
        }
    }

    /// The configuration that is served: the filter, with this module, and its clusters.
    ///
    /// # Errors
    ///
    /// A file cannot be read, is no YAML, or says what cannot be served.
    pub(super) fn served(&self, name: &str, module: &Path, listen: SocketAddr) -> anyhow::Result<String> {
        let file = self.settings_file();
        let mut filter = self.settings()?;
        let place = file.as_deref().map_or(SETTINGS.into(), from_here);
        let place = || place.display();
        let elsewhere = NOT_FOR_HERE.iter().chain(&["listeners", "filters"]);
        if let Some(field) = elsewhere.copied().find(|field| filter.contains_key(*field)) {
            bail!(
                "{}: `{field}` is not for here: what goes under the filter does, but for its module and `canary`, and \
                 `clusters` and `buffer_limit`",
                place()
            );
        }
        let mut clusters = match filter.remove("clusters") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(clusters)) => clusters,
            Some(_) => {
                bail!("{}: clusters: give each its address, such as `{{auth: 127.0.0.1:9001}}`", place())
            }
        };
        for (name, cluster) in &mut clusters {
            *cluster =
                whole_cluster(cluster.take()).with_context(|| format!("{}: clusters: {name}", place()))?;
        }
        let endpoint = |address: SocketAddr| json!({"endpoints": [address.to_string()]});
        for (name, address) in &self.clusters {
            clusters.insert(name.clone(), endpoint(*address));
        }
        if let (Some(sample), false) = (self.sample, clusters.contains_key(UPSTREAM)) {
            clusters.insert(UPSTREAM.to_owned(), endpoint(sample));
        }
        if let Some(config) = self.config_file(&filter) {
            filter.insert("config".to_owned(), read(&config)?);
        }
        let buffer_limit = filter.remove("buffer_limit");
        filter.insert("module".to_owned(), module.to_string_lossy().into());
        let mut listener = json!({
            "name": "dev",
            "address": listen.to_string(),
            "access_log": true,
            "filters": [name],
            "routes": [{"match": {"path": {"prefix": "/"}}, "cluster": UPSTREAM}],
        });
        if let Some(limit) = buffer_limit {
            listener["buffer_limit"] = limit;
        }
        let whole = json!({
            "workers": 1, "drain_timeout": DRAIN_TIMEOUT, "listeners": [listener], "filters": {name: filter}, "clusters": clusters,
        });
        Ok(format!("{whole:#}\n"))
    }
}

/// A cluster as it is in a proxy's configuration: an address alone, or several, are its endpoints.
fn whole_cluster(cluster: Value) -> anyhow::Result<Value> {
    let addresses = match cluster {
        Value::String(address) => vec![Value::String(address)],
        Value::Array(addresses) => addresses,
        other => return Ok(other),
    };
    let endpoints = addresses.iter().map(|address| {
        let address = address.as_str().context("an address is HOST:PORT")?;
        Ok(Value::from(resolve(address)?.to_string()))
    });
    Ok(json!({"endpoints": endpoints.collect::<anyhow::Result<Vec<_>>>()?}))
}

/// The address of HOST:PORT, one of version 4 where there are several.
fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let found: io::Result<Vec<_>> = address.to_socket_addrs().map(Iterator::collect);
    let found = found.with_context(|| format!("cannot find {address}: give a host and a port"))?;
    let best = found.iter().find(|address| address.is_ipv4()).or(found.first());
    best.copied().with_context(|| format!("{address} has no address"))
}

/// What a file in YAML or JSON says. What it takes from other files is named from where it lies.
fn read(file: &Path) -> anyhow::Result<Value> {
    let source = config::read_source(&from_here(file))?;
    let log = Collector::new(&source);
    let root = yaml::read(&source, &log);
    let value = root.and_then(|root| match root.is_nothing() {
        true => Some(Value::Null),
        false => decode::<Value>(&root, &log).value(),
    });
    let problems = log.finish(source.clone());
    let mut value = match value {
        Some(value) if !problems.are_fatal() => value,
        _ => bail!("{}", problems.render(false).trim_end()),
    };
    let whole = super::stage::whole(file);
    anchor(&mut value, whole.parent().unwrap_or(Path::new("/")));
    Ok(value)
}

/// Gives each `{from_file: PATH}` the whole path: what is served lies elsewhere.
fn anchor(value: &mut Value, folder: &Path) {
    match value {
        Value::Object(fields) => match fields.get_mut("from_file") {
            Some(Value::String(path)) => *path = folder.join(&*path).to_string_lossy().into_owned(),
            _ => fields.values_mut().for_each(|value| anchor(value, folder)),
        },
        Value::Array(items) => items.iter_mut().for_each(|value| anchor(value, folder)),
        _ => {}
    }
}
