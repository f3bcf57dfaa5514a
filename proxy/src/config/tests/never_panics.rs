//! Whatever the file holds, reading it ends, and does not panic.

use std::path::Path;

use proptest::prelude::*;

use super::super::{Problems, effective, parse};
use super::EVERYTHING;

/// Reads, checks and shows.
fn exercise(text: &str) {
    match parse(text, Path::new("tidegate.yaml")) {
        Ok(loaded) => {
            effective(&loaded.config);
            loaded.warnings.render(false);
        }
        Err(problems) => {
            assert!(problems.are_fatal());
            Problems::render(&problems, true);
        }
    }
}

/// Pieces that are likely to get past the YAML parser and into the decoder.
fn pieces() -> impl Strategy<Value = String> {
    let words = EVERYTHING.split_inclusive(char::is_whitespace).map(str::to_owned).collect::<Vec<_>>();
    let marks = [
        "{", "}", "[", "]", ": ", ", ", "\n", "\n  ", "- ", "'", "\"", "|\n", "&a ", "*a ", "!t ", "é", "\t",
        "\0", "\r\n", "~",
    ];
    let piece = prop_oneof![
        3 => proptest::sample::select(words),
        1 => proptest::sample::select(marks.map(str::to_owned).to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

proptest! {
    #[test]
    fn on_any_bytes(bytes: Vec<u8>) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn on_any_text(text: String) {
        exercise(&text);
    }

    #[test]
    fn on_pieces_of_configurations(text in pieces()) {
        exercise(&text);
    }

    #[test]
    fn on_a_good_file_with_something_replaced(at in 0..EVERYTHING.len(), length in 0_usize..40, new in pieces()) {
        let start = boundary(EVERYTHING, at);
        let end = boundary(EVERYTHING, start + length).max(start);
        let mut text = EVERYTHING.to_owned();
        text.replace_range(start..end, &new);
        exercise(&text);
    }

    #[test]
    fn on_a_good_file_cut_short(at in 0..EVERYTHING.len()) {
        exercise(&EVERYTHING[..boundary(EVERYTHING, at)]);
    }

    #[test]
    fn on_a_good_file_with_a_value_exchanged(line in 0_usize..60, value in "[ -~]{0,20}") {
        let exchanged = EVERYTHING.lines().enumerate().map(|(index, text)| match text.split_once(": ") {
            Some((key, _)) if index == line => format!("{key}: {value}\n"),
            _ => format!("{text}\n"),
        });
        exercise(&exchanged.collect::<String>());
    }
}
