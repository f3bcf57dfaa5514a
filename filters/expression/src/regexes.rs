//! Regular expressions, compiled once: nearly all are literals of an expression, which each request asks for again.

use std::cell::RefCell;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use regex_lite::{Error, Regex, RegexBuilder};

/// The largest when compiled, in bytes.
const LARGEST: usize = 256 << 10;

/// As large as those are that people write, in bytes.
const USUAL: usize = 16 << 10;

/// How many of the usual size are kept. A request may bring them along, so they are bounded, and the others weigh more:
/// a filter's memory has 16 MiB unless the operator gives it more.
const MOST: usize = 64;

thread_local! {
    static COMPILED: RefCell<Cache<String, Compiled, Size>> =
        RefCell::new(Cache::with_weighter(MOST, (MOST * USUAL) as u64, Size));
}

struct Compiled {
    regex: Regex,
    /// What it takes at most, in bytes: how large it is, it does not say.
    size: usize,
}

#[derive(Clone)]
struct Size;

impl Weighter<String, Compiled> for Size {
    fn weight(&self, text: &String, compiled: &Compiled) -> u64 {
        (text.len() + compiled.size) as u64
    }
}

/// Whether an expression is met somewhere in a text.
///
/// # Errors
///
/// It is no regular expression, or one that is too large.
pub(crate) fn is_match(expression: &str, text: &str) -> Result<bool, Error> {
    COMPILED.with_borrow_mut(|known| {
        if let Some(compiled) = known.get(expression) {
            return Ok(compiled.regex.is_match(text));
        }
        let compiled = compile(expression)?;
        let is_met = compiled.regex.is_match(text);
        known.insert(expression.to_owned(), compiled);
        Ok(is_met)
    })
}

fn compile(expression: &str) -> Result<Compiled, Error> {
    let within =
        |size| RegexBuilder::new(expression).size_limit(size).build().map(|regex| Compiled { regex, size });
    within(USUAL).or_else(|_| within(LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> (usize, u64) {
        COMPILED.with_borrow(|known| (known.len(), known.weight()))
    }

    #[test]
    fn what_was_asked_before_is_not_compiled_again() {
        for (text, is_met) in [("curl/8", true), ("wget", false), ("curl/7", true)] {
            assert_eq!(is_match("^curl/", text).unwrap(), is_met);
            assert_eq!(known().0, 1);
        }
    }

    #[test]
    fn what_is_kept_has_a_bound_whatever_requests_bring() {
        for number in 0..1000 {
            assert!(is_match(&format!("^{number}$"), &number.to_string()).unwrap());
            assert!(is_match(&format!("^a{{{number},2000}}$"), &"a".repeat(number)).unwrap());
        }
        let (count, size) = known();
        assert!((1..=MOST).contains(&count) && size <= (MOST * USUAL) as u64, "{count} of {size} bytes");
    }

    #[test]
    fn what_is_no_regular_expression_or_too_large_is_an_error_each_time() {
        for expression in ["(", "(a{200}){100}"] {
            assert!(is_match(expression, "a").is_err());
            assert!(is_match(expression, "a").is_err());
        }
        assert_eq!(known().0, 0);
    }
}
