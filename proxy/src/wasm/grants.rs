//! What a filter may do, asked at every hostcall that depends on it, and what is said where it may not.
//!
//! A filter whose configuration says nothing has no [`Grants`], and asking costs it one comparison. A denial is counted
//! each time, and logged at most once a minute for each filter and each capability, by all workers together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use smallvec::SmallVec;

use super::host::Host;
use crate::config::model::{self, BodyAccess, Capabilities, LogFloor, Names, header_name};

/// Between two log lines about one capability of one filter, in seconds.
const LOG_INTERVAL: u64 = 60;

/// How much of a name that a guest gives is logged, in bytes.
const MAX_SHOWN: usize = 128;

/// What can be granted or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the name of its field in the configuration")]
pub enum Capability {
    Hostcalls,
    Clusters,
    HeadersRead,
    HeadersWrite,
    BodyRead,
    BodyWrite,
    PropertiesRead,
    PropertiesWrite,
    SharedData,
    Metrics,
    Reply,
}

impl Capability {
    /// How many there are.
    pub const COUNT: usize = Capability::ALL.len();

    /// Every one.
    pub const ALL: &'static [Capability] = &[
        Capability::Hostcalls,
        Capability::Clusters,
        Capability::HeadersRead,
        Capability::HeadersWrite,
        Capability::BodyRead,
        Capability::BodyWrite,
        Capability::PropertiesRead,
        Capability::PropertiesWrite,
        Capability::SharedData,
        Capability::Metrics,
        Capability::Reply,
    ];

    /// Its field below `capabilities`, and its label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Capability::Hostcalls => "hostcalls",
            Capability::Clusters => "clusters",
            Capability::HeadersRead => "headers.read",
            Capability::HeadersWrite => "headers.write",
            Capability::BodyRead => "body.read",
            Capability::BodyWrite => "body.write",
            Capability::PropertiesRead => "properties.read",
            Capability::PropertiesWrite => "properties.write",
            Capability::SharedData => "shared_data",
            Capability::Metrics => "metrics",
            Capability::Reply => "reply",
        }
    }

    /// What a filter without it may not do.
    fn deed(self) -> &'static str {
        match self {
            Capability::Hostcalls => "call",
            Capability::Clusters => "call the cluster",
            Capability::HeadersRead => "read the header",
            Capability::HeadersWrite => "write the header",
            Capability::BodyRead => "read bodies",
            Capability::BodyWrite => "write bodies",
            Capability::PropertiesRead => "read the property",
            Capability::PropertiesWrite => "write the property",
            Capability::SharedData => "use the shared data of",
            Capability::Metrics => "define the metric",
            Capability::Reply => "answer requests itself",
        }
    }
}

/// What one filter may do, on all workers.
#[derive(Debug)]
pub(crate) struct Grants {
    capabilities: Capabilities,
    reports: [Report; Capability::COUNT],
}

/// When a capability's denials were logged.
#[derive(Debug, Default)]
struct Report {
    /// In seconds since 1970; 0 for never.
    last: AtomicU64,
    /// How many were denied since, and not logged.
    silent: AtomicU64,
}

impl Report {
    /// Whether a denial is logged now, and how many were not logged since the last that was.
    fn take(&self, now: u64) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed);
        let is_due = last == 0 || now < last || now - last >= LOG_INTERVAL;
        // Of several workers one logs.
        if is_due && self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Some(self.silent.swap(0, Ordering::Relaxed));
        }
        self.silent.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Grants {
    pub(crate) fn new(capabilities: Capabilities) -> Grants {
        Grants { capabilities, reports: Default::default() }
    }

    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether a capability is granted of this name, where it has to do with names.
    pub(crate) fn allows(&self, capability: Capability, name: &[u8]) -> bool {
        let granted = &self.capabilities;
        match capability {
            Capability::Hostcalls => granted.hostcalls.as_ref().is_none_or(|names| names.contains(name)),
            Capability::Clusters => granted.clusters.contains(name),
            Capability::HeadersRead => has_header(&granted.headers.read, name),
            Capability::HeadersWrite => has_header(&granted.headers.write, name),
            Capability::BodyRead => granted.body >= BodyAccess::Read,
            Capability::BodyWrite => granted.body >= BodyAccess::Write,
            Capability::PropertiesRead => granted.properties.read.contains(name),
            Capability::PropertiesWrite => granted.properties.write.contains(name),
            Capability::SharedData => granted.shared_data.contains(name),
            Capability::Metrics => granted.metrics.contains(name),
            Capability::Reply => granted.reply,
        }
    }

    /// Whether the filter may call a foreign function: it or the hostcall that calls them is not kept out.
    fn allows_function(&self, name: &[u8]) -> bool {
        self.allows(Capability::Hostcalls, name)
            || self.allows(Capability::Hostcalls, b"proxy_call_foreign_function")
    }

    /// Whether the filter may answer requests itself, by any name of that.
    fn allows_replies(&self) -> bool {
        self.capabilities.reply && self.allows(Capability::Hostcalls, b"proxy_send_local_response")
    }
}

/// Names of headers have no case, and lists have them in lower case.
fn has_header(names: &Names, name: &[u8]) -> bool {
    let is_plain = |byte: &u8| !byte.is_ascii_uppercase();
    if names.is_all() || (name.iter().all(is_plain) && name != b"host") {
        return names.contains(name);
    }
    match std::str::from_utf8(name) {
        Ok(text) => names.contains(header_name(text).as_bytes()),
        // No header has such a name, so nothing follows from it.
        Err(_) => false,
    }
}

/// What can be asked of the filter at hand. Everything is granted to one whose configuration says nothing.
impl Host {
    /// What the filter at hand may do; none if it may do everything.
    pub(crate) fn grants(&self) -> Option<&Grants> {
        self.root().grants.as_deref()
    }

    /// Whether the filter at hand may do something. That it may not is counted and logged.
    pub(crate) fn may(&self, capability: Capability, name: &[u8]) -> bool {
        self.grants().is_none_or(|grants| grants.allows(capability, name) || self.deny(capability, name))
    }

    /// Whether it may call a foreign function.
    pub(crate) fn may_call_function(&self, name: &[u8]) -> bool {
        self.grants()
            .is_none_or(|grants| grants.allows_function(name) || self.deny(Capability::Hostcalls, name))
    }

    /// Whether it may answer a request.
    pub(crate) fn may_reply(&self) -> bool {
        self.grants().is_none_or(|grants| grants.allows_replies() || self.deny(Capability::Reply, b""))
    }

    /// Whether lines of this level are taken from it.
    pub(crate) fn log_floor(&self) -> LogFloor {
        self.grants().map_or(LogFloor::Trace, |grants| grants.capabilities.log)
    }

    /// Counts a denial, and logs it if none was for a while. Always false: that is what may be done.
    #[cold]
    pub(crate) fn deny(&self, capability: Capability, name: &[u8]) -> bool {
        let root = self.root();
        root.usage.record_denial(capability);
        let Some(report) = root.grants.as_ref().map(|grants| &grants.reports[capability as usize]) else {
            return false;
        };
        let now = self.services.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some(silent) = report.take(now) {
            self.services.log.denied(&root.filter.name, capability, &sentence(capability, name, silent));
        }
        false
    }
}

fn sentence(capability: Capability, name: &[u8], silent: u64) -> String {
    let shown = String::from_utf8_lossy(&name[..name.len().min(MAX_SHOWN)]);
    let cut = if name.len() > MAX_SHOWN { "…" } else { "" };
    let name = match name {
        b"" => String::new(),
        _ => format!(" `{}{cut}`", shown.escape_debug()),
    };
    let more = match silent {
        0 => String::new(),
        more => format!(" ({more} more denials since the last line)"),
    };
    let (deed, field) = (capability.deed(), capability.name());
    format!("it may not {deed}{name}: `capabilities.{field}` does not grant it{more}")
}

/// A property's path as grants have it: dots between its parts, one name for what has several. `None` for one that is
/// too long to be granted by name.
pub(crate) fn property_name(path: &[u8]) -> Option<SmallVec<[u8; 64]>> {
    const MAX_LEN: usize = 4 << 10;
    if path.len() > MAX_LEN {
        return None;
    }
    let name = str::from_utf8(path).map_or(path, |text| model::property_name(text).as_bytes());
    let mut name = SmallVec::from_slice(name);
    name.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'.');
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_logged_once_a_minute_and_counted_between() {
        let report = Report::default();
        assert_eq!(report.take(1000), Some(0));
        assert_eq!(report.take(1000), None);
        assert_eq!(report.take(1059), None);
        assert_eq!(report.take(1060), Some(2));
        assert_eq!(report.take(1119), None);
        assert_eq!(report.take(30), Some(1), "the clock was put back");
    }

    #[test]
    fn a_line_says_what_was_denied_and_what_would_grant_it() {
        assert_eq!(
            sentence(Capability::HeadersRead, b"coo\nkie", 0),
            "it may not read the header `coo\\nkie`: `capabilities.headers.read` does not grant it"
        );
        assert_eq!(
            sentence(Capability::BodyWrite, b"", 3),
            "it may not write bodies: `capabilities.body.write` does not grant it (3 more denials since the last line)"
        );
    }

    #[test]
    fn a_header_has_one_name_whatever_its_case() {
        let names = Names::new(["x-user", ":authority"].map(str::to_owned)).expect("they are names");
        for name in [&b"x-user"[..], b"X-User", b"host", b"Host", b":authority"] {
            assert!(has_header(&names, name), "{name:?}");
        }
        assert!(!has_header(&names, b"x-users"));
        assert!(!has_header(&names, b"X-\xff"));
    }
}
