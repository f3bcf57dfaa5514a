//! The report for people: what they asked first, then why, then everything else, a line for each kind of thing.
//!
//! Names come from a file that may be hostile: what a terminal would obey is written as an escape.

use std::fmt::Write as _;

use super::{Export, Facts, Memory, Report};
use crate::terminal::plain;
use crate::wasm::exports::Group;
use crate::wasm::hostcalls::HOSTCALLS;

/// How many exports that the ABI does not know, and custom sections, are named.
const MAX_NAMES: usize = 12;

/// How wide the column of names is, and how wide a line becomes before it is broken.
const INDENT: usize = 20;
const WIDTH: usize = 100;

pub(super) fn render(report: &Report, name: &str) -> String {
    let mut text = String::new();
    let verdict = if report.loads { "will load" } else { "will not load" };
    let _ = writeln!(text, "{} {verdict}", plain(name));
    paragraphs(&mut text, "Problems", report.problems.iter().map(|problem| &*problem.message));
    text.push('\n');
    match &report.module {
        Some(facts) => {
            row(&mut text, "SHA-256", [&report.sha256]);
            let signatures = match report.signatures {
                None => "cannot be read".to_owned(),
                Some(0) => "none".to_owned(),
                Some(count) => format!("{count}, by whom `tidegate filter verify` says"),
            };
            row(&mut text, "signatures", [signatures]);
            render_facts(&mut text, report.size, facts);
        }
        None => row(&mut text, "size", [size(report.size as u64)]),
    }
    paragraphs(&mut text, "Notes", report.notes.iter().map(|note| &*note.message));
    text.trim_end().to_owned()
}

pub(super) fn summarize(report: &Report, name: &str) -> String {
    let facts = report.module.as_ref();
    let abi = facts.and_then(|facts| facts.abi_version).map(|version| format!("ABI {version}"));
    // The last of them stands on the others.
    let sdk = facts.and_then(|facts| facts.made_with.iter().rfind(|tool| tool.kind == "sdk"));
    let sdk = sdk.map(|tool| plain(&tool.name));
    let parts: Vec<String> = [Some(size(report.size as u64)), abi, sdk].into_iter().flatten().collect();
    let verdict = if report.loads { "" } else { ", will not load" };
    format!("{}: {}{verdict}", plain(name), parts.join(", "))
}

pub(super) fn render_problems(report: &Report) -> String {
    let mut text = String::new();
    paragraphs(&mut text, "Problems", report.problems.iter().map(|problem| &*problem.message));
    text.trim_end().to_owned()
}

fn render_facts(text: &mut String, whole: usize, facts: &Facts) {
    let functions = counted(facts.functions.into(), "function");
    let parts = match facts.is_whole {
        true => format!(
            "{}, of which code {} in {functions}, data {}",
            size(whole as u64),
            size(facts.code_size as u64),
            size(facts.data_size as u64)
        ),
        false => {
            format!("{}, not readable to its end: what follows is of the part before", size(whole as u64))
        }
    };
    row(text, "size", [parts]);
    // What the part that is missing may have is not said to be missing.
    let or = |values: Vec<String>, none: &str| match facts.is_whole || !values.is_empty() {
        true => or(values, none),
        false => Vec::new(),
    };
    let abi = match (facts.abi_version, facts.abi_markers.len()) {
        (None, _) => "no version named".to_owned(),
        (Some(version), 0 | 1) => version.to_owned(),
        (Some(version), _) => format!("{version}, the first of {}", facts.abi_markers.join(", ")),
    };
    row(text, "ABI", [abi]);
    let made_with = facts.made_with.iter().map(|tool| {
        let version = tool.version.as_ref().map_or(String::new(), |version| format!(" {}", plain(version)));
        let of_kind = if tool.kind == "sdk" { " (SDK)" } else { "" };
        format!("{}{version}{of_kind}", plain(&tool.name))
    });
    row(text, "made with", or(made_with.collect(), "nothing that is recognised"));
    row(text, "memory", or(facts.memories.iter().map(memory).collect(), "none"));
    row(text, "allocator", or(facts.allocator.into_iter().map(str::to_owned).collect(), "none"));
    let tables = facts.tables.iter().map(|table| counted(table.initial, "entry"));
    row(text, "tables", or(tables.collect(), "none"));
    let shown_at_traps = match (facts.has_names, facts.has_debug_info) {
        (true, true) => "names of functions and source lines",
        (true, false) => "names of functions, no source lines",
        (false, true) => "source lines, no names of functions",
        (false, false) => "neither names of functions nor source lines",
    };
    row(text, "traps show", facts.is_whole.then_some(shown_at_traps));
    let sections = facts
        .custom_sections
        .iter()
        .map(|section| format!("{} ({})", plain(&section.name), size(section.size as u64)));
    row(text, "custom sections", or(shortened(sections).collect(), "none"));

    if let Some(manifest) = &facts.manifest {
        let (name, version) = (plain(&manifest.name), plain(&manifest.version));
        let _ = writeln!(text, "\nManifest of {name} {version}, which asks for");
        for (capability, names) in &manifest.asked {
            row(text, capability, shortened(names.iter().cloned()));
        }
        if manifest.asked.is_empty() {
            text.push_str("  nothing\n");
        }
    }
    text.push_str("\nExports, which the host calls\n");
    for group in Group::ALL {
        let of_group = facts.exports.iter().filter(|export| export.group == Some(group.title()));
        row(text, group.title(), of_group.map(exported));
    }
    let other = facts.exports.iter().filter(|export| export.group.is_none());
    row(text, "other", shortened(other.map(|export| plain(&export.name))));

    text.push_str("\nImports, which the host has to offer\n");
    let mut families: Vec<&str> = HOSTCALLS.iter().map(|hostcall| hostcall.family.title()).collect();
    families.dedup();
    for family in families {
        let of_family = facts.imports.iter().filter(|import| import.family == Some(family));
        let imported = of_family.map(|import| match import.since {
            // What every version has is not worth a word.
            None | Some("0.1.0") => import.name.clone(),
            Some(since) => format!("{} ({since})", import.name),
        });
        row(text, family, imported);
    }
    let unknown = facts.imports.iter().filter(|import| import.family.is_none());
    let unknown = unknown.map(|import| format!("{}::{}", plain(&import.module), plain(&import.name)));
    row(text, "not offered", shortened(unknown));
}

fn exported(export: &Export) -> String {
    let name = plain(&export.name);
    match (export.called, &export.signature) {
        (Some(false), _) => format!("{name} (not called here)"),
        // The one thing in which callbacks of the same name differ.
        (_, Some(signature)) if name.ends_with("_headers") && signature.matches("i32").count() == 3 => {
            format!("{name} (without end_of_stream)")
        }
        _ => name,
    }
}

fn memory(memory: &Memory) -> String {
    let most =
        memory.maximum.map_or("no limit of its own".to_owned(), |most| format!("{} at most", size(most)));
    format!("{} at first, {most}", size(memory.initial))
}

/// A name and its values, over as many lines as they take; nothing without values.
pub(super) fn row(text: &mut String, name: &str, values: impl IntoIterator<Item = impl AsRef<str>>) {
    let mut column = 0;
    for value in values {
        let value = value.as_ref();
        if column == 0 {
            let _ = write!(text, "  {name:<0$}", INDENT - 2);
            column = INDENT;
        } else if column + 2 + value.chars().count() > WIDTH {
            let _ = write!(text, ",\n{:1$}", "", INDENT);
            column = INDENT;
        } else {
            text.push_str(", ");
            column += 2;
        }
        text.push_str(value);
        column += value.chars().count();
    }
    if column > 0 {
        text.push('\n');
    }
}

/// A heading and a list of sentences, broken into lines; nothing without sentences.
fn paragraphs<'a>(text: &mut String, heading: &str, sentences: impl Iterator<Item = &'a str>) {
    for (index, sentence) in sentences.enumerate() {
        if index == 0 {
            let _ = write!(text, "\n{heading}\n");
        }
        let mut column = 0;
        for word in plain(sentence).split(' ') {
            let len = word.chars().count();
            if column == 0 {
                text.push_str("  - ");
                column = 4;
            } else if column + 1 + len > WIDTH {
                text.push_str("\n    ");
                column = 4;
            } else {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += len;
        }
        text.push('\n');
    }
}

/// The values, or what is said where there are none.
fn or(values: Vec<String>, none: &str) -> Vec<String> {
    if values.is_empty() { vec![none.to_owned()] } else { values }
}

/// The first of the values, and how many more there are.
pub(super) fn shortened(values: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let values: Vec<String> = values.collect();
    let more = values.len().saturating_sub(MAX_NAMES);
    values.into_iter().take(MAX_NAMES).chain((more > 0).then(|| format!("and {more} more")))
}

fn counted(count: u64, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

/// A number of bytes.
pub(super) fn size(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    match bytes as f64 {
        few if few < KIB => format!("{bytes} bytes"),
        some if some < KIB * KIB => format!("{:.1} KiB", some / KIB),
        many => format!("{:.1} MiB", many / KIB / KIB),
    }
}
