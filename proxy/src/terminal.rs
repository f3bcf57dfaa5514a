//! What people read: colours where there is a terminal whose user wants them, a line that is drawn over, and numbers with
//! their thousands apart.

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// How wide a terminal is taken to be that does not say it.
const COLUMNS: usize = 80;

/// Whether a stream is a terminal that has colours, and whose user wants them (<https://no-color.org>).
pub(crate) fn colours_wanted_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !colours_refused()
}

/// Whether the user wants no colours, or has a terminal without them.
pub(crate) fn colours_refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || only_prints()
}

/// Whether a line may be drawn over on a stream: it is a terminal, and not one that only prints.
pub(crate) fn can_be_drawn_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && !only_prints()
}

fn only_prints() -> bool {
    std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb")
}

/// A text and what follows it, as one line that a terminal has room for: of the text as much as that leaves. The last
/// column stays free, so that no terminal begins another line.
pub(crate) fn line(text: &str, rest: &str, terminal: &impl AsFd) -> String {
    let size = rustix::termios::tcgetwinsize(terminal).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    fitted(text, rest, columns.unwrap_or(COLUMNS))
}

fn fitted(text: &str, rest: &str, columns: usize) -> String {
    let mut left = columns.saturating_sub(1);
    // Wider than it is, rather than narrower: a letter of another script may take two columns, and none takes three.
    let mut fits = |letter: &char| {
        let width = if letter.is_ascii() { 1 } else { 2 };
        let fits = width <= left;
        left = if fits { left - width } else { 0 };
        fits
    };
    let rest: String = rest.chars().take_while(&mut fits).collect();
    let text: String = text.chars().filter(|letter| !letter.is_control()).take_while(&mut fits).collect();
    text + &rest
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

/// So many of these: `10,000 exchanges`.
pub(crate) fn many(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
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
    use super::*;

    #[test]
    fn a_line_is_cut_where_it_would_be_too_wide_and_keeps_its_end() {
        assert_eq!(fitted("case 3 of 12: it passes", " (2 s)", 80), "case 3 of 12: it passes (2 s)");
        assert_eq!(fitted("case 3 of 12: it passes", " (2 s)", 20), "case 3 of 12: (2 s)");
        assert_eq!(fitted("a\nb\u{1b}[2Jc", "", 20), "ab[2Jc");
        assert_eq!(fitted("日本語", "", 6), "日本");
        assert_eq!(fitted("text", " (2 s)", 4), " (2");
        assert_eq!(fitted("text", " (2 s)", 0), "");
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_all_else_stays() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\tc\u{7f}\u{9b}"), "a\\u{1b}[2Jb\\r\\n\\tc\\u{7f}\\u{9b}");
        assert_eq!(plain("user\u{202e}nimda"), "user\\u{202e}nimda");
        let same = "{\"path\": \"C:\\\\x\"} it's 'e\u{301}te\u{301}', 日本";
        assert_eq!(plain(same), same);
    }
}
