//! What does not keep a module from loading, and may not be what its author meant.

use serde::Serialize;

use super::text::size;
use crate::config::bounds;
use crate::wasm::AbiVersion;
use crate::wasm::exports::{self, EXPORTS, Group};
use crate::wasm::outline::{Outline, PAGE};

/// How many names are listed in a note.
const MAX_NAMES: usize = 8;

/// Something worth knowing.
#[derive(Debug, Serialize)]
pub struct Note {
    /// A fixed word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// A service whose answers come by a callback.
struct Answered {
    calls: &'static [&'static str],
    callback: &'static str,
    consequence: &'static str,
}

const ANSWERED: [Answered; 5] = [
    Answered {
        calls: &["proxy_http_call"],
        callback: "proxy_on_http_call_response",
        consequence: "the answers to its HTTP callouts are lost",
    },
    Answered {
        calls: &["proxy_grpc_call", "proxy_grpc_stream"],
        callback: "proxy_on_grpc_receive",
        consequence: "the answers to its gRPC callouts are lost",
    },
    Answered {
        calls: &["proxy_grpc_call", "proxy_grpc_stream"],
        callback: "proxy_on_grpc_close",
        consequence: "it does not hear of gRPC callouts that fail",
    },
    Answered {
        calls: &["proxy_set_tick_period_milliseconds"],
        callback: "proxy_on_tick",
        consequence: "its ticks reach nobody",
    },
    Answered {
        calls: &["proxy_register_shared_queue"],
        callback: "proxy_on_queue_ready",
        consequence: "it does not hear of what is put into its queues",
    },
];

/// WASI functions whose answer is an error here whatever they are asked, beside those on paths and sockets. Those that
/// every run-time library imports to look for files at its start are left out.
const WITHOUT_EFFECT: [&str; 8] = [
    "fd_read",
    "fd_pread",
    "fd_readdir",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_allocate",
    "fd_renumber",
];

/// All that there is to say.
pub(super) fn of(outline: &Outline) -> Vec<Note> {
    let mut notes = Notes(Vec::new());
    notes.on_versions(outline);
    notes.on_callbacks(outline);
    notes.on_start(outline);
    notes.on_memory(outline);
    notes.on_manifest(outline);
    notes.on_debugging(outline);
    notes.0
}

struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, reason: &'static str, message: impl Into<String>) {
        self.0.push(Note { reason, message: message.into() });
    }

    fn on_versions(&mut self, outline: &Outline) {
        let markers: Vec<AbiVersion> = outline.markers().collect();
        if let [first, _, ..] = markers[..] {
            let message = format!(
                "it names several versions of the ABI; the first counts, which is {}",
                first.number()
            );
            self.add("several_versions", message);
        }
        let takes_end = |direction| {
            let name = format!("proxy_on_{direction}_headers");
            outline.functions().any(|(exported, ty)| exported == name && ty.params().len() == 3)
        };
        if markers.first() == Some(&AbiVersion::V0_1_0) && (takes_end("request") || takes_end("response")) {
            self.add(
                "marker_and_callbacks_differ",
                "it names version 0.1.0, but its headers callbacks take `end_of_stream`, as from 0.2.0 on: they are \
                 called as they are exported, and a header that is not there is empty, as in 0.1.0",
            );
        }
    }

    fn on_callbacks(&mut self, outline: &Outline) {
        let sees = |group: Group| {
            outline.functions().any(|(name, _)| exports::find(name).is_some_and(|known| known.group == group))
        };
        if ![Group::Http, Group::L4, Group::Services, Group::Merged].into_iter().any(sees) {
            self.add(
                "no_callbacks",
                "it exports no callback of an exchange, a connection or a tick: it would see nothing; are the SDK's \
                 exports kept by the linker?",
            );
        }
        for answered in &ANSWERED {
            let call = answered.calls.iter().find(|call| outline.imports_function(call));
            if let Some(call) = call.filter(|_| !outline.exports_function(answered.callback)) {
                let Answered { callback, consequence, .. } = answered;
                self.add(
                    "callback_missing",
                    format!("it imports `{call}` and exports no `{callback}`: {consequence}"),
                );
            }
        }
        let unknown = outline.functions().map(|(name, _)| name).filter(|name| {
            let is_of_ours = name.starts_with("proxy_on_") || name.starts_with("tidegate_on_");
            is_of_ours && exports::find(name).is_none()
        });
        for name in unknown.take(MAX_NAMES) {
            let message = match nearest(name) {
                Some(known) => format!("it exports `{name}`, which no host calls; is `{known}` meant?"),
                None => format!("it exports `{name}`, which this host does not call"),
            };
            self.add("unknown_callback", message);
        }
    }

    fn on_start(&mut self, outline: &Outline) {
        let of_wasi: Vec<&str> = outline
            .imports
            .iter()
            .filter(|import| import.module.starts_with("wasi_"))
            .map(|import| &*import.name)
            .collect();
        let starts =
            outline.has_start || ["_initialize", "_start"].iter().any(|name| outline.exports_function(name));
        if !of_wasi.is_empty() && !starts {
            self.add(
                "no_initialize",
                "it imports WASI, exports neither `_initialize` nor `_start` and has no start section: nothing sets up its \
                 language's run-time; build it as a reactor",
            );
        }
        let without_effect: Vec<&str> = of_wasi
            .into_iter()
            .filter(|name| {
                name.starts_with("path_") || name.starts_with("sock_") || WITHOUT_EFFECT.contains(name)
            })
            .collect();
        if !without_effect.is_empty() {
            let message = format!(
                "it imports {}: there are no files and no sockets here, and they answer an error. Run-time libraries \
                 import them whether they need them or not",
                list(&without_effect)
            );
            self.add("no_files", message);
        }
    }

    fn on_memory(&mut self, outline: &Outline) {
        let most = bounds::MEMORY.default.0;
        let initial =
            outline.memories.iter().map(|memory| memory.initial.saturating_mul(PAGE)).max().unwrap_or(0);
        if initial > most {
            let message = format!(
                "its memory begins with {}, more than the {} that a filter has unless its `limits.memory` says so",
                size(initial),
                size(most)
            );
            self.add("memory_limit", message);
        }
        if ["proxy_on_memory_allocate", "malloc"].iter().all(|name| outline.exports_function(name)) {
            self.add(
                "several_allocators",
                "it exports `proxy_on_memory_allocate` and `malloc`: the first is asked for memory here; Envoy asks the \
                 second",
            );
        }
    }

    fn on_manifest(&mut self, outline: &Outline) {
        if let Some(Err(error)) = &outline.manifest {
            self.add("broken_manifest", format!("{error}; it is as if there were none"));
        }
    }

    fn on_debugging(&mut self, outline: &Outline) {
        let debug = outline.custom_sections.iter().filter(|section| section.name.starts_with(".debug_"));
        let size: usize = debug.map(|section| section.size).sum();
        if size * 2 > outline.size {
            let message = format!(
                "{} % of it are debug information, which shows the source lines of a trap and makes loading slower",
                size * 100 / outline.size
            );
            self.add("debug_info", message);
        }
        if !outline.custom_sections.iter().any(|section| section.name == "name") {
            self.add("no_names", "it has no names of functions: a trap is shown with their numbers alone");
        }
    }
}

/// The callback that a name is likely to be meant for.
fn nearest(name: &str) -> Option<&'static str> {
    const MAX_LEN: usize = 64;
    const MAX_DISTANCE: usize = 3;
    if name.len() > MAX_LEN {
        return None;
    }
    let distance = |known: &exports::Export| strsim::damerau_levenshtein(known.name, name);
    let near = EXPORTS.iter().map(|known| (distance(known), known.name)).min()?;
    (near.0 <= MAX_DISTANCE).then_some(near.1)
}

/// The first of some names, and how many more there are.
fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
