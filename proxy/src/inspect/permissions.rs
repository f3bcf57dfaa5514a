//! What a filter asks for in its manifest, beside what its configuration grants.

use std::fmt;

use super::text::{row, shortened};
use crate::config::model::{Access, BodyAccess, Capabilities, LogFloor, Names};
use crate::config::name_of;
use crate::terminal::plain;
use crate::wasm::Plugin;
use crate::wasm::hostcalls::{Family, Hostcall};

/// What one filter asks for, and what it is granted.
#[derive(Debug)]
pub struct Permissions {
    filter: String,
    /// Its module's name and version, and what it asks for, if it says.
    asked: Option<(String, Capabilities)>,
    /// Why what it says cannot be read, if it cannot.
    unreadable: Option<String>,
    /// None for everything.
    granted: Option<Capabilities>,
    /// What it imports that nothing granted allows, though what it asks for would.
    useless: Vec<&'static str>,
}

impl Permissions {
    /// Compares the two.
    pub fn of(plugin: &Plugin) -> Permissions {
        let module = plugin.module();
        let granted = plugin.capabilities();
        let asked = module.manifest().map(|manifest| &manifest.capabilities);
        // What its own manifest does not allow either comes with its SDK: nobody has to grant it.
        let is_wanted = |call: &Hostcall| asked.is_none_or(|asked| may_succeed(call, asked));
        let useless = |granted: &Capabilities| {
            let calls = module.calls().iter().filter(|call| is_wanted(call) && !may_succeed(call, granted));
            calls.map(|call| call.name).collect()
        };
        Permissions {
            filter: plugin.filter().name.clone(),
            asked: module.manifest().map(|manifest| {
                (format!("{} {}", manifest.name, manifest.version), manifest.capabilities.clone())
            }),
            unreadable: module.manifest_error().map(ToString::to_string),
            granted: granted.cloned(),
            useless: granted.map(useless).unwrap_or_default(),
        }
    }

    /// The filter's name.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// What its manifest asks for and its configuration does not grant, as `headers.read: x-user; reply: true`; none
    /// where there is no such thing.
    pub(crate) fn withheld(&self) -> Option<String> {
        let (Some((_, asked)), Some(granted)) = (&self.asked, &self.granted) else { return None };
        let lacking = lacking(asked, granted);
        let each = lacking.iter().map(|(capability, missing)| format!("{capability}:{}", join(missing)));
        (!lacking.is_empty()).then(|| each.collect::<Vec<_>>().join("; "))
    }

    /// Whether something of it is likely not meant.
    pub fn have_warnings(&self) -> bool {
        self.unreadable.is_some() || self.withheld().is_some()
    }

    /// Whether there is something to compare: of a filter that may do everything and asks for nothing there is not.
    pub fn are_worth_a_look(&self) -> bool {
        self.granted.is_some() || self.asked.is_some() || self.unreadable.is_some()
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let about = match (&self.asked, &self.granted) {
            (Some((module, _)), None) => format!("{}, may do everything; it asks for", plain(module)),
            (Some((module, _)), Some(_)) => format!("{}, asks for and is granted", plain(module)),
            (None, Some(_)) => "without a manifest, is granted".to_owned(),
            (None, None) => "without a manifest, may do everything".to_owned(),
        };
        let asked = self.asked.as_ref().map(|(_, asked)| asked);
        let nothing = Capabilities::default();
        for name in CAPABILITIES {
            let list = |of: Option<&Capabilities>| list(of.unwrap_or(&nothing), name).unwrap_or_default();
            let (wanted, given) = (list(asked), list(self.granted.as_ref()));
            if wanted.is_empty() && given.is_empty() {
                continue;
            }
            match (asked, &self.granted) {
                (Some(_), Some(_)) => {
                    row(&mut text, name, [format!("asks for{}; is granted{}", join(&wanted), join(&given))]);
                }
                (Some(_), None) => row(&mut text, name, shortened(wanted.into_iter())),
                (None, _) => row(&mut text, name, shortened(given.into_iter())),
            }
        }
        if let (Some(asked), Some(granted)) = (asked, &self.granted) {
            for (capability, missing) in lacking(asked, granted) {
                row(
                    &mut text,
                    "  warning",
                    [format!("asked for and not granted: {capability}:{}", join(&missing))],
                );
            }
            for (capability, idle) in lacking(granted, asked) {
                row(
                    &mut text,
                    "  note",
                    [format!("granted and not asked for: {capability}:{}", join(&idle))],
                );
            }
        }
        if !self.useless.is_empty() {
            let names = self.useless.iter().map(|name| (*name).to_owned());
            row(&mut text, "  note", ["imports what nothing granted allows:".to_owned()]);
            row(&mut text, "", shortened(names));
        }
        if let Some(error) = &self.unreadable {
            row(&mut text, "  warning", [format!("{}; it is as if there were none", plain(error))]);
        }
        let text = if text.is_empty() { "  nothing".to_owned() } else { text };
        write!(f, "filter `{}`, {about}\n{}", plain(&self.filter), text.trim_end())
    }
}

fn join(names: &[String]) -> String {
    let names: Vec<String> = shortened(names.iter().map(|name| plain(name))).collect();
    if names.is_empty() { " nothing".to_owned() } else { format!(" {}", names.join(", ")) }
}

/// The fields of `capabilities`, in their order.
const CAPABILITIES: [&str; 11] = [
    "hostcalls",
    "clusters",
    "headers.read",
    "headers.write",
    "body",
    "properties.read",
    "properties.write",
    "shared_data",
    "metrics",
    "reply",
    "log",
];

/// Each capability that has something in it, as a list of texts.
pub(super) fn lists(capabilities: &Capabilities) -> Vec<(&'static str, Vec<String>)> {
    let lists = CAPABILITIES.iter().filter_map(|name| Some((*name, list(capabilities, name)?)));
    lists.filter(|(_, list)| !list.is_empty()).collect()
}

fn list(capabilities: &Capabilities, name: &str) -> Option<Vec<String>> {
    let texts = |names: &Names| names.iter().map(str::to_owned).collect();
    let word = |word: &str| vec![word.to_owned()];
    let Capabilities { headers: Access { read, write }, properties, .. } = capabilities;
    Some(match name {
        "hostcalls" => texts(capabilities.hostcalls.as_ref()?),
        "clusters" => texts(&capabilities.clusters),
        "headers.read" => texts(read),
        "headers.write" => texts(write),
        "body" => match capabilities.body {
            BodyAccess::None => Vec::new(),
            BodyAccess::Read => word("read"),
            BodyAccess::Write => word("write"),
        },
        "properties.read" => texts(&properties.read),
        "properties.write" => texts(&properties.write),
        "shared_data" => texts(&capabilities.shared_data),
        "metrics" => texts(&capabilities.metrics),
        "reply" if capabilities.reply => word("yes"),
        "log" if capabilities.log != LogFloor::default() => word(name_of(capabilities.log)),
        _ => Vec::new(),
    })
}

/// What `wanted` has and `given` has not, by capability. What is narrowed to certain hostcalls shows by its imports.
fn lacking(wanted: &Capabilities, given: &Capabilities) -> Vec<(&'static str, Vec<String>)> {
    let missing = |wanted: &Names, given: &Names| -> Vec<String> {
        wanted.iter().filter(|name| !given.covers(name)).map(str::to_owned).collect()
    };
    let word = |lacks: bool, word: &str| if lacks { vec![word.to_owned()] } else { Vec::new() };
    let body = if wanted.body == BodyAccess::Write { "write" } else { "read" };
    let all = [
        ("clusters", missing(&wanted.clusters, &given.clusters)),
        ("headers.read", missing(&wanted.headers.read, &given.headers.read)),
        ("headers.write", missing(&wanted.headers.write, &given.headers.write)),
        ("body", word(wanted.body > given.body, body)),
        ("properties.read", missing(&wanted.properties.read, &given.properties.read)),
        ("properties.write", missing(&wanted.properties.write, &given.properties.write)),
        ("shared_data", missing(&wanted.shared_data, &given.shared_data)),
        ("metrics", missing(&wanted.metrics, &given.metrics)),
        ("reply", word(wanted.reply && !given.reply, "true")),
    ];
    all.into_iter().filter(|(_, missing)| !missing.is_empty()).collect()
}

/// Whether a hostcall can ever do what it is for, with these. Of those that are about several things some can.
fn may_succeed(call: &Hostcall, granted: &Capabilities) -> bool {
    let writes = call.name.starts_with("proxy_set_")
        || call.name.starts_with("proxy_add_")
        || call.name.starts_with("proxy_replace_")
        || call.name.starts_with("proxy_remove_");
    let is_known = granted.hostcalls.as_ref().is_none_or(|names| names.contains(call.name.as_bytes()));
    match call.family {
        // What every filter has, and what foreign functions and properties there are is known by their names.
        Family::Log | Family::Config | Family::Context | Family::Env | Family::Wasi => true,
        Family::Headers if writes => is_known && !granted.headers.write.is_empty(),
        // What callouts are answered is read by the same hostcalls.
        Family::Headers => is_known && !(granted.headers.read.is_empty() && granted.clusters.is_empty()),
        Family::Body if writes => is_known && granted.body == BodyAccess::Write,
        Family::Property if writes => is_known && !granted.properties.write.is_empty(),
        Family::Body | Family::Property | Family::Timer | Family::Foreign => is_known,
        Family::Stream => is_known && (call.name != "proxy_send_local_response" || granted.reply),
        Family::SharedData | Family::Queue => is_known && !granted.shared_data.is_empty(),
        Family::Metrics => is_known && !granted.metrics.is_empty(),
        Family::Callout if call.name == "proxy_get_status" => true,
        Family::Callout | Family::Grpc => is_known && !granted.clusters.is_empty(),
        Family::Higress => is_known,
    }
}
