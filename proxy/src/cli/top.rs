//! `tidegate top`: what the filters of a running proxy cost.

use std::time::Duration;

use clap::Args;

use super::Format;
use crate::config::{Parse, Quantity};
use crate::top;

/// Between two looks: less would measure little but the looking.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate top
  tidegate top --admin 127.0.0.1:9901 --interval 5s
  tidegate top --once --format json | jq '.filters[] | {name, cpu}'

Next: bound what costs too much by the filter's `limits` in the configuration";

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Where the proxy's admin listener is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901", value_parser = address)]
    admin: String,
    /// Time between two looks, from 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Look for one interval, print that and end
    #[arg(long)]
    once: bool,
    /// How it is said: as text on a terminal, or with --once as a table; as JSON, one line each interval
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl TopArgs {
    pub(super) fn options(self) -> top::Options {
        let TopArgs { admin, interval, once, format } = self;
        let format = match format {
            Format::Text => top::Format::Text,
            Format::Json => top::Format::Json,
        };
        top::Options { admin, interval, once, format }
    }
}

/// `HOST:PORT`, as it is or as a URL that somebody copied.
pub(super) fn address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    match bare.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(bare.to_owned()),
        _ => Err("give a host and a port, such as 127.0.0.1:9901".to_owned()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = Duration::parse(text).map_err(|refusal| refusal.to_string().replace('\n', "; "))?;
    if INTERVALS.contains(&time) {
        return Ok(time);
    }
    Err(format!("the range is {} to {}", INTERVALS.start().write(), INTERVALS.end().write()))
}
