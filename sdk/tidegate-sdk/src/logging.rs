//! The macros of [`log`], and panics, to the host's log.

use std::fmt::Write as _;
use std::panic;

use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::host;

/// The ABI's level above `error`.
const CRITICAL: u32 = 5;

/// Which lines are shown is the host's choice, so all are handed over.
pub(crate) fn start() {
    if log::set_logger(&HostLog).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
    // "panicked at", the place, a line break, the message.
    panic::set_hook(Box::new(|panic| host::log(CRITICAL, &panic.to_string().replacen('\n', " ", 1))));
}

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        host::log(level, &line(record));
    }

    fn flush(&self) {}
}

/// The message, then the record's key-values as `key=value`.
fn line(record: &Record<'_>) -> String {
    let mut line = record.args().to_string();
    // Writing to a string does not fail.
    let _ = record.key_values().visit(&mut Pairs(&mut line));
    line
}

struct Pairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let value = value.to_string();
        let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
        if !value.is_empty() && value.chars().all(is_plain) {
            write!(self.0, " {key}={value}")?;
        } else {
            write!(self.0, " {key}={value:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_values_follow_the_message_and_are_quoted_where_they_have_to_be() {
        let pairs: [(&str, &str); 4] =
            [("rule", "no-admin"), ("path", "/a b"), ("empty", ""), ("quote", "\"\n")];
        let record = Record::builder().args(format_args!("denied")).key_values(&pairs).build();
        assert_eq!(line(&record), r#"denied rule=no-admin path="/a b" empty="" quote="\"\n""#);
    }
}
