//! `tidegate dev`: a filter while it is written.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::top::address;
use super::{Format, print};
use crate::dev::{self, Cluster, Form, Options, Source, run};

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate dev                                    the filter of the crate in this folder, before a sample upstream
  tidegate dev --upstream 127.0.0.1:9000          before a service of yours
  tidegate dev filter.wasm --config limits.yaml   a module in any language: it is swapped in when it is built again
  tidegate dev --cluster auth=127.0.0.1:9001      with a service that the filter asks; without an address, the sample one
  tidegate dev --record shop.jsonl                records all of it, to be replayed against other builds
  tidegate dev --format json | jq 'select(.event == \"exchange\")'

Next: tidegate filter test, and tidegate filter build for the module that ships";

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// The folder of the filter's crate, or its module
    #[arg(default_value = ".")]
    filter: PathBuf,
    /// What the filter is configured with: a file with what goes under `config` [default: config.yaml or config.json in
    /// the crate's folder, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What else the filter is given: a file with what goes under its name in a proxy's configuration (`limits`,
    /// `capabilities`, `env`, `vm_config` and so on), `clusters` and `buffer_limit` [default: dev.yaml in the crate's folder,
    /// where there is one]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// A service that the filter asks by this name; without an address it is the sample one. May be given several times
    #[arg(long = "cluster", value_name = "NAME[=HOST:PORT]", value_parser = cluster)]
    clusters: Vec<Cluster>,
    /// Where to listen; where the port is taken another one is found
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The service behind the proxy [default: a sample one, which says what it received]
    ///
    /// Some paths ask the sample one for another answer:
    ///
    ///   /status/503            with this status
    ///   /delay/200ms           after this time
    ///   /headers?x-a=1&x-b=2   with these headers too
    ///   /trailers              with a trailer, for `te: trailers`
    ///   /echo                  the request's body and trailers, as they come
    ///   /stream/5?every=200ms  in so many pieces; events for `accept: text/event-stream`
    ///   /bytes/64KiB           a body of this size
    ///   /cut                   a body that breaks off
    #[arg(long, value_name = "HOST:PORT", value_parser = address, verbatim_doc_comment)]
    upstream: Option<String>,
    /// Record what the filter sees and answers, for `tidegate filter replay`. Secrets are masked; what they were is
    /// kept in FILE.secrets, which stays with you
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record secrets as they are
    #[arg(long, requires = "record")]
    keep_secrets: bool,
    /// The profile of cargo; `release` is what ships, and takes longer to build
    #[arg(long, value_name = "NAME", default_value = "dev")]
    profile: String,
    /// How it is said; what cargo and rustc say goes to stderr
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print the JSON Schema of dev.yaml, and do nothing else
    #[arg(long)]
    schema: bool,
}

/// Develops until Ctrl-C.
///
/// # Errors
///
/// There is no filter, or no way to build or serve it.
pub(super) fn perform(arguments: DevArgs) -> anyhow::Result<()> {
    let DevArgs {
        filter,
        config,
        settings,
        clusters,
        listen,
        upstream,
        record,
        keep_secrets,
        profile,
        format,
        schema,
    } = arguments;
    if schema {
        return print(&format!("{:#}", dev::schema()));
    }
    let is_module = filter.extension().is_some_and(|extension| extension == "wasm") || filter.is_file();
    let source = match is_module {
        true => Source::Module(filter),
        false => Source::Crate { folder: filter, profile },
    };
    let form = match format {
        Format::Text => Form::Text,
        Format::Json => Form::Json,
    };
    run(Options {
        source,
        config,
        settings,
        clusters,
        listen,
        upstream,
        record,
        keeps_secrets: keep_secrets,
        form,
    })
}

/// `NAME=HOST:PORT`, or `NAME`. A name may have `=` in it, an address has none.
fn cluster(text: &str) -> Result<Cluster, String> {
    let (name, at) = match text.rsplit_once('=') {
        Some((name, at)) => (name, Some(address(at)?)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("give a name, such as auth=127.0.0.1:9001".to_owned());
    }
    Ok(Cluster { name: name.to_owned(), address: at })
}
