//! `tidegate filter record`: a recording of a running proxy's filter.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::print;
use super::super::top::address;
use super::progress::Progress;
use crate::admin::client::Client;
use crate::config::{Parse as _, Size};
use crate::recording::{self, Line, Summary};
use crate::terminal::{grouped, many};

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
    /// How large it may become: it ends there, and says so [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<Size>,
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

fn size(text: &str) -> Result<Size, String> {
    Size::parse(text).map_err(|refusal| refusal.to_string())
}

/// What becomes of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SecretsWish {
    /// Other words stand in their place, always the same for the same secret
    Mask,
    /// They are recorded: what depends on them is replayed exactly
    Keep,
}

pub(super) fn perform(arguments: &RecordArgs) -> anyhow::Result<ExitCode> {
    let RecordArgs { filter, exchanges, max_size, r#match, secrets, output, admin } = arguments;
    let output = output.clone().unwrap_or_else(|| PathBuf::from(format!("{filter}.jsonl")));
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let is_masked = *secrets == SecretsWish::Mask;
    let secrets = if is_masked { "mask" } else { "keep" };
    let mut path = format!("/recordings/{}?exchanges={exchanges}&secrets={secrets}", encoded(filter));
    if let Some(Size(bytes)) = max_size {
        path.push_str(&format!("&bytes={bytes}"));
    }
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
    let Tape { exchanges, bytes, output, end, failed, progress, .. } = tape;
    drop(progress);
    if let Some(error) = failed {
        return Err(error).with_context(|| format!("cannot write {}", output.display()));
    }
    match followed? {
        Some((StatusCode::OK, _)) | None => {}
        Some((StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::CONFLICT, why)) => {
            bail!("{}", String::from_utf8_lossy(&why).trim_end())
        }
        Some((status, _)) => return Err(client.refused("/recordings", status).into()),
    }
    let cut = cut_in(&end);
    if exchanges == 0 {
        bail!("nothing was recorded: {}", cut.as_deref().unwrap_or("no exchange matched"));
    }
    let summary = Summary { file: &output, exchanges, bytes, is_masked, cut: cut.as_deref() };
    print(&summary.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// What has come, and where it goes.
struct Tape {
    output: PathBuf,
    file: Option<File>,
    failed: Option<io::Error>,
    exchanges: u64,
    bytes: u64,
    /// The end of what has come: what is looked for may be cut between two pieces.
    end: Vec<u8>,
    progress: Progress,
}

/// What begins an exchange in a recording. It cannot be in a text there, where quotes are escaped.
const OPEN: &[u8] = br#""op":{"open":"#;

/// How much of the end is kept: a last line that says why it is the last is shorter.
const END: usize = 1024;

impl Tape {
    fn new(output: PathBuf) -> Tape {
        let progress = Progress::begin(&progress(0, 0));
        Tape { output, file: None, failed: None, exchanges: 0, bytes: 0, end: Vec::new(), progress }
    }

    /// Writes a piece. Whether more is wanted.
    fn take(&mut self, piece: &[u8]) -> bool {
        self.bytes += piece.len() as u64;
        // What is new begins where the first that may be cut does.
        let looked_at = self.end.len().saturating_sub(OPEN.len() - 1);
        self.end.extend_from_slice(piece);
        self.exchanges +=
            self.end[looked_at..].windows(OPEN.len()).filter(|window| *window == OPEN).count() as u64;
        self.end.drain(..self.end.len().saturating_sub(END));
        self.progress.say(|| progress(self.exchanges, self.bytes));
        let written = self.file().and_then(|mut file| file.write_all(piece));
        self.failed = written.err();
        self.failed.is_none()
    }

    /// The file, which is made when there is something to write: a refusal leaves a former recording alone.
    fn file(&mut self) -> io::Result<&File> {
        match self.file {
            Some(ref file) => Ok(file),
            None => Ok(self.file.insert(recording::create(&self.output)?)),
        }
    }
}

fn progress(exchanges: u64, bytes: u64) -> String {
    format!("{}, {} KiB; Ctrl-C ends it", many(exchanges, "exchange"), grouped(bytes / 1024))
}

/// Why a recording that ends so ended before its time, if its last line says that.
fn cut_in(end: &[u8]) -> Option<String> {
    let last = end.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()?;
    match serde_json::from_slice(last).ok()? {
        Line::Cut { reason } => Some(reason),
        Line::Recording(_) | Line::Instance { .. } | Line::Step { .. } | Line::Gone { .. } => None,
    }
}
