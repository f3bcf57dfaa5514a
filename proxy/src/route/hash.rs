//! By what requests are told apart that are to reach the same endpoint. Values and the way in which they are put together
//! are Envoy's, so that a request has the same hash in either.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Uri};
use xxhash_rust::xxh64::xxh64;

use super::{cookie, query};
use crate::config::model::{Cookie, HashCookie, HashPolicy, HashSource};

/// What a request is hashed by.
#[derive(Debug, Clone, Copy)]
pub struct Hashed<'a> {
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its target.
    pub uri: &'a Uri,
    /// Whose it is.
    pub client: IpAddr,
    /// Both ends of the connection that it came on.
    pub connection: (SocketAddr, SocketAddr),
}

/// A request's hash, unless it has nothing of what the policies look at. `set_cookie` is called with each cookie that the
/// client is to be given, as the value of a `set-cookie` field.
pub fn hash(
    policies: &[HashPolicy],
    request: &Hashed<'_>,
    mut set_cookie: impl FnMut(HeaderValue),
) -> Option<u64> {
    let mut hash = None;
    for policy in policies {
        let found = match &policy.source {
            HashSource::Header(name) => of_values(request.headers.get_all(name).iter()),
            HashSource::SourceAddress => Some(hash_of_address(request.client)),
            HashSource::Query(name) => {
                request.uri.query().and_then(|all| query::first(all, name)).map(of_text)
            }
            HashSource::Cookie(HashCookie { name, set }) => match (cookie::first(request.headers, name), set)
            {
                (Some(value), _) => Some(xxh64(value, 0)),
                (None, None) => None,
                (None, Some(cookie)) => {
                    let value = made_up(request.connection);
                    set_cookie(self::set_cookie(cookie, &value));
                    Some(of_text(&value))
                }
            },
        };
        if let Some(found) = found {
            // Turned, so that two that are the same do not cancel each other out.
            hash = Some(hash.map_or(0, |before: u64| before.rotate_left(1)) ^ found);
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

/// What a client's address is hashed to: all that there is of a TCP connection.
pub fn hash_of_address(client: IpAddr) -> u64 {
    of_text(&client.to_string())
}

fn of_text(text: &str) -> u64 {
    xxh64(text.as_bytes(), 0)
}

/// Of all values, in whatever order they come.
fn of_values<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<u64> {
    let first = values.next()?.as_bytes();
    let Some(second) = values.next() else { return Some(xxh64(first, 0)) };
    let mut all: Vec<_> =
        [first, second.as_bytes()].into_iter().chain(values.map(HeaderValue::as_bytes)).collect();
    all.sort_unstable();
    Some(all.into_iter().fold(0, |seed, value| xxh64(value, seed)))
}

/// The value of a cookie for a client that has none: the same for all requests of a connection, so that they get the same
/// one even if they come at once.
fn made_up((client, server): (SocketAddr, SocketAddr)) -> String {
    format!("{:016x}", of_text(&format!("{client}{server}")))
}

/// The value of a `set-cookie` field (RFC 6265, section 4.1). `value` is made of letters, digits, `-` and `_`.
pub fn set_cookie(cookie: &Cookie, value: &str) -> HeaderValue {
    let Cookie { name, path, ttl } = cookie;
    let age = ttl.map(|ttl| format!("; Max-Age={}", ttl.as_secs())).unwrap_or_default();
    // Name and path were checked when the configuration was read.
    HeaderValue::try_from(format!("{name}={value}{age}; Path={path}; HttpOnly"))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::*;

    fn policy(source: HashSource) -> HashPolicy {
        HashPolicy { source, terminal: false }
    }

    fn header(name: &'static str) -> HashPolicy {
        policy(HashSource::Header(HeaderName::from_static(name)))
    }

    fn run(policies: &[HashPolicy], fields: &[(&'static str, &str)]) -> (Option<u64>, Vec<String>) {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            });
        let request = Hashed {
            headers: &headers,
            uri: &"/p?user=ann&user=bob".parse().unwrap(),
            client: [10, 0, 0, 7].into(),
            connection: ("10.0.0.7:99".parse().unwrap(), "10.0.0.1:80".parse().unwrap()),
        };
        let mut set = Vec::new();
        let hash = hash(policies, &request, |cookie| set.push(cookie.to_str().unwrap().to_owned()));
        (hash, set)
    }

    #[test]
    fn what_a_request_does_not_have_gives_no_hash() {
        assert_eq!(run(&[], &[]).0, None);
        assert_eq!(run(&[header("x-user"), policy(HashSource::Query("none".into()))], &[]).0, None);
    }

    #[test]
    fn the_values_of_a_field_are_hashed_in_any_order() {
        let one = run(&[header("x-user")], &[("x-user", "a"), ("x-user", "b")]).0;
        assert_eq!(one, run(&[header("x-user")], &[("x-user", "b"), ("x-user", "a")]).0);
        assert_ne!(one, run(&[header("x-user")], &[("x-user", "a")]).0);
        assert_eq!(run(&[header("x-user")], &[("x-user", "a")]).0, Some(xxh64(b"a", 0)));
    }

    #[test]
    fn the_address_and_the_first_parameter_are_hashed_as_text() {
        assert_eq!(run(&[policy(HashSource::SourceAddress)], &[]).0, Some(xxh64(b"10.0.0.7", 0)));
        assert_eq!(run(&[policy(HashSource::Query("user".into()))], &[]).0, Some(xxh64(b"ann", 0)));
    }

    #[test]
    fn what_is_the_same_twice_does_not_cancel_itself_out_and_after_a_terminal_one_nothing_counts() {
        let a = xxh64(b"a", 0);
        let fields = [("x-a", "a"), ("x-b", "a")];
        assert_eq!(run(&[header("x-a"), header("x-b")], &fields).0, Some(a.rotate_left(1) ^ a));
        let terminal = HashPolicy { terminal: true, ..header("x-a") };
        assert_eq!(run(&[terminal.clone(), header("x-b")], &fields).0, Some(a));
        assert_eq!(run(&[terminal, header("x-b")], &fields[1..]).0, Some(a), "the first found nothing");
    }

    #[test]
    fn a_cookie_that_is_missing_is_made_up_only_where_it_may_be_set() {
        let cookie = |set| policy(HashSource::Cookie(HashCookie { name: "s".into(), set }));
        let fields = [("cookie", "other=1; s=\"abc\"; s=2")];
        assert_eq!(run(&[cookie(None)], &fields).0, Some(xxh64(b"abc", 0)));
        assert_eq!(run(&[cookie(None)], &[("cookie", "sx=1; xs=1")]).0, None);
        let ttl = Some(Duration::from_secs(90));
        let set = Some(Cookie { name: "s".into(), path: "/a".into(), ttl });
        assert_eq!(run(&[cookie(set.clone())], &fields).1, [""; 0]);
        let (hash, cookies) = run(&[cookie(set)], &[]);
        let (value, rest) = cookies[0].strip_prefix("s=").unwrap().split_once(';').unwrap();
        assert_eq!(rest, " Max-Age=90; Path=/a; HttpOnly");
        assert_eq!(
            hash,
            Some(xxh64(value.as_bytes(), 0)),
            "the next request, which has it, has the same hash"
        );
    }
}
