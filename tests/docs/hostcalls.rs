//! What the code says of a hostcall: its documentation there is the one place where it is written. The reference page is
//! made of it, and a test of the host holds the host to it.

use std::fs;
use std::path::Path;

/// The statuses of the ABI that a hostcall may answer with, by name.
pub(crate) const STATUSES: &[(&str, u32)] = &[
    ("NotFound", 1),
    ("BadArgument", 2),
    ("SerializationFailure", 3),
    ("ParseFailure", 4),
    ("InvalidMemoryAccess", 6),
    ("Empty", 7),
    ("CasMismatch", 8),
    ("InternalFailure", 10),
];

/// The same of WASI.
pub(crate) const ERRNOS: &[(&str, u32)] =
    &[("Badf", 8), ("Exist", 20), ("Fault", 21), ("Inval", 28), ("Noent", 44), ("Nosys", 52), ("Notsup", 58)];

/// A hostcall's documentation.
#[derive(Debug)]
pub(crate) struct Documentation {
    /// What it does, as a sentence without the hostcall's name.
    pub(crate) text: String,
    /// The statuses that it answers with, and when.
    pub(crate) statuses: Vec<(String, String)>,
}

/// The documentation of the function that does a hostcall, by the path that the table has for it: `headers::value`.
pub(crate) fn documentation(function: &str) -> Documentation {
    let (file, name) = function.split_once("::").expect("a hostcall is a function of a file");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wasm/hostcalls");
    let source = fs::read_to_string(folder.join(file).with_extension("rs")).expect("the file is there");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_it = |line: &str| {
        let line = line.strip_prefix("pub(crate) fn ").unwrap_or(line);
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
    };
    let places = lines.iter().enumerate().filter(|(_, line)| is_it(line)).map(|(place, _)| place);
    // A function of the same name may be called elsewhere in its file.
    places
        .map(|place| read(comment(&lines[..place])))
        .find(|doc| !doc.text.is_empty())
        .unwrap_or_else(|| Documentation { text: String::new(), statuses: Vec::new() })
}

/// The documentation that ends where these lines end, attributes aside.
fn comment<'a>(before: &[&'a str]) -> Vec<&'a str> {
    let mut lines: Vec<&str> = before
        .iter()
        .rev()
        .skip_while(|line| line.starts_with("#["))
        .map_while(|line| line.strip_prefix("///"))
        .map(str::trim)
        .collect();
    lines.reverse();
    lines
}

/// ``` `name` (since): what it does.``` and then a list of statuses.
fn read(lines: Vec<&str>) -> Documentation {
    let mut text = String::new();
    let mut statuses: Vec<(String, String)> = Vec::new();
    for line in lines {
        let item = line.strip_prefix("- `").and_then(|rest| rest.split_once("`: "));
        match (item, statuses.last_mut()) {
            (Some((status, when)), _) => statuses.push((status.to_owned(), when.to_owned())),
            (None, Some((_, when))) if !line.is_empty() => *when = format!("{when} {line}"),
            (None, _) => text = format!("{text} {line}").trim().to_owned(),
        }
    }
    Documentation { text: sentence(&text), statuses }
}

/// What stands behind the name, as a sentence: with the version that introduced the function at its end.
fn sentence(text: &str) -> String {
    let named = text.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    let Some((_, rest)) = named.filter(|(_, rest)| rest.starts_with([':', ' ', '.'])) else {
        return capital(text);
    };
    let (since, rest) = match rest.strip_prefix(" (").and_then(|rest| rest.split_once(')')) {
        Some((since, rest)) => (Some(since), rest),
        None => (None, rest),
    };
    let rest = capital(rest.trim_start_matches([':', '.', ' ']));
    match since {
        Some(since) if since.starts_with('0') => {
            format!("Since {since}. {rest}").replace("Since 0.1.0 only.", "0.1.0 only.")
        }
        _ => rest,
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
