//! What ties a request to an endpoint: its hash, the endpoint that a filter wants or a cookie says, the subset that its
//! route is for; and the cookies that tie the next request to the same one.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::peer::Peer;
use crate::config::model::{Address, Clusters, Forward, MetadataMatch};
use crate::route::{self, Hashed, Target};
use crate::upstream::{Cluster, Criteria, Health};
use crate::wasm::stream::Stream;

/// What ties a request to an endpoint.
#[derive(Debug)]
pub(super) struct Ties<'a> {
    cluster: &'a Cluster,
    hash: Option<u64>,
    preferred: Option<Address>,
    strict: bool,
    subset: Option<&'a MetadataMatch>,
    /// The endpoint that the cluster's cookie says.
    known: Option<Address>,
    /// Those that the hash was made up for.
    cookies: SmallVec<[HeaderValue; 1]>,
}

/// The cookies that a client gets: those of each endpoint that its request was led to.
#[derive(Debug, Default)]
pub(super) struct Cookies(Vec<HeaderValue>);

impl Cookies {
    /// Sets one, in the place of an earlier one that differs by its value alone.
    fn set(&mut self, cookie: &HeaderValue) {
        self.0.retain(|earlier| identity(earlier) != identity(cookie));
        self.0.push(cookie.clone());
    }

    /// Puts them into a response's fields.
    pub(super) fn give(&mut self, headers: &mut HeaderMap) {
        for cookie in self.0.drain(..) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// The name and the attributes of a cookie that is set.
fn identity(cookie: &HeaderValue) -> (&[u8], &[u8]) {
    let text = cookie.as_bytes();
    let end_of = |end| text.iter().position(|byte| *byte == end).unwrap_or(text.len());
    (&text[..end_of(b'=')], &text[end_of(b';')..])
}

impl<'a> Ties<'a> {
    /// Those of a request as it came out of the chain.
    pub(super) fn of(
        forward: &'a Forward,
        target: Target,
        cluster: &'a Cluster,
        stream: &Stream,
        peer: &Peer,
    ) -> Ties<'a> {
        let headers = &stream.request.headers;
        let mut cookies = SmallVec::new();
        let hash = (!forward.hash_policy.is_empty()).then(|| {
            let request = Hashed {
                headers,
                uri: &stream.request.uri,
                client: stream.info.source.ip(),
                connection: (peer.address, peer.local),
            };
            route::hash(&forward.hash_policy, &request, |cookie| cookies.push(cookie))
        });
        let affinity = cluster.affinity();
        let known = affinity
            .and_then(|affinity| affinity.endpoint(route::first_cookie(headers, affinity.cookie_name())?));
        // A filter knows more than a cookie does.
        let (preferred, strict) = match stream.preferred_endpoint {
            Some(endpoint) => (Some(endpoint.into()), false),
            None => (known, affinity.is_some_and(|affinity| affinity.is_strict())),
        };
        let subset = match (&forward.clusters, target.share) {
            (Clusters::Weighted(shares), Some(share)) => shares[share].metadata_match.as_ref(),
            _ => forward.metadata_match.as_ref(),
        };
        Ties { cluster, hash: hash.flatten(), preferred, strict, subset, known, cookies }
    }

    /// What is asked of the endpoint.
    pub(super) fn criteria(&self) -> Criteria<'a> {
        Criteria {
            hash: self.hash,
            preferred: self.preferred,
            strict: self.strict,
            subset: self.subset,
            ..Criteria::default()
        }
    }

    /// Ties the next request to the endpoint that this one went to, by `cookies` for the client. Where that is another one
    /// only because it was `retried`, the client stays with its own.
    pub(super) fn tie(self, endpoint: Option<Address>, retried: bool, cookies: &mut Cookies) {
        self.cookies.iter().for_each(|cookie| cookies.set(cookie));
        let Some((affinity, endpoint)) = self.cluster.affinity().zip(endpoint) else { return };
        if self.known != Some(endpoint)
            && !(retried && self.is_known_fit())
            && let Some(cookie) = affinity.cookie(endpoint)
        {
            cookies.set(cookie);
        }
    }

    /// Whether the cookie's endpoint is one that takes requests.
    fn is_known_fit(&self) -> bool {
        let place = self.known.and_then(|known| self.cluster.place_of(known));
        place
            .is_some_and(|place| self.strict || self.cluster.endpoints()[place].health() != Health::Unhealthy)
    }
}
