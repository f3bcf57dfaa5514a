//! What a test sends: requests, and the responses of services.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::wasm::stream::{Certificate, Tls};

/// A request of a client.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// use tidegate_test::Request;
///
/// let request = Request::post("/orders?dry=1").header("x-user", "ann").body("two apples").on_worker(1);
/// ```
///
/// It comes to the filter as it is here: with `host: service.test`, unless it is given another, and for a [`body`] of a
/// known length `content-length`. What the proxy adds before its chain is not added: `x-forwarded-for`,
/// `x-forwarded-proto`, `x-request-id`.
///
/// [`body`]: Request::body
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) scheme: HeaderValue,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) worker: usize,
    pub(crate) client: SocketAddr,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) properties: Vec<(Vec<u8>, Bytes)>,
    pub(crate) route: Option<String>,
    pub(crate) cluster: Option<String>,
}

/// What a service answers: the one behind the proxy, or one that the filter calls.
///
/// ```
/// # use tidegate::kit as tidegate_test;
/// use std::time::Duration;
/// use tidegate_test::Response;
///
/// let response = Response::new(200).header("x-version", "7").chunks(["he", "llo"]).after(Duration::from_millis(20));
/// ```
#[derive(Debug, Clone)]
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) after: Duration,
}

/// A message's body and trailers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) end: PayloadEnd,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum PayloadEnd {
    /// With what is there.
    #[default]
    Whole,
    /// The test gives more, and the end.
    Open,
    /// Broken off after what is there.
    Cut,
}

impl Payload {
    /// Whether the message ends with its head.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none() && self.end == PayloadEnd::Whole
    }

    /// The length of the body, where it is known.
    pub(crate) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl Request {
    /// A request with a method and a target, which is a path and perhaps a query.
    ///
    /// # Panics
    ///
    /// When the method is none, or the target does not begin with `/`. The same holds for whatever is malformed below.
    #[track_caller]
    pub fn new(method: &str, target: &str) -> Request {
        let Ok(method) = method.parse() else { panic!("`{method}` is not a method") };
        let uri: Option<Uri> = target.parse().ok().filter(|_| target.starts_with('/') || target == "*");
        let Some(target) = uri else {
            panic!("`{target}` is not a request's target: a path that begins with `/`")
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("service.test"));
        Request {
            method,
            target,
            scheme: HeaderValue::from_static("http"),
            headers,
            payload: Payload::default(),
            worker: 0,
            client: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 40_000)),
            tls: None,
            properties: Vec::new(),
            route: None,
            cluster: None,
        }
    }

    /// `GET`
    #[track_caller]
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// `HEAD`
    #[track_caller]
    pub fn head(target: &str) -> Request {
        Request::new("HEAD", target)
    }

    /// `POST`
    #[track_caller]
    pub fn post(target: &str) -> Request {
        Request::new("POST", target)
    }

    /// `PUT`
    #[track_caller]
    pub fn put(target: &str) -> Request {
        Request::new("PUT", target)
    }

    /// `DELETE`
    #[track_caller]
    pub fn delete(target: &str) -> Request {
        Request::new("DELETE", target)
    }

    /// Adds a header, beside others of its name. `host` is `:authority` to the filter; here it replaces what was there.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        let (name, value) = field(name, value.as_ref());
        if name == HOST {
            self.headers.insert(name, value);
        } else {
            self.headers.append(name, value);
        }
        self
    }

    /// The same of what was checked before.
    pub(crate) fn field(mut self, name: HeaderName, value: HeaderValue) -> Request {
        match name == HOST || name == CONTENT_LENGTH {
            true => _ = self.headers.insert(name, value),
            false => _ = self.headers.append(name, value),
        }
        self
    }

    /// `:scheme`: `http`, unless it is set here.
    #[track_caller]
    pub fn scheme(mut self, scheme: &str) -> Request {
        self.scheme = value_of(":scheme", scheme.as_bytes());
        self
    }

    /// The body, which comes in one piece. Its length is in `content-length`.
    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        set_body(&mut self.headers, &mut self.payload, body.into());
        self
    }

    /// The body in pieces, which come one after the other at one moment, without `content-length`. The last one carries
    /// the end; an empty one behind the others has the end come apart.
    pub fn chunks<P: Into<Bytes>>(mut self, pieces: impl IntoIterator<Item = P>) -> Request {
        self.payload.pieces = pieces.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a trailer.
    #[track_caller]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        let (name, value) = field(name, value.as_ref());
        self.payload.trailers.get_or_insert_default().append(name, value);
        self
    }

    /// More of the body follows: see [`Exchange::request_body`](super::Exchange::request_body).
    pub fn open_ended(mut self) -> Request {
        self.payload.end = PayloadEnd::Open;
        self
    }

    /// The worker that takes it, from 0.
    pub fn on_worker(mut self, worker: usize) -> Request {
        self.worker = worker;
        self
    }

    /// Who sent it: `source.address`. `192.0.2.1:40000`, unless it is set here.
    #[track_caller]
    pub fn client(mut self, address: &str) -> Request {
        let Ok(client) = address.parse() else { panic!("`{address}` is not an address: give `IP:PORT`") };
        self.client = client;
        self
    }

    /// The connection that it came on is encrypted: `:scheme` is `https`, and the `connection` properties say so.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// use tidegate_test::{Certificate, Request, Tls};
    ///
    /// let certificate = Certificate { subject: "CN=ann".to_owned(), ..Certificate::default() };
    /// let request = Request::get("/").tls(Tls { peer: Some(certificate), ..Tls::default() });
    /// ```
    pub fn tls(mut self, tls: Tls) -> Request {
        self.scheme = HeaderValue::from_static("https");
        self.tls = Some(Arc::new(tls));
        self
    }

    /// The client proved by mutual TLS that it is this: a URI in its certificate, as a SPIFFE id is one.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::Request;
    /// let request = Request::get("/").identity("spiffe://example.org/ns/shop/sa/cart");
    /// ```
    pub fn identity(self, uri: &str) -> Request {
        let peer = Certificate { uri_sans: vec![uri.to_owned()], ..Certificate::default() };
        self.tls(Tls { version: "TLSv1.3".to_owned(), peer: Some(peer), ..Tls::default() })
    }

    /// Something that a filter before this one stored on the exchange, under a property path.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::Request;
    /// let request = Request::get("/").property(&["jwt", "sub"], "ann");
    /// ```
    pub fn property(mut self, path: &[&str], value: impl Into<Bytes>) -> Request {
        self.properties.push((path.join("\0").into_bytes(), value.into()));
        self
    }

    /// The route that it takes: `xds.route_name`. None, unless it is set here.
    pub fn route(mut self, name: &str) -> Request {
        self.route = Some(name.to_owned());
        self
    }

    /// The cluster that it goes to: `xds.cluster_name`. None, unless it is set here.
    pub fn cluster(mut self, name: &str) -> Request {
        self.cluster = Some(name.to_owned());
        self
    }
}

impl Response {
    /// A response with a status, 200 to 599.
    #[track_caller]
    pub fn new(status: u16) -> Response {
        let status = match StatusCode::from_u16(status) {
            Ok(found) if (200..600).contains(&status) => found,
            _ => panic!("{status} is not the status of a response: give 200 to 599"),
        };
        Response { status, headers: HeaderMap::new(), payload: Payload::default(), after: Duration::ZERO }
    }

    /// Adds a header, beside others of its name.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Response {
        let (name, value) = field(name, value.as_ref());
        self.headers.append(name, value);
        self
    }

    /// The same of what was checked before.
    pub(crate) fn field(mut self, name: HeaderName, value: HeaderValue) -> Response {
        match name == CONTENT_LENGTH {
            true => _ = self.headers.insert(name, value),
            false => _ = self.headers.append(name, value),
        }
        self
    }

    /// The body, which comes in one piece. Its length is in `content-length`.
    pub fn body(mut self, body: impl Into<Bytes>) -> Response {
        set_body(&mut self.headers, &mut self.payload, body.into());
        self
    }

    /// The body in pieces: see [`Request::chunks`].
    pub fn chunks<P: Into<Bytes>>(mut self, pieces: impl IntoIterator<Item = P>) -> Response {
        self.payload.pieces = pieces.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a trailer.
    #[track_caller]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Response {
        let (name, value) = field(name, value.as_ref());
        self.payload.trailers.get_or_insert_default().append(name, value);
        self
    }

    /// More of the body follows: see [`Exchange::response_body`](super::Exchange::response_body).
    pub fn open_ended(mut self) -> Response {
        self.payload.end = PayloadEnd::Open;
        self
    }

    /// The service breaks off after what is there.
    pub fn cut(mut self) -> Response {
        self.payload.end = PayloadEnd::Cut;
        self
    }

    /// How long the service takes, in virtual time.
    pub fn after(mut self, time: Duration) -> Response {
        self.after = time;
        self
    }
}

fn set_body(headers: &mut HeaderMap, payload: &mut Payload, body: Bytes) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    payload.pieces = if body.is_empty() { Vec::new() } else { vec![body] };
}

#[track_caller]
fn field(name: &str, value: &[u8]) -> (HeaderName, HeaderValue) {
    let Ok(found) = HeaderName::from_bytes(name.as_bytes()) else {
        panic!("`{name}` is not a header's name")
    };
    (found, value_of(name, value))
}

#[track_caller]
fn value_of(name: &str, value: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(value)
        .unwrap_or_else(|_| panic!("`{}` is not a value for `{name}`", value.escape_ascii()))
}
