//! From what the user wrote to what is valid, recording every problem on the way.
//!
//! A value that is missing or out of range is recorded and something harmless takes its place, so that the rest is
//! still checked; [`check`] gives nothing when an error was recorded by anyone.

mod balancing;
mod canary;
mod capabilities;
mod cluster;
mod exposure;
mod file;
mod filter;
mod guest;
mod headers;
mod http2;
mod listener;
mod mirror;
mod module;
mod overload;
mod pages;
mod path;
mod path_template;
mod pattern;
mod recovery;
mod retries;
mod route;
mod route_filters;
mod shares;
mod tls;

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::bounds::{self, Bound};
use super::collector::Collector;
use super::decode::{Field, Located, Map};
use super::model::{Admin, Config, Listener, Locality};
use super::raw;
use super::scalar::{Count, Quantity, Size, Text};
use super::source::Span;
use super::suggest;
use crate::files::Footprint;
use crate::tls::{Authorities, AuthoritiesError};

pub(crate) use pattern::without_anchors;
use route_filters::Variants;

/// Where in the file the parts are that can turn out to be wrong after it was checked: by their index in [`Config`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    pub(crate) listener_addresses: Vec<Span>,
    pub(crate) admin_address: Option<Span>,
    pub(crate) filter_modules: Vec<Span>,
    pub(crate) filter_configs: Vec<Span>,
    pub(crate) variant_configs: Vec<Span>,
}

/// Checks a file. Relative paths in it are relative to `folder`; files that it takes text from are noted.
pub(crate) fn check(
    file: Located<raw::File>,
    folder: &Path,
    footprint: &RefCell<Footprint>,
    log: &Collector<'_>,
) -> Option<(Config, Places)> {
    let Located { value: file, span } = file;
    let filters = entries(file.filters);
    let keys = entries(file.trusted_keys);
    let clusters = entries(file.clusters);
    let mut checker = Checker {
        log,
        folder,
        footprint,
        filters: filters.iter().map(|(name, _)| (name.value.clone(), false)).collect(),
        clusters: clusters.iter().map(|(name, _)| name.value.clone()).collect(),
        encrypted: HashSet::new(),
        trusted_keys: keys.iter().map(|(name, _)| name.value.clone()).collect(),
        variants: Variants::default(),
        locality: Locality::default(),
        installed_authorities: OnceCell::new(),
        places: Places::default(),
    };
    checker.locality = file.locality.value().map(|raw| checker.locality(raw)).unwrap_or_default();
    let filters_at: Vec<_> = filters.iter().map(|(name, _)| name.span).collect();

    let mut clusters: Vec<_> =
        clusters.into_iter().filter_map(|(name, raw)| checker.cluster(name, raw)).collect();
    balancing::find_callers(&mut clusters);
    let encrypted = clusters.iter().filter(|cluster| cluster.tls.is_some());
    checker.encrypted = encrypted.map(|cluster| cluster.name.clone()).collect();
    let clusters = clusters.into_iter().map(Arc::new).collect();
    let (filters, canaries) = checker.filters(filters);
    let with_canary = canaries.iter().map(|canary| canary.value.filter).collect();
    checker.variants = Variants::of(&filters, with_canary);
    let trusted_keys = checker.trusted_keys(keys);
    let listeners = checker.required(file.listeners, "listeners", span).map(|list| checker.listeners(list));
    let listeners = listeners.unwrap_or_default();
    let admin = file.admin.given().and_then(|raw| checker.admin(raw, &listeners));
    checker.warn_of_unused_filters(&filters_at);
    checker.warn_of_blind_shadows(&canaries, &listeners);

    let config = Config {
        listeners,
        filters,
        canaries: canaries.into_iter().map(|canary| canary.value).collect(),
        variants: std::mem::take(&mut checker.variants).into_found(),
        clusters,
        trusted_keys,
        admin,
        locality: checker.locality.clone(),
        workers: checker.number_if_given(file.workers, bounds::WORKERS).map(|Count(count)| whole(count)),
        drain_timeout: checker.duration(file.drain_timeout, bounds::DRAIN_TIMEOUT),
        overload: checker.overload(file.overload),
    };
    if log.has_errors() {
        return None;
    }
    checker.warn_of_what_anybody_can_change(&config);
    Some((config, checker.places))
}

/// What checking needs to know everywhere.
pub(crate) struct Checker<'a> {
    pub(crate) log: &'a Collector<'a>,
    pub(crate) folder: &'a Path,
    footprint: &'a RefCell<Footprint>,
    /// Each filter's name, in order, and whether a chain has it.
    filters: IndexMap<String, bool>,
    clusters: indexmap::IndexSet<String>,
    /// Those that speak TLS.
    encrypted: HashSet<String>,
    trusted_keys: indexmap::IndexSet<String>,
    variants: Variants,
    /// Where the proxy is.
    locality: Locality,
    /// The system's certificate authorities, once anybody needs them.
    installed_authorities: OnceCell<Result<Authorities, AuthoritiesError>>,
    places: Places,
}

impl<'a> Checker<'a> {
    /// For a file that has settings of filters and names of clusters as a configuration has them, and nothing else.
    #[cfg(feature = "kit")]
    pub(crate) fn of_settings(
        log: &'a Collector<'a>,
        folder: &'a Path,
        footprint: &'a RefCell<Footprint>,
    ) -> Checker<'a> {
        let (filters, clusters, trusted_keys, variants, places) = Default::default();
        let locality = Locality::default();
        let installed_authorities = OnceCell::new();
        Checker {
            log,
            folder,
            footprint,
            filters,
            clusters,
            encrypted: HashSet::new(),
            trusted_keys,
            variants,
            locality,
            installed_authorities,
            places,
        }
    }

    /// The clusters that the file has from here on.
    #[cfg(feature = "kit")]
    pub(crate) fn know_clusters(&mut self, clusters: impl Iterator<Item = String>) {
        self.clusters = clusters.collect();
    }
}

impl Checker<'_> {
    fn admin(&mut self, raw: Located<raw::Admin>, listeners: &[Listener]) -> Option<Admin> {
        let address = self.required(raw.value.address, "address", raw.span)?;
        if !address.value.0.ip().is_loopback() {
            self.log.error_with_hint(
                address.span,
                "the admin listener is not on loopback",
                "whoever reaches it can read the configuration: use 127.0.0.1 or \"[::1]\"",
            );
        }
        let taken = listeners
            .iter()
            .find(|listener| listener.address == address.value.0 && address.value.0.port() != 0);
        if let Some(listener) = taken {
            let message = format!("the listener `{}` has this address", listener.name);
            self.log.error_with_hint(address.span, message, "choose another port");
        }
        self.places.admin_address = Some(address.span);
        Some(Admin { address: address.value.0 })
    }

    fn warn_of_unused_filters(&self, places: &[Span]) {
        for ((name, _), &place) in self.filters.iter().zip(places).filter(|((_, used), _)| !**used) {
            let hint = format!("add it to a listener: `filters: [{name}]`");
            self.log.warning(place, format!("the filter `{name}` is in no chain, so it never runs"), hint);
        }
    }

    /// A field that the file must give. `parent` is what has it.
    pub(crate) fn required<T>(&self, field: Field<T>, name: &str, parent: Span) -> Option<Located<T>> {
        if field.is_absent() {
            self.log.error(parent, format!("the field `{name}` is missing here"));
        }
        field.given()
    }

    /// A name that shows in metrics and logs.
    fn name(&self, name: &Located<String>) {
        let text = &name.value;
        if text.is_empty() {
            self.log.error(name.span, "a name cannot be empty");
        } else if text.len() > bounds::MAX_NAME_BYTES {
            self.log.error(name.span, format!("a name has at most {} bytes", bounds::MAX_NAME_BYTES));
        } else if text.chars().any(char::is_control) {
            self.log.error(name.span, "a name has no line breaks or other control characters in it");
        }
    }

    /// The index of the cluster that `name` means.
    fn cluster_index(&self, name: &Located<String>) -> Option<usize> {
        let index = self.clusters.get_index_of(&name.value);
        if index.is_none() {
            self.log.error_suggesting(name.span, format!("there is no cluster `{}`", name.value), || {
                suggest::remedy(&name.value, "clusters", self.clusters.iter().map(String::as_str))
            });
        }
        index
    }

    fn number<T: Quantity>(&self, field: Field<Text<T>>, bound: Bound<T>) -> T {
        self.number_if_given(field, bound).unwrap_or(bound.default)
    }

    pub(crate) fn number_if_given<T: Quantity>(&self, field: Field<Text<T>>, bound: Bound<T>) -> Option<T> {
        field.given().map(|number| self.in_range(number, bound))
    }

    fn in_range<T: Quantity>(&self, number: Located<Text<T>>, bound: Bound<T>) -> T {
        let Located { value: Text(value), span } = number;
        let complaint = match value {
            _ if value < bound.min => "too small",
            _ if value > bound.max => "too large",
            _ => return value,
        };
        self.log.error_with_hint(
            span,
            format!("`{}` is {complaint}", value.write()),
            format!("the range is {}", bound.range()),
        );
        bound.default
    }

    fn duration(&self, field: Field<Text<Duration>>, bound: Bound<Duration>) -> Duration {
        self.number(field, bound)
    }

    fn bytes(&self, field: Field<Text<Size>>, bound: Bound<Size>) -> usize {
        whole(self.number(field, bound).0)
    }

    fn count(&self, field: Field<Text<Count>>, bound: Bound<Count>) -> usize {
        whole(self.number(field, bound).0)
    }
}

/// Every bound of a size or count is far below what `usize` holds on the machines that this runs on.
pub(crate) fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The entries of a mapping whose keys are names. What is invalid is left out: it is recorded already.
pub(crate) fn entries<K, V>(field: Field<Map<K, V>>) -> Vec<(Located<K>, Field<V>)> {
    let entries = field.value().map_or_else(Vec::new, |Map(entries)| entries);
    entries.into_iter().filter_map(|(key, value)| Some((key.given()?, value))).collect()
}

/// The items of a list. What is invalid is left out: it is recorded already.
pub(crate) fn items<T>(list: Vec<Field<T>>) -> impl Iterator<Item = Located<T>> {
    list.into_iter().filter_map(Field::given)
}

/// Finds what is there twice.
struct Unique<'a, T> {
    seen: HashMap<T, Span>,
    log: &'a Collector<'a>,
}

impl<'a, T: std::hash::Hash + Eq> Unique<'a, T> {
    fn new(log: &'a Collector<'a>) -> Self {
        Unique { seen: HashMap::new(), log }
    }

    /// Records a problem with `message` if `value` was there before.
    fn take(&mut self, value: T, span: Span, message: impl FnOnce() -> String) {
        match self.seen.get(&value) {
            None => {
                self.seen.insert(value, span);
            }
            Some(&first) => {
                let line = self.log.line(first);
                self.log.error_with_hint(span, message(), format!("the first one is on line {line}"));
            }
        }
    }
}
