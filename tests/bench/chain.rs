//! Which filters a contender runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;

/// A chain of filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Chain {
    /// So many filters that read one header and add one, each way.
    Headers(usize),
    /// The four that are shipped, each with something to do.
    Shipped,
}

/// One filter of a chain, as both hosts are configured with it.
pub(crate) struct Filter {
    pub(crate) name: String,
    /// The module, as tidegate names it: a file, or a filter that is shipped.
    pub(crate) module: String,
    /// The module's file, for the other host.
    pub(crate) file: PathBuf,
    /// JSON.
    pub(crate) config: &'static str,
}

/// The shipped filters, in the order of the chain: what a request costs that all of them look at and let through. Rate
/// limiting by a header, authorization by path and API key, an experiment that is sticky by a cookie, no fault.
const SHIPPED: [(&str, &str); 4] = [
    ("authz", include_str!("configurations/authz.json")),
    ("rate-limit", include_str!("configurations/rate-limit.json")),
    ("ab-route", include_str!("configurations/ab-route.json")),
    ("fault", include_str!("configurations/fault.json")),
];

impl Chain {
    pub(crate) const NONE: Chain = Chain::Headers(0);

    /// What a run measures unless it is told otherwise.
    pub(crate) const USUAL: [Chain; 4] = [Chain::NONE, Chain::Headers(1), Chain::Headers(5), Chain::Shipped];

    /// How many of its filters mark requests and responses.
    pub(crate) fn marks(self) -> usize {
        match self {
            Chain::Headers(count) => count,
            Chain::Shipped => 0,
        }
    }

    /// Its filters; `headers` is the module of those that mark, and `scratch` where those that are shipped are put.
    pub(crate) fn filters(self, headers: &Path, scratch: &Path) -> anyhow::Result<Vec<Filter>> {
        match self {
            Chain::Headers(count) => {
                anyhow::ensure!(
                    count == 0 || headers.is_file(),
                    "no filter at {} (see tests/bench/README.md)",
                    headers.display()
                );
                let module = headers.to_string_lossy().into_owned();
                let filter = |n| Filter {
                    name: format!("headers-{n}"),
                    module: module.clone(),
                    file: headers.to_owned(),
                    config: "{}",
                };
                Ok((1..=count).map(filter).collect())
            }
            Chain::Shipped => SHIPPED.iter().map(|(name, config)| shipped(name, config, scratch)).collect(),
        }
    }
}

fn shipped(name: &str, config: &'static str, scratch: &Path) -> anyhow::Result<Filter> {
    let module = tidegate_filter_bundle::module(name).with_context(|| format!("{name} is not shipped"))?;
    let file = scratch.join(name).with_extension("wasm");
    std::fs::write(&file, module).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Filter { name: name.to_owned(), module: format!("builtin:{name}"), file, config: config.trim() })
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Chain::NONE => f.write_str("no filter"),
            Chain::Headers(1) => f.write_str("1 filter"),
            Chain::Headers(count) => write!(f, "{count} filters"),
            Chain::Shipped => f.write_str("the shipped four"),
        }
    }
}

impl FromStr for Chain {
    type Err = String;

    fn from_str(text: &str) -> Result<Chain, String> {
        match text {
            "shipped" => Ok(Chain::Shipped),
            _ => text
                .parse()
                .map(Chain::Headers)
                .map_err(|_| "expected a number of filters, or `shipped`".to_owned()),
        }
    }
}
