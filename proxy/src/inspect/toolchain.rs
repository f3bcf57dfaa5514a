//! What a module was made with: compilers say so in the section `producers`; what does not is known by what it imports,
//! exports, or carries in its data. A guess that is wrong does no harm: nothing but the report is made of it.

use std::sync::LazyLock;

use regex::bytes::Regex;
use serde::Serialize;

use crate::wasm::exports::Group;
use crate::wasm::{Outline, exports};

/// A language, a compiler or another tool, an SDK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// `language`, `tool` or `sdk`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its version, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// SDKs by what they leave in a module's data or in the names of its functions: name, language, pattern, of which what
/// is captured is the version. Texts of AssemblyScript are UTF-16.
static SDKS: LazyLock<Vec<(&str, &str, Regex)>> = LazyLock::new(|| {
    let utf16 = |text: &str| text.chars().map(|c| format!(r"{c}\x00")).collect::<String>();
    let either = |text: &str| format!("{text}|{}", utf16(text));
    let sdks = [
        // The places of its panics.
        ("proxy-wasm", "Rust", r"proxy-wasm-(\d+\.\d+\.\d+)[/\\]src".to_owned()),
        // The names of its packages.
        (
            "proxy-wasm-go-sdk",
            "Go",
            r"github\.com/(?:proxy-wasm|tetratelabs|higress-group)/proxy-wasm-go-sdk".to_owned(),
        ),
        ("@gcoredev/proxy-wasm-sdk-as", "AssemblyScript", either("proxy-wasm-sdk-as")),
        ("@solo-io/proxy-runtime", "AssemblyScript", either("@solo-io/proxy-runtime")),
    ];
    let compiled = |(name, language, pattern): (_, _, String)| {
        Some((name, language, Regex::new(&format!("(?-u){pattern}")).ok()?))
    };
    sdks.into_iter().filter_map(compiled).collect()
});

/// All that is recognised, languages first.
pub(super) fn of(outline: &Outline, bytes: &[u8]) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    let mut add = |kind, name: &str, version: Option<&str>| {
        let version = version.filter(|version| !version.is_empty()).map(str::to_owned);
        let tool = Tool { kind, name: name.to_owned(), version };
        if !tools.contains(&tool) {
            tools.push(tool);
        }
    };
    for [field, name, version] in &outline.producers {
        let kind = match field.as_str() {
            "language" => "language",
            "sdk" => "sdk",
            _ => "tool",
        };
        add(kind, name, Some(version));
    }
    let exports = |start: &str| outline.functions().any(|(name, _)| name.starts_with(start));
    let imports = |name: &str| outline.imports.iter().any(|i| i.module == "env" && i.name == name);
    let has_section = |name: &str| outline.custom_sections.iter().any(|section| section.name == name);
    let says_nothing = outline.producers.is_empty();
    if says_nothing && has_section("go:buildid") {
        add("language", "Go", None);
    }
    if says_nothing && (imports("abort") || exports("__new") && exports("__pin")) {
        add("language", "AssemblyScript", None);
    }
    if exports("tinygo_") || exports("asyncify_") {
        add("tool", "TinyGo", None);
    }
    if exports("emscripten_") || says_nothing && imports("emscripten_notify_memory_growth") {
        add("tool", "Emscripten", None);
    }
    for (name, language, pattern) in SDKS.iter() {
        let texts = outline.texts.iter().filter_map(|range| bytes.get(range.clone()));
        if let Some(found) = texts.filter_map(|text| pattern.captures(text)).next() {
            if says_nothing {
                add("language", language, None);
            }
            let version = found.get(1).map(|version| String::from_utf8_lossy(version.as_bytes()));
            add("sdk", name, version.as_deref());
        }
    }
    let is_merged = |name| exports::find(name).is_some_and(|known| known.group == Group::Merged);
    if outline.functions().any(|(name, _)| is_merged(name)) {
        add("sdk", "tidegate-sdk", None);
    }
    let rank = |tool: &Tool| ["language", "tool", "sdk"].iter().position(|kind| *kind == tool.kind);
    tools.sort_by_key(rank);
    tools
}
