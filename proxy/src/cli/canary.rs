//! `tidegate canary`: what the canaries of a running proxy do, and a word to them.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::top::address;
use super::{Format, print};
use crate::admin::client::Client;
use crate::canary::{Next, Report, State, VersionReport};
use crate::config::Parse as _;
use crate::config::model::Percent;
use crate::terminal::many;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate canary list
  tidegate canary set limits 25%
  tidegate canary rollback limits --admin 127.0.0.1:9901
  tidegate canary list --format json | jq '.canaries[] | select(.state == \"rolled_back\")'

Next: tidegate canary list";

#[derive(Debug, Args)]
pub(super) struct CanaryArgs {
    #[command(subcommand)]
    command: CanaryCommand,
    /// Where the proxy's admin listener is
    #[arg(long, global = true, value_name = "ADDRESS", default_value = "127.0.0.1:9901", value_parser = address)]
    admin: String,
    /// How it is said
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum CanaryCommand {
    /// Show every filter that has a second version, and what both did
    #[command(
        after_help = "Example:\n  tidegate canary list --format json\n\nNext: tidegate canary set FILTER 25%, promote FILTER or rollback FILTER"
    )]
    List,
    /// Give the second version this share of the exchanges, also where it was rolled back
    #[command(after_help = "Example:\n  tidegate canary set limits 25%\n\nNext: tidegate canary list")]
    Set {
        /// The filter
        filter: String,
        /// The share, such as 25% or 0.5%
        #[arg(value_parser = percent)]
        percent: String,
    },
    /// Give the second version no exchange any more
    #[command(after_help = "Example:\n  tidegate canary rollback limits\n\nNext: tidegate canary list")]
    Rollback {
        /// The filter
        filter: String,
    },
    /// Go on to the next step now, or to all exchanges where there is none
    #[command(after_help = "Example:\n  tidegate canary promote limits\n\nNext: tidegate canary list")]
    Promote {
        /// The filter
        filter: String,
    },
    /// Take no further step by itself
    #[command(after_help = "Example:\n  tidegate canary pause limits\n\nNext: tidegate canary resume limits")]
    Pause {
        /// The filter
        filter: String,
    },
    /// Take steps by itself again
    #[command(after_help = "Example:\n  tidegate canary resume limits\n\nNext: tidegate canary list")]
    Resume {
        /// The filter
        filter: String,
    },
}

fn percent(text: &str) -> Result<String, String> {
    let Percent(share) = Percent::parse(text).map_err(|refusal| refusal.to_string().replace('\n', "; "))?;
    if share > Percent::ALL.0 {
        return Err("the range is 0% to 100%".to_owned());
    }
    Ok(text.trim_end_matches('%').trim_end().to_owned())
}

/// The page that has all of them.
const PAGE: &str = "/canaries";

/// What it has.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    canaries: Vec<Report>,
}

/// Asks, or says, and prints what came of it.
///
/// # Errors
///
/// Nobody answers, there is no such canary, or what is said of it makes no sense now.
pub(super) fn perform(arguments: CanaryArgs) -> anyhow::Result<ExitCode> {
    let CanaryArgs { command, admin, format } = arguments;
    let client = Client::new(&admin);
    let (filter, order) = match command {
        CanaryCommand::List => return list(&client, format),
        CanaryCommand::Set { filter, percent } => (filter, format!("percent={percent}")),
        CanaryCommand::Rollback { filter } => (filter, "rollback".to_owned()),
        CanaryCommand::Promote { filter } => (filter, "promote".to_owned()),
        CanaryCommand::Pause { filter } => (filter, "pause".to_owned()),
        CanaryCommand::Resume { filter } => (filter, "resume".to_owned()),
    };
    let path = format!("/canaries/{}?{order}", utf8_percent_encode(&filter, NON_ALPHANUMERIC));
    let text = ask(&client, Method::POST, &path)?;
    match format {
        Format::Json => print(text.trim_end())?,
        Format::Text => {
            let report: Report = serde_json::from_str(&text).map_err(|_| client.no_such_page(PAGE))?;
            print(table(&[report]).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    let text = ask(client, Method::GET, PAGE)?;
    let page: Page = serde_json::from_str(&text).map_err(|_| client.no_such_page(PAGE))?;
    match format {
        Format::Json => print(text.trim_end())?,
        Format::Text => {
            if page.canaries.is_empty() {
                print("no filter has a canary")?;
            } else {
                print(table(&page.canaries).trim_end())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(client: &Client, method: Method, path: &str) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("nobody can be asked")?;
    let (status, body) = runtime.block_on(client.ask(method, path))?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status != StatusCode::OK && path == PAGE {
        return Err(client.refused(path, status).into());
    }
    if status != StatusCode::OK {
        bail!("{}", text.trim_end());
    }
    Ok(text)
}

/// A line for each canary and each of its versions.
fn table(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let state = match report.state {
            State::Running => "running".to_owned(),
            State::Paused => "paused".to_owned(),
            State::Promoted => "promoted: make it the first in the configuration".to_owned(),
            State::RolledBack => match &report.rolled_back {
                Some(why) => {
                    format!("rolled back from {}%, {}: {}", why.from_percent, why.reason, why.details)
                }
                None => "rolled back".to_owned(),
            },
        };
        text += &format!("{}  {}  {}%  {state}\n", report.filter, report.mode, report.percent);
        if let Some(next) = &report.next {
            text += &format!("  next       {}\n", step(next));
        }
        for (name, version) in [("stable", &report.stable), ("candidate", &report.candidate)] {
            text += &format!("  {name:<10} {}\n", numbers(version));
        }
        if let Some(shadow) = &report.shadow {
            let results: Vec<_> = shadow.iter().map(|(result, count)| format!("{result} {count}")).collect();
            text += &format!("  shadow     {}\n", results.join(", "));
        }
    }
    text
}

/// When the next step comes, and what it waits for.
fn step(next: &Next) -> String {
    let mut text = format!("{}% in {:.0}s at the earliest", next.percent, next.in_seconds);
    for (version, missing) in [("stable", next.missing_stable), ("candidate", next.missing_candidate)] {
        if missing > 0 {
            text += &format!(", when {version} has seen {missing} more");
        }
    }
    text
}

fn numbers(version: &VersionReport) -> String {
    let VersionReport { exchanges, server_errors, denials, faults, latency_ms, instructions } = version;
    let mut text = format!(
        "{}, {server_errors} with 5xx, {denials} denied, {faults} failed on",
        many(*exchanges, "exchange")
    );
    if let Some(latency) = latency_ms {
        text += &format!(", {latency:.2} ms");
    }
    if let Some(instructions) = instructions {
        text += &format!(", {}", many(*instructions, "instruction"));
    }
    text
}
