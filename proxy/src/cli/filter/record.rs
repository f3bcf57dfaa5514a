//! `tidegate filter record`: a recording of a running proxy's filter.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::print;
use super::super::top::address;
use super::many;
use crate::admin::client::Client;
use crate::terminal::grouped;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate filter record authz
  tidegate filter record authz --exchanges 100 --match '{\"path\":{\"prefix\":\"/admin\"}}' --output denied.jsonl
  tidegate filter record authz --secrets keep --admin 127.0.0.1:9901

Next: tidegate filter replay authz.jsonl authz.wasm";

#[derive(Debug, Args)]
pub(in crate::cli) struct RecordArgs {
    /// The filter, as the configuration calls it
    filter: String,
    /// How many exchanges to take
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    exchanges: u64,
    /// Which exchanges: what a route's `match` has, in one line [default: all]
    #[arg(long, value_name = "MATCH")]
    r#match: Option<String>,
    /// What becomes of secrets
    #[arg(long, value_enum, default_value_t = SecretsWish::Mask)]
    secrets: SecretsWish,
    /// Where to write [default: FILTER.jsonl]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the proxy's admin listener is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901", value_parser = address)]
    admin: String,
}

/// What becomes of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SecretsWish {
    /// Other words stand in their place, always the same for the same secret
    Mask,
    /// They are recorded: what depends on them is replayed exactly
    Keep,
}

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

pub(super) fn perform(arguments: &RecordArgs) -> anyhow::Result<ExitCode> {
    let RecordArgs { filter, exchanges, r#match, secrets, output, admin } = arguments;
    let output = output.clone().unwrap_or_else(|| PathBuf::from(format!("{filter}.jsonl")));
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let secrets = if *secrets == SecretsWish::Keep { "keep" } else { "mask" };
    let mut path = format!("/recordings/{}?exchanges={exchanges}&secrets={secrets}", encoded(filter));
    if let Some(matches) = r#match {
        path.push_str(&format!("&match={}", encoded(matches)));
    }
    let client = Client::new(admin);
    let mut tape = Tape::new(output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let followed = runtime.block_on(async {
        tokio::select! {
            followed = client.follow(&path, |piece| tape.take(&piece)) => followed.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    });
    tape.finish()?;
    match followed? {
        Some((StatusCode::OK, _)) | None => {}
        Some((StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::CONFLICT, why)) => {
            bail!("{}", String::from_utf8_lossy(&why).trim_end())
        }
        Some((status, _)) => return Err(client.refused("/recordings", status).into()),
    }
    let Tape { exchanges, bytes, output, .. } = tape;
    if bytes == 0 {
        bail!("nothing was recorded: no exchange matched");
    }
    let output = output.display();
    print(&format!(
        "{output}: {}, {} KiB{}\nnext: tidegate filter replay {output} FILTER.wasm",
        many(exchanges, "exchange"),
        grouped(bytes.div_ceil(1024)),
        if secrets == "mask" { ", secrets masked" } else { ", SECRETS INCLUDED" },
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What has come, and where it goes.
struct Tape {
    output: PathBuf,
    file: Option<std::fs::File>,
    failed: Option<std::io::Error>,
    exchanges: u64,
    bytes: u64,
    /// The end of the last piece: what is looked for may begin there.
    tail: Vec<u8>,
    shown: Instant,
    shows: bool,
}

/// What begins an exchange in a recording. It cannot be in a text there, where quotes are escaped.
const OPEN: &[u8] = br#""op":{"open":"#;

impl Tape {
    fn new(output: PathBuf) -> Tape {
        let shows = std::io::stderr().is_terminal();
        let (file, failed, tail) = (None, None, Vec::new());
        Tape { output, file, failed, exchanges: 0, bytes: 0, tail, shown: Instant::now(), shows }
    }

    /// Writes a piece. Whether more is wanted.
    fn take(&mut self, piece: &[u8]) -> bool {
        self.bytes += piece.len() as u64;
        self.tail.extend_from_slice(piece);
        self.exchanges += self.tail.windows(OPEN.len()).filter(|window| *window == OPEN).count() as u64;
        self.tail.drain(..self.tail.len().saturating_sub(OPEN.len() - 1));
        if self.shows && self.shown.elapsed() >= PROGRESS_INTERVAL {
            self.shown = Instant::now();
            let so_far = many(self.exchanges, "exchange");
            let size = grouped(self.bytes / 1024);
            let _ = write!(std::io::stderr(), "\r\x1b[K{so_far}, {size} KiB; Ctrl-C ends it");
        }
        let written = self.file().and_then(|mut file| file.write_all(piece));
        self.failed = written.err();
        self.failed.is_none()
    }

    /// The file, which is made when there is something to write: a refusal leaves a former recording alone.
    fn file(&mut self) -> std::io::Result<&std::fs::File> {
        match self.file {
            Some(ref file) => Ok(file),
            None => {
                let mut options = OpenOptions::new();
                let file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.output)?;
                Ok(self.file.insert(file))
            }
        }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        if self.shows {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        match self.failed.take() {
            Some(error) => Err(error).with_context(|| format!("cannot write {}", self.output.display())),
            None => Ok(()),
        }
    }
}
