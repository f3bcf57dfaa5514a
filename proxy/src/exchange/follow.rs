//! Redirects of upstreams that the proxy follows itself: the request begins anew with where it is sent to, on another route
//! and through its filters, and the client sees the last answer alone. A body is kept for that as it comes, as far as a filter
//! could have it kept.

use std::rc::Rc;
use std::time::SystemTime;

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, LOCATION, TRAILER,
};
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, Uri};

use super::answer::Ending;
use super::kept::Kept;
use super::upload::Upload;
use super::{Exchange, chain};
use crate::config::model::{FollowRedirects, Forward, Route};
use crate::path::{self, EscapedSlashes, Normalized};
use crate::upstream::ResponseBody;
use crate::wasm::stream::{Direction, RequestHead, Stream, StreamInfo};

/// What was asked for before, as Envoy says it.
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-envoy-original-url");

/// A request as it was before it passed the chain, where it may have to pass it again.
pub(super) struct Sent {
    head: Option<RequestHead>,
    body: SentBody,
}

enum SentBody {
    /// There was none.
    None,
    /// What came of it.
    Kept(Kept),
    /// It is gone.
    Gone,
}

/// Where an upstream's answer leads.
pub(super) enum Way {
    /// To the client.
    Back,
    /// On, with this body.
    On(Option<Upload>),
}

/// What speaks of a body that is not sent.
const OF_THE_BODY: [HeaderName; 5] =
    [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, TRAILER];

impl Exchange {
    /// Sees to it that the request can begin anew, where a redirect may be followed.
    pub(super) fn keep(&self, body: Option<&mut Upload>) -> Sent {
        // The route may be another when filters have stored what it looks at.
        let route = self.route.filter(|_| !self.site.routes().looks_at_properties());
        let limit = match route {
            Some(index) => self.site.followed_bytes(index),
            None => self.site.most_followed_bytes(),
        };
        Sent {
            head: limit.map(|_| self.run.stream().borrow().request.clone()),
            body: match (body, limit) {
                (None, _) => SentBody::None,
                (Some(body), Some(limit)) => SentBody::Kept(body.keep(limit)),
                (Some(_), None) => SentBody::Gone,
            },
        }
    }

    /// Where an upstream's answer leads: if it is a redirect that is followed, the exchange stands where it was before its
    /// route was found. Where that leads to no route, the client gets the redirect.
    pub(super) fn follow(
        &mut self,
        route: &Route,
        forward: &Forward,
        response: &Response<ResponseBody>,
        sent: Sent,
    ) -> Result<Way, Ending> {
        let (Some(policy), Some(head)) = (&forward.follow_redirects, sent.head) else { return Ok(Way::Back) };
        if self.followed >= policy.max || self.upgrade.is_some() || !policy.codes.contains(&response.status())
        {
            return Ok(Way::Back);
        }
        let mut head = {
            let stream = self.run.stream().borrow();
            let Some(mut head) = target(policy, head, &stream.request, response) else {
                return Ok(Way::Back);
            };
            // It is the form that is sent which has to lead somewhere.
            match path::normalize(&head.uri, &self.site.listener().path_normalization) {
                Ok(None) => {}
                Ok(Some(normalized)) if !self.asks_for(&normalized) => head.uri = normalized.uri,
                // It is for the client to see where that leads.
                Ok(Some(_)) | Err(_) => return Ok(Way::Back),
            }
            // What filters stored they store again, if they come to the same.
            if self.site.route_for(&head, &stream).is_none() {
                return Ok(Way::Back);
            }
            head
        };
        let body = match sent.body {
            SentBody::None => None,
            SentBody::Gone => return Ok(Way::Back),
            SentBody::Kept(kept) => {
                // What has not come yet, or is too much, cannot be sent again.
                let limit = route.buffer_limit.unwrap_or(self.site.listener().buffer_limit);
                let Some(body) = kept.take(limit) else { return Ok(Way::Back) };
                if response.status() == StatusCode::SEE_OTHER {
                    OF_THE_BODY.iter().for_each(|name| drop(head.headers.remove(name)));
                    None
                } else {
                    Some(body)
                }
            }
        };
        self.followed += 1;
        self.begin_anew(head);
        Ok(Way::On(body.map(|body| Upload::again(body, &self.peer))))
    }

    /// Whether the client is to ask by itself for what a path became.
    fn asks_for(&self, normalized: &Normalized) -> bool {
        let rules = &self.site.listener().path_normalization;
        normalized.unescaped && rules.escaped_slashes == EscapedSlashes::Redirect
    }

    /// The filters end their part, and others, or the same, begin one: a rule about where the request goes now is not
    /// dodged.
    fn begin_anew(&mut self, head: RequestHead) {
        let info = {
            let before = &self.run.stream().borrow().info;
            let start = if self.site.chain().is_empty() { SystemTime::UNIX_EPOCH } else { SystemTime::now() };
            let mut info = StreamInfo::new(start, before.source, before.destination);
            (info.connection_id, info.protocol) = (before.connection_id, before.protocol);
            (info.tls, info.unix, info.chance) = (before.tls.clone(), before.unix, before.chance);
            info
        };
        self.run.finish_after(self.watch.beginning.elapsed());
        self.received = self.received.max(self.run.meter().bytes(Direction::Request));
        let received = self.run.meter().request_end(self.watch.beginning);
        let mut stream = Stream::new(head, info, self.site.chain().len());
        if !self.site.chain().is_empty() {
            stream.connection = Some(self.peer.properties.clone());
        }
        self.run = chain::run(&Rc::clone(&self.site), stream);
        self.run.meter().begin_again(received);
    }
}

/// Where a redirect leads, if it is to be followed. `head` is the request's as it came, `request` as it was sent.
fn target(
    policy: &FollowRedirects,
    mut head: RequestHead,
    request: &RequestHead,
    response: &Response<ResponseBody>,
) -> Option<RequestHead> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let location: Uri = location.split('#').next()?.parse().ok()?;
    let path = location.path_and_query().map_or("/", PathAndQuery::as_str);
    // Two slashes begin with another host (RFC 3986, 4.2).
    if !path.starts_with('/') || (location.authority().is_none() && path.starts_with("//")) {
        return None;
    }
    if let (Some(scheme), Some(authority)) = (location.scheme_str(), location.authority()) {
        let crosses = !request.scheme.as_bytes().eq_ignore_ascii_case(scheme.as_bytes());
        let known = matches!(scheme, "http" | "https");
        if authority.as_str().contains('@') || !known || (crosses && !policy.cross_scheme) {
            return None;
        }
        head.scheme = HeaderValue::from_str(scheme).ok()?;
        head.headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    } else if location.authority().is_some() {
        return None;
    }
    note_original(request, &mut head.headers);
    head.uri = PathAndQuery::try_from(path).ok()?.into();
    if response.status() == StatusCode::SEE_OTHER && head.method != Method::HEAD {
        head.method = Method::GET; // RFC 9110 section 15.4.4
    }
    Some(head)
}

fn note_original(request: &RequestHead, headers: &mut HeaderMap) {
    let host = request.headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let url = [request.scheme.as_bytes(), b"://", host, request.uri.to_string().as_bytes()].concat();
    if let Ok(url) = HeaderValue::from_bytes(&url) {
        headers.insert(ORIGINAL_URL, url);
    }
}
