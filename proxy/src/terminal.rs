//! What people read: colours where there is a terminal whose user wants them, and numbers with their thousands apart.

use std::io::IsTerminal;

/// Whether a stream is a terminal whose user wants colours (<https://no-color.org>).
pub(crate) fn colours_wanted_on(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

/// A number as people read it: `10,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text of somebody else's, without what a terminal obeys or would show in another order: that is written as an escape.
/// Quotes and backslashes stay as they are.
pub(crate) fn plain(text: &str) -> String {
    const MARKS: [char; 3] = ['"', '\'', '\\'];
    let mut plain = String::with_capacity(text.len());
    for part in text.split_inclusive(MARKS) {
        let words = part.trim_end_matches(MARKS);
        plain.extend(words.escape_debug());
        plain.push_str(&part[words.len()..]);
    }
    plain
}

/// Puts colours into a text, or leaves it as it is.
#[cfg(feature = "kit")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

#[cfg(feature = "kit")]
impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_all_else_stays() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\tc\u{7f}\u{9b}"), "a\\u{1b}[2Jb\\r\\n\\tc\\u{7f}\\u{9b}");
        assert_eq!(plain("user\u{202e}nimda"), "user\\u{202e}nimda");
        let same = "{\"path\": \"C:\\\\x\"} it's 'e\u{301}te\u{301}', 日本";
        assert_eq!(plain(same), same);
    }
}
