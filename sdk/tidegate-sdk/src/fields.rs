//! Header and trailer fields, and what is read out of them.

use log::warn;
use proxy_wasm::types::MapType;

use crate::host::{self, Refused};
use crate::scope::acting_on;

/// A set of header or trailer fields, kept by the host: each call is a hostcall. Names are in lower case.
///
/// ```no_run
/// # use tidegate_sdk::Request;
/// fn strip(request: &Request<'_>) {
///     let headers = request.headers();
///     for (name, _) in headers.all() {
///         if name.starts_with("x-internal-") {
///             headers.remove(&name);
///         }
///     }
///     headers.set("x-stripped", "1");
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    pub(crate) map: MapType,
    /// The exchange's.
    pub(crate) context: u32,
}

impl Fields {
    /// The first value of a field. What is not UTF-8 is replaced: use [`Fields::bytes`] where that matters.
    ///
    /// `None`: there is no such field, or the host does not show these fields at this time.
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(into_text)
    }

    /// The first value of a field, as it came. `None` as with [`Fields::text`].
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        acting_on(self.context, || host::header(self.map, name)).ok()?
    }

    /// Every field with its value, in order; a field with several values is there several times. Nothing where the host
    /// does not show these fields at this time.
    pub fn all(&self) -> Vec<(String, Vec<u8>)> {
        acting_on(self.context, || host::headers(self.map)).unwrap_or_default()
    }

    /// Every field in one piece of memory, as the host gives it: for a filter that looks at many.
    ///
    /// ```no_run
    /// # use tidegate_sdk::Request;
    /// fn longest(request: &Request<'_>) -> usize {
    ///     request.headers().block().iter().map(|(_, value)| value.len()).max().unwrap_or(0)
    /// }
    /// ```
    pub fn block(&self) -> Block {
        Block(acting_on(self.context, || host::header_block(self.map)).unwrap_or_default())
    }

    /// Makes this the only value of the field. A host that refuses, as for a value with a line break in it, leaves the
    /// field as it was: that is logged.
    pub fn set(&self, name: &str, value: impl AsRef<[u8]>) {
        self.change("set", name, || host::set_header(self.map, name, value.as_ref()));
    }

    /// Adds a value to those that are there; refusals as with [`Fields::set`].
    pub fn add(&self, name: &str, value: impl AsRef<[u8]>) {
        self.change("add", name, || host::add_header(self.map, name, value.as_ref()));
    }

    /// Removes every value of the field.
    pub fn remove(&self, name: &str) {
        self.change("remove", name, || host::remove_header(self.map, name));
    }

    fn change(&self, verb: &str, name: &str, change: impl FnOnce() -> Result<(), Refused>) {
        if let Err(refused) = acting_on(self.context, change).flatten() {
            warn!("the host refused to {verb} {name}: {refused}");
        }
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

    /// Every value of a field, in order. Cheaper than to look for the name in [`Block::iter`].
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        host::pair_values(&self.0, name.as_bytes())
    }

    /// All values of a field as one, commas between them: what fields that are lists mean, such as `cache-control`, however
    /// they are divided (RFC 9110, section 5.3). What is not UTF-8 is replaced. `None`: there is no such field.
    pub fn joined(&self, name: &str) -> Option<String> {
        let mut values = self.values(name).map(String::from_utf8_lossy);
        let mut all = values.next()?.into_owned();
        for value in values {
            all.push_str(", ");
            all.push_str(&value);
        }
        Some(all)
    }

    /// Names and values in order, each with a NUL behind it.
    pub fn content(&self) -> &[u8] {
        host::pair_content(&self.0)
    }
}

/// As a host would give them.
impl<'a> FromIterator<(&'a [u8], &'a [u8])> for Block {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(fields: I) -> Block {
        let fields: Vec<_> = fields.into_iter().collect();
        Block(host::encode_pairs(&fields))
    }
}

pub(crate) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The value of one cookie in a `cookie` header (RFC 6265, section 4.2.1: `name=value` pairs between semicolons): of the
/// first of this name, without the quotes around it.
///
/// ```
/// assert_eq!(tidegate_sdk::find_cookie("theme=dark; user=\"ann\"", "user"), Some("ann"));
/// ```
pub fn find_cookie<'a>(cookies: &'a str, name: &str) -> Option<&'a str> {
    cookies.split(';').find_map(|pair| {
        let value = pair.trim_ascii_start().strip_prefix(name)?.strip_prefix('=')?;
        let value = value.trim_ascii_end();
        Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
    })
}

/// The first value of one parameter in the query of a path, decoded (`application/x-www-form-urlencoded`, WHATWG URL). What
/// is not UTF-8 when it is decoded is replaced.
///
/// ```
/// assert_eq!(tidegate_sdk::find_query("/items?page=2&user=ann%20b", "user").as_deref(), Some("ann b"));
/// ```
pub fn find_query(path: &str, name: &str) -> Option<String> {
    let (path, _) = path.split_once('#').unwrap_or((path, ""));
    let (_, query) = path.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// A path without the parameters of one name in its query, decoded names compared; the rest stays as it was written. For what
/// is not to go on, such as a key.
///
/// ```
/// assert_eq!(tidegate_sdk::without_query("/items?page=2&key=s3cret&q=%20", "key"), "/items?page=2&q=%20");
/// ```
pub fn without_query(path: &str, name: &str) -> String {
    let (rest, fragment) = path.split_at(path.find('#').unwrap_or(path.len()));
    let Some((plain, query)) = rest.split_once('?') else { return path.to_owned() };
    let is_another = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).all(|(found, _)| found != name);
    let kept: Vec<&str> = query.split('&').filter(is_another).collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    [plain, mark, &kept.join("&"), fragment].concat()
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
        for (hostile, value) in
            [("user=\"", "\""), ("user=\"\"a\"\"", "\"a\""), ("user=;user=b", ""), (";;=;user=", "")]
        {
            assert_eq!(find_cookie(hostile, "user"), Some(value), "{hostile}");
        }
        assert_eq!(find_cookie("\u{e9}user=1", "user"), None);
    }

    #[test]
    fn a_list_is_one_however_it_is_divided() {
        let fields: [(&[u8], &[u8]); 4] =
            [(b"vary", b"accept"), (b"x", b"1"), (b"vary", b""), (b"vary", b"origin, \xff")];
        let block: Block = fields.into_iter().collect();
        assert_eq!(block.joined("vary").as_deref(), Some("accept, , origin, \u{fffd}"));
        assert_eq!((block.joined("x").as_deref(), block.joined("y")), (Some("1"), None));
    }

    #[test]
    fn a_parameter_is_taken_out_of_a_query_whose_rest_stays_as_it_was_written() {
        for (path, without) in [
            ("/a?key=1", "/a"),
            ("/a?key", "/a"),
            ("/a?x=%41&key=1&y=+&k%65y=2", "/a?x=%41&y=+"),
            ("/a?x=1&&monkey=2#key=3", "/a?x=1&&monkey=2#key=3"),
            ("/a?key=1#f?key=2", "/a#f?key=2"),
            ("/a#?key=1", "/a#?key=1"),
            ("/key=1", "/key=1"),
            ("/a?", "/a?"),
        ] {
            assert_eq!(without_query(path, "key"), without, "{path}");
            assert_eq!(find_query(without, "key"), None);
        }
    }

    #[test]
    fn a_parameter_of_the_query_is_found_and_decoded() {
        assert_eq!(find_query("/a?x=1&user=ann%20b+c#user=no", "user").as_deref(), Some("ann b c"));
        assert_eq!(find_query("/a?user", "user").as_deref(), Some(""));
        assert_eq!(find_query("/a?users=1", "user"), None);
        assert_eq!(find_query("/user=1", "user"), None);
        assert_eq!(find_query("/a#?user=1", "user"), None, "a fragment has no query");
        assert_eq!(find_query("/?%75ser=%zz%ff", "user").as_deref(), Some("%zz\u{fffd}"));
    }
}
