//! Header and trailer fields, and what is read out of them.

use log::warn;
use proxy_wasm::types::MapType;

use crate::host::{self, Refused};

/// A set of header or trailer fields, kept by the host: each call is a hostcall. Names are in lower case.
#[derive(Debug, Clone, Copy)]
pub struct Fields(pub(crate) MapType);

impl Fields {
    /// The first value of a field. What is not UTF-8 is replaced: use [`Fields::bytes`] where that matters.
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(into_text)
    }

    /// The first value of a field.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        host::header(self.0, name)
    }

    /// Every field, in order.
    pub fn all(&self) -> Vec<(String, Vec<u8>)> {
        host::headers(self.0)
    }

    /// Every field in one piece of memory, as the host gives it: for a filter that looks at many.
    pub fn block(&self) -> Block {
        Block(host::header_block(self.0))
    }

    /// Makes this the only value of the field.
    pub fn set(&self, name: &str, value: impl AsRef<[u8]>) {
        report_field("set", name, host::set_header(self.0, name, value.as_ref()));
    }

    /// Adds a value to those that are there.
    pub fn add(&self, name: &str, value: impl AsRef<[u8]>) {
        report_field("add", name, host::add_header(self.0, name, value.as_ref()));
    }

    /// Removes every value of the field.
    pub fn remove(&self, name: &str) {
        report_field("remove", name, host::remove_header(self.0, name));
    }
}

/// All fields of a message, as the host gave them (ABI 0.2.1, "Serialization").
#[derive(Debug, Clone, Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// How many fields there are.
    pub fn len(&self) -> usize {
        host::pair_count(&self.0)
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each name, in lower case, and value, in order. A block that is cut off ends before the field that is.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        host::pairs(&self.0)
    }

    /// Names and values in order, each with a NUL behind it.
    pub fn content(&self) -> &[u8] {
        host::pair_content(&self.0)
    }
}

pub(crate) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn report_field(verb: &str, name: &str, result: Result<(), Refused>) {
    if let Err(refused) = result {
        warn!("the host refused to {verb} {name}: {refused}");
    }
}

/// The value of one cookie in a `cookie` header (RFC 6265, section 4.2.1: `name=value` pairs between semicolons).
pub fn find_cookie<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    cookies.split(';').find_map(|pair| {
        let value = pair.trim_ascii_start().strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim_ascii_end().trim_matches('"'))
    })
}

/// The first value of one parameter in the query of a path, decoded (`application/x-www-form-urlencoded`, WHATWG URL).
pub fn find_query(path: &str, name: &str) -> Option<String> {
    let (_, query) = path.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let cookies = "session=1; user=\"ann\";flag; other=a=b";
        assert_eq!(find_cookie(cookies, "user"), Some("ann"));
        assert_eq!(find_cookie(cookies, "other"), Some("a=b"));
        assert_eq!(find_cookie(cookies, "ser"), None);
        assert_eq!(find_cookie(cookies, "flag"), None);
    }

    #[test]
    fn a_parameter_of_the_query_is_found_and_decoded() {
        assert_eq!(find_query("/a?x=1&user=ann%20b+c#user=no", "user").as_deref(), Some("ann b c"));
        assert_eq!(find_query("/a?user", "user").as_deref(), Some(""));
        assert_eq!(find_query("/a?users=1", "user"), None);
        assert_eq!(find_query("/user=1", "user"), None);
    }
}
