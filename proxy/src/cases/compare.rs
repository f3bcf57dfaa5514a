//! Differences between what was expected and what is there, short enough to be read.

use std::collections::BTreeSet;

use serde_json::Value;

/// Bytes of a value that are shown.
const SHOWN: usize = 200;

/// Lines of a difference that are shown.
const LINES: usize = 40;

/// Lines of a text beyond which no line by line difference is looked for: it costs their product.
const COMPARED: usize = 1000;

/// A value as text in quotes, cut where it is long.
pub(super) fn shown(value: &[u8]) -> String {
    let (head, rest) = value.split_at(value.len().min(SHOWN));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} bytes more", rest.len()) };
    match std::str::from_utf8(value) {
        Ok(text) => {
            let end = (0..=head.len()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            format!("{:?}{more}", &text[..end])
        }
        Err(_) => format!("\"{}\"{more}", head.escape_ascii()),
    }
}

/// Where two pieces of data differ.
pub(super) fn bytes(expected: &[u8], found: &[u8]) -> String {
    let at = expected.iter().zip(found).position(|(expected, found)| expected != found);
    let at = at.unwrap_or(expected.len().min(found.len()));
    format!("it has {} bytes, not {}, and differs from byte {at} on", found.len(), expected.len())
}

/// Whether two values are the same: 1 is 1.0, and the order of keys means nothing.
pub(super) fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || (one.as_f64() == other.as_f64() && (one.is_f64() || other.is_f64()))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same_json(value, other)))
        }
        _ => one == other,
    }
}

/// Where two values differ, a line for each place: `-` is what was expected, `+` what is there.
pub(super) fn json(expected: &Value, found: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    walk("", Some(expected), Some(found), &mut lines);
    cut(lines)
}

fn walk(path: &str, expected: Option<&Value>, found: Option<&Value>, lines: &mut Vec<String>) {
    match (expected, found) {
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
            for key in keys {
                walk(&format!("{path}.{key}"), expected.get(key), found.get(key), lines);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            for at in 0..expected.len().max(found.len()) {
                walk(&format!("{path}[{at}]"), expected.get(at), found.get(at), lines);
            }
        }
        (Some(expected), Some(found)) if same_json(expected, found) => {}
        (expected, found) => {
            let path = if path.is_empty() { "." } else { path };
            let value = |value: &Value| shown_json(value);
            lines.extend(expected.map(|expected| format!("- {path}: {}", value(expected))));
            lines.extend(found.map(|found| format!("+ {path}: {}", value(found))));
        }
    }
}

fn shown_json(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// How two texts differ, line by line: `-` is what was expected, `+` what is there.
pub(super) fn lines(expected: &str, found: &str) -> Vec<String> {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.split('\n').collect(), found.split('\n').collect());
    let before = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let rest = (&expected[before..], &found[before..]);
    let after = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(one, other)| one == other).count();
    let (expected, found) = (&rest.0[..rest.0.len() - after], &rest.1[..rest.1.len() - after]);
    let mut lines = vec![format!("from line {} on:", before + 1)];
    if expected.len() > COMPARED || found.len() > COMPARED {
        lines.push(format!("{} lines in the place of {}", found.len(), expected.len()));
    } else {
        lines.extend(common(expected, found));
    }
    cut(lines)
}

/// The shortest way from the one to the other, by their longest common subsequence.
fn common(expected: &[&str], found: &[&str]) -> Vec<String> {
    let mut longest = vec![vec![0u32; found.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..found.len()).rev() {
            longest[i][j] = match expected[i] == found[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < expected.len() || j < found.len() {
        if i < expected.len() && j < found.len() && expected[i] == found[j] {
            lines.push(format!("  {}", clipped(expected[i])));
            (i, j) = (i + 1, j + 1);
        } else if j == found.len() || (i < expected.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            lines.push(format!("- {}", clipped(expected[i])));
            i += 1;
        } else {
            lines.push(format!("+ {}", clipped(found[j])));
            j += 1;
        }
    }
    lines
}

fn clipped(line: &str) -> String {
    let shown = line.escape_debug().take(SHOWN).collect::<String>();
    if shown.chars().count() == SHOWN { format!("{shown}…") } else { shown }
}

fn cut(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("and {more} lines more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_differ_in_the_fewest_lines() {
        assert_eq!(lines("a\nb\nc\nd\n", "a\nc\nx\nd\n"), ["from line 2 on:", "- b", "  c", "+ x"]);
        assert_eq!(lines("a", "a\n"), ["from line 2 on:", "+ "]);
    }

    #[test]
    fn values_differ_at_their_places() {
        let expected = json!({"a": 1, "b": [1, {"c": "x"}], "gone": true});
        let found = json!({"b": [1, {"c": "y"}, 2], "a": 1.0});
        assert_eq!(
            json(&expected, &found),
            ["- .b[1].c: \"x\"", "+ .b[1].c: \"y\"", "+ .b[2]: 2", "- .gone: true"]
        );
        assert!(same_json(&json!({"a": 1, "b": 2}), &json!({"b": 2.0, "a": 1})));
        assert!(!same_json(&json!([1]), &json!([1, 2])));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert!(shown("é".repeat(500).as_bytes()).ends_with("\" and 800 bytes more"));
        assert_eq!(shown(b"\xff\x00"), "\"\\xff\\x00\"");
        assert_eq!(bytes(b"abc", b"abd!"), "it has 4 bytes, not 3, and differs from byte 2 on");
    }
}
