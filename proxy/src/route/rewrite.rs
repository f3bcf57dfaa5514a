//! What a route does to a head: another path, a redirect's `location`, other headers; and which of its clusters.

use bytes::Bytes;
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, Uri};

use super::host::split_port;
use crate::config::model::{Clusters, HeaderEdits, Known, PathMatch, PathRewrite, Redirect, RedirectPath};

/// A path was rewritten to something that is no path.
#[derive(Debug, thiserror::Error)]
#[error("the rewritten path is not valid")]
pub struct InvalidPath(#[source] InvalidUri);

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The cluster, as an index into the configuration's.
    pub cluster: usize,
    /// The share that it is, of several: an index into these.
    pub share: Option<usize>,
}

/// The cluster that a request with these `headers` goes to, if there is one. Of weighted ones each gets its weight's
/// share of the `random` numbers.
pub fn pick(clusters: &Clusters, headers: &HeaderMap, random: u64) -> Option<Target> {
    match clusters {
        Clusters::Weighted(shares) => {
            let share = place(shares.iter().map(|share| share.weight), random)?;
            Some(Target { cluster: shares[share].cluster, share: Some(share) })
        }
        Clusters::Named { header, allow } => {
            let name = std::str::from_utf8(headers.get(header)?.as_bytes()).ok()?;
            allow.get(name).map(|&cluster| Target { cluster, share: None })
        }
    }
}

/// The index of the cluster that a random number picks among shares; `None` without any.
pub fn pick_share(shares: &[(usize, u32)], random: u64) -> Option<usize> {
    place(shares.iter().map(|&(_, weight)| weight), random).map(|place| shares[place].0)
}

/// Which of these weights a random number picks.
fn place(weights: impl ExactSizeIterator<Item = u32> + Clone, random: u64) -> Option<usize> {
    if weights.len() == 1 {
        return Some(0);
    }
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut left = random % total.max(1);
    for (place, weight) in weights.enumerate() {
        match left.checked_sub(u64::from(weight)) {
            Some(rest) => left = rest,
            None => return Some(place),
        }
    }
    None
}

/// `uri` with its path rewritten, in origin form; its query stays. `matched` is what the route says of paths.
///
/// # Errors
///
/// If the result is not a path, which depends on what a regular expression's groups caught.
pub fn rewrite_path(uri: &Uri, matched: &PathMatch, rewrite: &PathRewrite) -> Result<Uri, InvalidPath> {
    let path = uri.path();
    let mut target = match rewrite {
        PathRewrite::Prefix(prefix) => replace_matched(path, matched, prefix),
        PathRewrite::Regex { pattern, substitution }
        | PathRewrite::Template { pattern, substitution, .. } => {
            pattern.replace_all(path, substitution.as_str()).into_owned()
        }
    };
    begin_with_slash(&mut target);
    if let Some(query) = uri.query() {
        target.reserve_exact(query.len() + 1);
        target.push('?');
        target.push_str(query);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(target)).map(Uri::from).map_err(InvalidPath)
}

/// Where a redirect leads: an absolute URI. `scheme` and `authority` are the request's own, the latter its `host`
/// with its port; `matched` is what the route says of paths. The result is not checked to be a header's value.
///
/// As in Envoy, the request's port is kept unless the redirect names a host or a port, or changes the scheme away
/// from the one whose default it is; a port that the redirect names is always written; and a query in the redirect's
/// own path replaces the request's, whatever `strip_query` says.
pub fn location(
    redirect: &Redirect,
    matched: &PathMatch,
    scheme: &str,
    authority: &str,
    uri: &Uri,
) -> String {
    let new_scheme = redirect.scheme.as_deref().unwrap_or(scheme);
    let host = redirect.host.as_deref().unwrap_or_else(|| {
        if drops_port(redirect, scheme, authority) { without_port(authority) } else { authority }
    });
    let (path, query) = target(redirect, matched, uri);

    let mut location = String::with_capacity(new_scheme.len() + host.len() + path.len() + query.len() + 10);
    location.push_str(new_scheme);
    location.push_str("://");
    location.push_str(host);
    if let Some(port) = redirect.port {
        location.push(':');
        location.push_str(&port.to_string());
    }
    location.push_str(&path);
    if !query.is_empty() {
        location.push('?');
        location.push_str(query);
    }
    location
}

fn drops_port(redirect: &Redirect, scheme: &str, authority: &str) -> bool {
    let scheme_changes = redirect.scheme.as_deref().is_some_and(|new| new != scheme);
    let port = &authority[without_port(authority).len()..];
    let default = matches!((scheme, port), ("http", ":80") | ("https", ":443"));
    redirect.port.is_some() || (scheme_changes && default)
}

fn without_port(authority: &str) -> &str {
    let (host, _) = split_port(authority.as_bytes());
    &authority[..host.len()]
}

/// A redirect's path and query.
fn target<'a>(redirect: &'a Redirect, matched: &PathMatch, uri: &'a Uri) -> (String, &'a str) {
    let kept = if redirect.strip_query { "" } else { uri.query().unwrap_or_default() };
    let (mut path, query) = match &redirect.path {
        Some(RedirectPath::Full(path)) => match path.split_once('?') {
            Some((path, query)) => (path.to_owned(), query),
            None => (path.clone(), kept),
        },
        Some(RedirectPath::Prefix(prefix)) => (replace_matched(uri.path(), matched, prefix), kept),
        None => (uri.path().to_owned(), kept),
    };
    begin_with_slash(&mut path);
    (path, query)
}

/// `path` with the part that the route matched replaced: its prefix, or the whole of it for an exact path or a regular
/// expression. A route that does not look at the path has matched none of it: the prefix comes in front.
fn replace_matched(path: &str, matched: &PathMatch, replacement: &str) -> String {
    let rest = match matched {
        PathMatch::Any => path,
        PathMatch::Prefix(prefix) | PathMatch::Segments(prefix) => {
            path.strip_prefix(prefix.as_str()).unwrap_or(path)
        }
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Template(_) => "",
    };
    let mut target = String::with_capacity(replacement.len() + rest.len() + 1);
    target.push_str(replacement);
    target.push_str(rest);
    target
}

fn begin_with_slash(path: &mut String) {
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
}

impl HeaderEdits {
    /// Makes the changes: removes, then sets, then adds. A field that is set to what is not known is there no more: it
    /// would say what whoever sent it likes.
    pub fn apply(&self, headers: &mut HeaderMap, known: &Known<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            match value.of(known) {
                Some(value) => drop(headers.insert(name.clone(), value)),
                None => drop(headers.remove(name)),
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.of(known) {
                headers.append(name.clone(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, StatusCode};
    use regex::Regex;

    use super::*;
    use crate::config::model::{FieldValue, Operator, RequestField, Share, Template};

    fn rewritten(target: &str, matched: PathMatch, rewrite: PathRewrite) -> String {
        rewrite_path(&target.parse().unwrap(), &matched, &rewrite).unwrap().to_string()
    }

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(text.into())
    }

    #[test]
    fn the_part_of_the_path_that_matched_is_replaced_and_the_query_stays() {
        let exact = PathMatch::Exact("/api".into());
        let pattern = PathMatch::Regex(Regex::new("^/a.*$").unwrap());
        for (target, matched, replacement, expected) in [
            ("/api/v1?x=1", prefix("/api"), "/new", "/new/v1?x=1"),
            ("/api", prefix("/api"), "/new", "/new"),
            ("/api/v1", prefix("/api/"), "/", "/v1"),
            ("/apix", prefix("/api"), "/", "/x"),
            ("/api/x", prefix("/api/"), "", "/x"),
            ("/api?", prefix("/api"), "/new", "/new?"),
            ("/api?x=%20", exact, "/new", "/new?x=%20"),
            ("/a/b", pattern, "/new", "/new"),
            ("/a/b", PathMatch::Any, "/new", "/new/a/b"),
        ] {
            let rewrite = PathRewrite::Prefix(replacement.into());
            assert_eq!(rewritten(target, matched, rewrite), expected, "{target}");
        }
    }

    #[test]
    fn every_match_of_a_pattern_is_replaced_and_groups_are_put_in() {
        for (target, pattern, substitution, expected) in [
            ("/a/b/a?a=a", "a", "x", "/x/b/x?a=a"),
            ("/users/42/posts", r"^/users/(\d+)/(.*)$", "/$2/of/$1", "/posts/of/42"),
            ("/users/42/posts", r"^/users/(?<id>\d+)/.*$", "/u/${id}", "/u/42"),
            ("/users/42", r"^/users/(\d+)$", "/u/$1", "/u/42"),
            ("/a", "^/a$", "/$0/$7/$$1", "//a//$1"),
            ("/a$1", r"(\$1)", "b$1", "/ab$1"),
            ("/a", "^/(a)$", r"/\1", r"/\1"),
            ("/a", "^/a", "b", "/b"),
        ] {
            let rewrite = PathRewrite::Regex {
                pattern: Regex::new(pattern).unwrap(),
                substitution: substitution.into(),
            };
            assert_eq!(rewritten(target, PathMatch::Any, rewrite), expected, "{substitution}");
        }
    }

    #[test]
    fn a_path_that_cannot_be_sent_is_an_error() {
        let rewrite = PathRewrite::Prefix("/a b".into());
        assert!(rewrite_path(&Uri::from_static("/"), &prefix("/"), &rewrite).is_err());
    }

    fn redirect() -> Redirect {
        Redirect {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: None,
            host: None,
            port: None,
            path: None,
            strip_query: false,
        }
    }

    fn to(redirect: Redirect, scheme: &str, authority: &str, target: &str) -> String {
        location(&redirect, &prefix("/a"), scheme, authority, &target.parse().unwrap())
    }

    #[test]
    fn what_a_redirect_does_not_change_stays() {
        assert_eq!(to(redirect(), "http", "h:8080", "/a?x=1"), "http://h:8080/a?x=1");
    }

    #[test]
    fn the_port_goes_with_the_host_or_the_scheme_that_it_belongs_to() {
        let https = || Redirect { scheme: Some("https".into()), ..redirect() };
        assert_eq!(to(https(), "http", "h:80", "/a"), "https://h/a");
        assert_eq!(to(https(), "http", "[::1]:80", "/a"), "https://[::1]/a");
        assert_eq!(to(https(), "http", "h:8080", "/a"), "https://h:8080/a");
        assert_eq!(to(https(), "https", "h:443", "/a"), "https://h:443/a");
        let host = Redirect { host: Some("other".into()), ..redirect() };
        assert_eq!(to(host, "http", "h:8080", "/a"), "http://other/a");
        let port = Redirect { port: Some(443), ..https() };
        assert_eq!(to(port, "http", "[::1]:8080", "/a"), "https://[::1]:443/a");
    }

    #[test]
    fn a_redirect_changes_the_whole_path_or_the_prefix() {
        let full = |path: &str| Redirect { path: Some(RedirectPath::Full(path.into())), ..redirect() };
        assert_eq!(to(full("/b"), "http", "h", "/a/c?x=1"), "http://h/b?x=1");
        assert_eq!(to(full("b"), "http", "h", "/a"), "http://h/b");
        let prefix = Redirect { path: Some(RedirectPath::Prefix("/b".into())), ..redirect() };
        assert_eq!(to(prefix, "http", "h", "/a/c?x=1"), "http://h/b/c?x=1");
    }

    #[test]
    fn a_query_is_dropped_when_asked_for_and_replaced_by_that_of_the_new_path() {
        let stripped = Redirect { strip_query: true, ..redirect() };
        assert_eq!(to(stripped.clone(), "http", "h", "/a?x=1"), "http://h/a");
        let path = Some(RedirectPath::Full("/b?y=2".into()));
        assert_eq!(
            to(Redirect { path: path.clone(), ..redirect() }, "http", "h", "/a?x=1"),
            "http://h/b?y=2"
        );
        assert_eq!(to(Redirect { path, ..stripped }, "http", "h", "/a?x=1"), "http://h/b?y=2");
    }

    #[test]
    fn clusters_are_picked_by_their_weights() {
        let pick = |shares: &[(usize, u32)], random| {
            let share = |&(cluster, weight)| Share { cluster, weight, metadata_match: None };
            let clusters = Clusters::Weighted(shares.iter().map(share).collect());
            pick(&clusters, &HeaderMap::new(), random).map(|target| target.cluster)
        };
        assert_eq!(pick(&[(7, 1)], u64::MAX), Some(7));
        let picked = (0..1000).filter(|&random| pick(&[(3, 95), (1, 5)], random) == Some(1)).count();
        assert_eq!(picked, 50);
        assert_eq!(pick(&[(0, u32::MAX), (1, u32::MAX)], u64::from(u32::MAX)), Some(1));
    }

    #[test]
    fn a_header_names_one_of_the_clusters_that_it_may_name() {
        let header = HeaderName::from_static("x-cluster");
        let allow =
            [("api", 4), ("outbound|80||svc", 2)].map(|(name, index)| (name.to_owned(), index)).into();
        let clusters = Clusters::Named { header: header.clone(), allow };
        let named = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header.clone(), HeaderValue::from_bytes(value).unwrap());
            }
            pick(&clusters, &headers, 0).map(|target| target.cluster)
        };
        assert_eq!(named(&[b"api"]), Some(4));
        assert_eq!(named(&[b"outbound|80||svc", b"api"]), Some(2));
        for other in [&b"API"[..], b"api ", b"api,api", b"", b"admin", b"\xff"] {
            assert_eq!(named(&[other]), None, "{other:?}");
        }
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn headers_are_removed_then_set_then_added() {
        let pair = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut headers: HeaderMap =
            [pair("x-a", "1"), pair("x-a", "2"), pair("x-b", "1"), pair("x-c", "1")].into_iter().collect();
        let plain =
            |name, value| (HeaderName::from_static(name), FieldValue::Plain(HeaderValue::from_static(value)));
        let made =
            |name, text| (HeaderName::from_static(name), FieldValue::Made(Template::parse(text).unwrap()));
        let edits = HeaderEdits {
            remove: vec![HeaderName::from_static("x-b"), HeaderName::from_static("x-d")],
            set: vec![plain("x-a", "3"), plain("x-b", "4"), made("x-c", "%ROUTE_NAME%")],
            add: vec![
                plain("x-a", "5"),
                made("x-c", "%METHOD:1% of %ROUTE_NAME%"),
                made("x-e", "%REQ(x-bad)%"),
            ],
        };
        edits.apply(&mut headers, &|operator| match operator {
            Operator::Request(RequestField::Method, _) => Some(b"GET".into()),
            Operator::Request(..) => Some(b"no\nfield".into()),
            _ => None,
        });
        let values = |name| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("x-a"), ["3", "5"]);
        assert_eq!(values("x-b"), ["4"]);
        assert_eq!(values("x-c"), ["G of"], "what is set to nothing is gone");
        assert!(values("x-e").is_empty(), "what cannot be a field is none");
    }
}
