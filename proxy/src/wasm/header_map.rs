//! Header maps as guests see and change them.
//!
//! A request's line and a response's status are entries like any other to a guest (`:method`, `:path`, `:scheme`,
//! `:status`), and `host` is what it sees as `:authority`. Names are compared without regard to case. Whether a map may
//! be changed at the moment is not decided here.

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use smallvec::SmallVec;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::abi::{MapType, Status};
use super::fields::Fields;
use super::pairs::Pair;
use super::stream::{RequestHead, ResponseHead, Stream, Subject};

/// The most fields and bytes that guests may make a map have.
const MAX_FIELDS: usize = 1024;
const MAX_BYTES: usize = 1 << 20;

/// A header map as guests read it.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    /// A request's.
    Request(&'a RequestHead),
    /// A response's.
    Response(&'a StatusCode, &'a HeaderMap),
    /// A map without pseudo-headers.
    Plain(&'a HeaderMap),
}

impl<'a> View<'a> {
    /// How many entries it has.
    pub(crate) fn len(self) -> usize {
        match self {
            // Where no name is there twice there is one `host` at most.
            View::Request(head) if head.headers.keys_len() == head.headers.len() => head.headers.len() + 3,
            View::Request(head) => {
                // However many `host` fields there are, one is shown, as `:authority`.
                let hosts = head.headers.get_all(HOST).iter().count();
                head.headers.len() - hosts + hosts.min(1) + 3
            }
            View::Response(_, headers) => headers.len() + 1,
            View::Plain(headers) => headers.len(),
        }
    }

    /// Every entry, pseudo-headers first, in Envoy's order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Pair<'a>> {
        let (names, headers, hides_host): (&[&[u8]], _, _) = match self {
            View::Request(head) => (&[b":authority", b":path", b":method", b":scheme"], &head.headers, true),
            View::Response(_, headers) => (&[b":status"], headers, false),
            View::Plain(headers) => (&[], headers, false),
        };
        let pseudo = names.iter().filter_map(move |name| Some((*name, self.pseudo(name)?)));
        let fields = headers.iter().filter(move |(name, _)| !hides_host || *name != HOST);
        pseudo.chain(fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
    }

    /// The first value of a name.
    pub(crate) fn value(self, fields: &mut Fields, name: &[u8]) -> Option<&'a [u8]> {
        if name.first() == Some(&b':') {
            return self.pseudo(name);
        }
        self.headers().get(fields.name(name).ok()?).map(HeaderValue::as_bytes)
    }

    /// Every value of a name.
    pub(crate) fn values(self, name: &[u8]) -> Vec<&'a [u8]> {
        match std::str::from_utf8(name) {
            Ok(field) if !field.starts_with(':') => {
                self.headers().get_all(field).iter().map(HeaderValue::as_bytes).collect()
            }
            _ => self.pseudo(name).into_iter().collect(),
        }
    }

    /// A pseudo-header.
    pub(crate) fn pseudo(self, name: &[u8]) -> Option<&'a [u8]> {
        match (self, name) {
            (View::Request(head), b":path") => Some(path(&head.uri).as_bytes()),
            (View::Request(head), b":method") => Some(head.method.as_str().as_bytes()),
            (View::Request(head), b":scheme") => Some(head.scheme.as_bytes()),
            (View::Request(head), b":authority") => head.headers.get(HOST).map(HeaderValue::as_bytes),
            (View::Response(status, _), b":status") => Some(status.as_str().as_bytes()),
            _ => None,
        }
    }

    fn headers(self) -> &'a HeaderMap {
        match self {
            View::Request(head) => &head.headers,
            View::Response(_, headers) | View::Plain(headers) => headers,
        }
    }
}

/// A path and query as `:path` shows it.
pub(crate) fn path(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// How many entries a map has: what header callbacks are told.
pub(crate) fn count(stream: &Stream, map: MapType) -> u32 {
    // A map never has more than 32,768 fields.
    view_of(stream, map).map_or(0, |view| view.len() as u32)
}

/// How many entries a map has for a guest that is shown those whose names are granted.
pub(crate) fn count_of(stream: &Stream, map: MapType, is_granted: impl Fn(&[u8]) -> bool) -> u32 {
    view_of(stream, map).map_or(0, |view| view.iter().filter(|(name, _)| is_granted(name)).count() as u32)
}

/// A map of a stream, if there is one.
pub(crate) fn view_of(stream: &Stream, map: MapType) -> Option<View<'_>> {
    match map {
        MapType::RequestHeaders if stream.subject == Subject::Connection => None,
        MapType::RequestHeaders => Some(View::Request(&stream.request)),
        MapType::ResponseHeaders => match &stream.response {
            Some(head) => Some(View::Response(&head.status, &head.headers)),
            None => stream.staged_response_headers.as_deref().map(View::Plain),
        },
        MapType::RequestTrailers => stream.request_trailers.as_deref().map(View::Plain),
        MapType::ResponseTrailers => stream.response_trailers.as_deref().map(View::Plain),
        MapType::GrpcInitialMetadata
        | MapType::GrpcTrailingMetadata
        | MapType::CalloutHeaders
        | MapType::CalloutTrailers => None,
    }
}

/// A header map that a guest may change.
pub(crate) enum Target<'a> {
    /// A request's line and headers.
    Request(&'a mut RequestHead),
    /// A response's status and headers.
    Response(&'a mut ResponseHead),
    /// Headers alone.
    Plain(&'a mut HeaderMap),
    /// A map that comes to be by its first change.
    New(&'a mut Option<Box<HeaderMap>>),
}

impl Target<'_> {
    fn headers(&mut self) -> &mut HeaderMap {
        match self {
            Target::Request(head) => &mut head.headers,
            Target::Response(head) => &mut head.headers,
            Target::Plain(headers) => headers,
            Target::New(headers) => headers.get_or_insert_default(),
        }
    }

    /// The ordinary header that a name stands for in this map.
    fn field(&self, fields: &mut Fields, name: &[u8]) -> Result<HeaderName, Status> {
        match self {
            Target::Request(_) if name == b":authority" => Ok(HOST),
            _ => fields.name(name),
        }
    }

    /// Adds a value beside those of the same name; a name that has one value at most is set.
    pub(crate) fn add(&mut self, fields: &mut Fields, name: &[u8], value: &[u8]) -> Result<(), Status> {
        if self.set_pseudo(name, value)? {
            return Ok(());
        }
        let (name, value) = (self.field(fields, name)?, fields.value(value)?);
        if matches!(self, Target::Request(_)) && name == HOST {
            self.headers().insert(name, value);
            return Ok(());
        }
        append(self.headers(), name, value)
    }

    /// Gives a name this value alone.
    pub(crate) fn set(&mut self, fields: &mut Fields, name: &[u8], value: &[u8]) -> Result<(), Status> {
        if self.set_pseudo(name, value)? {
            return Ok(());
        }
        let (name, value) = (self.field(fields, name)?, fields.value(value)?);
        let headers = self.headers();
        has_room(headers, value.len())?;
        headers.try_insert(name, value).map(drop).map_err(|_full| Status::BadArgument)
    }

    /// Removes a name, if it is there.
    pub(crate) fn remove(&mut self, fields: &mut Fields, name: &[u8]) -> Result<(), Status> {
        let field = match self.field(fields, name) {
            Ok(field) => field,
            // What a request or a response cannot be without cannot be removed; any other name that is not one is
            // not there.
            Err(status) if name.first() == Some(&b':') => return Err(status),
            Err(_) => return Ok(()),
        };
        if let Target::New(None) = self {
            return Ok(());
        }
        self.headers().remove(field);
        Ok(())
    }

    /// Sets what is not a header field. False if the name is an ordinary one in this map.
    fn set_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Status> {
        if name.first() != Some(&b':') {
            return Ok(false);
        }
        match self {
            Target::Request(head) => match name {
                b":method" => head.method = parse_method(value)?,
                b":path" => head.uri = parse_path(value)?,
                b":scheme" => head.scheme = parse_scheme(value)?,
                _ => return Ok(false),
            },
            Target::Response(head) if name == b":status" => {
                head.status = parse_status(value)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Replaces everything whose name is granted, or nothing if any of the pairs is not good. Pairs of other names are
    /// left out, and what is there under other names stays.
    pub(crate) fn replace_granted(
        &mut self,
        fields: &mut Fields,
        pairs: &[Pair<'_>],
        is_granted: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Status> {
        let granted: SmallVec<[Pair<'_>; 16]> =
            pairs.iter().filter(|(name, _)| is_granted(name)).copied().collect();
        let there = self.headers().iter();
        let kept: Vec<(HeaderName, HeaderValue)> = there
            .filter(|(name, _)| !is_granted(name.as_str().as_bytes()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.replace_all(fields, &granted)?;
        for (name, value) in kept {
            // A `host` that nobody may write is there again already.
            if !matches!(self, Target::Request(_)) || name != HOST {
                // They were there before: what is too much is the guest's own.
                self.headers().try_append(name, value).map_err(|_full| Status::BadArgument)?;
            }
        }
        Ok(())
    }

    /// Whether a pair is among what is there.
    pub(crate) fn has(&self, (name, value): &Pair<'_>) -> bool {
        let view = match self {
            Target::Request(head) => View::Request(head),
            Target::Response(head) => View::Response(&head.status, &head.headers),
            Target::Plain(headers) => View::Plain(headers),
            Target::New(headers) => match headers {
                Some(headers) => View::Plain(headers),
                None => return false,
            },
        };
        view.values(name).contains(value)
    }

    /// Replaces everything, or nothing if any of the pairs is not good.
    pub(crate) fn replace_all(&mut self, fields: &mut Fields, pairs: &[Pair<'_>]) -> Result<(), Status> {
        match self {
            Target::Request(head) => {
                let mut fresh = RequestHead {
                    method: head.method.clone(),
                    uri: head.uri.clone(),
                    scheme: head.scheme.clone(),
                    headers: HeaderMap::with_capacity(pairs.len()),
                };
                Target::Request(&mut fresh).add_all(fields, pairs)?;
                if !fresh.headers.contains_key(HOST)
                    && let Some(host) = head.headers.get(HOST)
                {
                    fresh.headers.insert(HOST, host.clone());
                }
                **head = fresh;
            }
            Target::Response(head) => {
                let headers = HeaderMap::with_capacity(pairs.len());
                let mut fresh = ResponseHead { status: head.status, headers: headers.into() };
                Target::Response(&mut fresh).add_all(fields, pairs)?;
                **head = fresh;
            }
            Target::Plain(_) | Target::New(_) => {
                let mut fresh = HeaderMap::with_capacity(pairs.len());
                Target::Plain(&mut fresh).add_all(fields, pairs)?;
                *self.headers() = fresh;
            }
        }
        Ok(())
    }

    fn add_all(&mut self, fields: &mut Fields, pairs: &[Pair<'_>]) -> Result<(), Status> {
        pairs.iter().try_for_each(|(name, value)| self.add(fields, name, value))
    }
}

/// Adds a field to a map without pseudo-headers, if both are valid and there is room.
pub(crate) fn append_plain(headers: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Status> {
    let name = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
    append(headers, name, field_value(value)?)
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<(), Status> {
    has_room(headers, value.len())?;
    headers.try_append(name, value).map(drop).map_err(|_full| Status::BadArgument)
}

/// Whether a map may take one more value of this length. Adding up the bytes is left out while there are so few that
/// they cannot matter.
fn has_room(headers: &HeaderMap, value_len: usize) -> Result<(), Status> {
    const FEW_FIELDS: usize = 64;
    const SHORT: usize = 4096;
    if headers.len() < FEW_FIELDS && value_len < SHORT {
        return Ok(());
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() < MAX_FIELDS && bytes + value_len <= MAX_BYTES {
        Ok(())
    } else {
        Err(Status::BadArgument)
    }
}

/// A header's value (RFC 9110, section 5.5).
pub(crate) fn field_value(value: &[u8]) -> Result<HeaderValue, Status> {
    HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)
}

/// A method (RFC 9110, section 9.1).
pub(crate) fn parse_method(value: &[u8]) -> Result<Method, Status> {
    Method::from_bytes(value).map_err(|_| Status::BadArgument)
}

/// A path in origin form (RFC 9112, section 3.2.1), or `*`.
pub(crate) fn parse_path(value: &[u8]) -> Result<Uri, Status> {
    if !matches!(value, [b'/', ..] | b"*") {
        return Err(Status::BadArgument);
    }
    PathAndQuery::try_from(value).map(Uri::from).map_err(|_| Status::BadArgument)
}

/// A scheme (RFC 3986, section 3.1).
pub(crate) fn parse_scheme(value: &[u8]) -> Result<HeaderValue, Status> {
    Scheme::try_from(value).map_err(|_| Status::BadArgument)?;
    field_value(value)
}

fn parse_status(value: &[u8]) -> Result<StatusCode, Status> {
    StatusCode::from_bytes(value).map_err(|_| Status::BadArgument)
}
