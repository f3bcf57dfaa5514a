//! Requests of web pages of other origins (<https://fetch.spec.whatwg.org/#http-cors-protocol>): preflight requests are
//! answered, and answers to the others say what pages may see of them.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};

use super::Exchange;
use super::answer::Ending;
use crate::config::model::Cors;
use crate::route;
use crate::wasm::stream::RequestHead;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

impl Exchange {
    /// Answers a preflight request, which no filter sees. An origin that may not is answered without a word of permission,
    /// or its request goes on.
    pub(super) fn answer_preflight(&self) -> Result<(), Ending> {
        let Some(cors) = self.cors() else { return Ok(()) };
        let request = &self.run.stream().borrow().request;
        let asks =
            request.method == Method::OPTIONS && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || !request.headers.contains_key(ORIGIN) {
            return Ok(());
        }
        match origin(cors, request) {
            Some(_) => {
                let headers = preflight(cors, request);
                Err(Ending::answer(StatusCode::OK, headers, "cors_preflight"))
            }
            None if cors.forwards_others => Ok(()),
            None => Err(Ending::answer(StatusCode::OK, HeaderMap::new(), "cors_origin_not_allowed")),
        }
    }

    /// Says in a response's header fields what pages may see of it. What the upstream says of that is replaced.
    pub(super) fn expose_response(&self, headers: &mut HeaderMap) {
        let Some(cors) = self.cors() else { return };
        vary_by(headers, "origin"); // also where there is none: a cache may have this for somebody who has one
        let request = &self.run.stream().borrow().request;
        let Some(origin) = origin(cors, request) else { return };
        allow(cors, origin, headers);
        if !cors.expose.is_empty() {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, list(cors.expose.iter().map(HeaderName::as_str)));
        }
    }

    fn cors(&self) -> Option<&Cors> {
        self.site.listener().routes[self.route?].cors.as_deref()
    }
}

/// The origin of the page that sends the request, if it may.
fn origin<'a>(cors: &Cors, request: &'a RequestHead) -> Option<&'a HeaderValue> {
    let origin = request.headers.get(ORIGIN).filter(|origin| !origin.is_empty())?;
    let may = cors.origins.is_empty()
        || cors.origins.iter().any(|allowed| route::holds_of_value(allowed, origin.as_bytes()));
    may.then_some(origin)
}

/// What every answer says. It depends on the origin, which caches have to know (Fetch, "CORS protocol and HTTP caches").
fn allow(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if cors.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    } else {
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    }
}

fn preflight(cors: &Cors, request: &RequestHead) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !cors.methods.is_empty() {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, list(cors.methods.iter().map(Method::as_str)));
    }
    if !cors.headers.is_empty() {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, list(cors.headers.iter().map(HeaderName::as_str)));
    }
    if let Some(age) = cors.max_age {
        headers.insert(ACCESS_CONTROL_MAX_AGE, age.as_secs().into());
    }
    if cors.private_network && request.headers.get(REQUEST_PRIVATE_NETWORK) == Some(&TRUE) {
        headers.insert(ALLOW_PRIVATE_NETWORK, TRUE);
    }
    headers
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> HeaderValue {
    let text = items.collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Has `vary` say that a response depends on a field of the request, unless it does.
pub(super) fn vary_by(headers: &mut HeaderMap, field: &'static str) {
    let says = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|one| one.trim() == "*" || one.trim().eq_ignore_ascii_case(field))
    };
    if !headers.get_all(VARY).iter().any(says) {
        headers.append(VARY, HeaderValue::from_static(field));
    }
}
