//! Redirects of upstreams that the proxy follows itself: the request begins anew with where it is sent to, on another route
//! and through its filters, and the client sees the last answer alone. Only requests without a body begin anew.

use std::rc::Rc;
use std::time::SystemTime;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, Uri};

use super::answer::Ending;
use super::{Exchange, chain};
use crate::config::model::{FollowRedirects, Forward};
use crate::path::{self, EscapedSlashes, Normalized};
use crate::upstream::ResponseBody;
use crate::wasm::stream::{RequestHead, Stream, StreamInfo};

/// What the client asked for, as Envoy says it.
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-envoy-original-url");

impl Exchange {
    /// Whether an upstream's answer is a redirect that is followed: then the exchange stands where it was before its route
    /// was found. Where it leads to no route, the client gets the redirect.
    pub(super) fn follow(
        &mut self,
        forward: &Forward,
        response: &Response<ResponseBody>,
    ) -> Result<bool, Ending> {
        let Some(policy) = &forward.follow_redirects else { return Ok(false) };
        if self.followed >= policy.max || self.upgrade.is_some() || !policy.codes.contains(&response.status())
        {
            return Ok(false);
        }
        let head = {
            let stream = self.run.stream().borrow();
            let Some(mut head) = target(policy, &stream.request, response, self.followed == 0) else {
                return Ok(false);
            };
            // It is the form that is sent which has to lead somewhere.
            match path::normalize(&head.uri, &self.site.listener().path_normalization) {
                Ok(None) => {}
                Ok(Some(normalized)) if !self.asks_for(&normalized) => head.uri = normalized.uri,
                // It is for the client to see where that leads.
                Ok(Some(_)) | Err(_) => return Ok(false),
            }
            // What filters stored they store again, if they come to the same.
            if self.site.route_for(&head, &stream).is_none() {
                return Ok(false);
            }
            head
        };
        self.followed += 1;
        self.begin_anew(head);
        Ok(true)
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
        let mut stream = Stream::new(head, info, self.site.chain().len());
        if !self.site.chain().is_empty() {
            stream.connection = Some(self.peer.properties.clone());
        }
        self.run = chain::run(&Rc::clone(&self.site), stream);
    }
}

/// Where a redirect leads, if it is to be followed.
fn target(
    policy: &FollowRedirects,
    request: &RequestHead,
    response: &Response<ResponseBody>,
    is_first: bool,
) -> Option<RequestHead> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let location: Uri = location.split('#').next()?.parse().ok()?;
    let path = location.path_and_query().map_or("/", PathAndQuery::as_str);
    // Two slashes begin with another host (RFC 3986, 4.2).
    if !path.starts_with('/') || (location.authority().is_none() && path.starts_with("//")) {
        return None;
    }
    let mut head = request.clone();
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
    if is_first {
        note_original(request, &mut head.headers); // whatever the client says that it asked for
    }
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
