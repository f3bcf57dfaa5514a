//! Header maps: reads are lenient, a change that can have no effect any more is refused.
//!
//! A request's line and a response's status are entries like any other to a guest (`:method`, `:path`, `:scheme`,
//! `:status`), and `host` is what it sees as `:authority`. Names are compared without regard to case. Look-ups go from
//! the guest's bytes straight into the map; nothing is copied on the way.

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::{Call, Outcome};
use crate::wasm::abi::{AbiVersion, Callback, MapType, Status};
use crate::wasm::host::Host;
use crate::wasm::memory::{Out, check, give, give_with, slice, store_u32, view};
use crate::wasm::pairs::{self, Pair};
use crate::wasm::stream::{Direction, Progress, RequestHead, ResponseHead, Stream, StreamRef};

/// The most fields and bytes that guests may make a map have.
const MAX_FIELDS: usize = 1024;
const MAX_BYTES: usize = 1 << 20;

/// `proxy_get_header_map_size`: the length of the serialised map, in bytes; 0 if there is none.
pub(crate) fn size(call: &mut Call<'_>, map: u32, size: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    check(memory, size, 4)?;
    let len = read(host, map, |view| pairs::serialised_len(view.iter())).unwrap_or(0);
    store_u32(memory, size, u32::try_from(len).unwrap_or(u32::MAX))?;
    Ok(())
}

/// `proxy_get_header_map_pairs`: nothing at all if there is no such map.
pub(crate) fn pairs(call: &mut Call<'_>, map: u32, pairs: u32, pairs_len: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let out = Out { pointer: pairs, len: pairs_len };
    with_view(call, map, |call, view| match view {
        Some(view) if view.len() > 0 => {
            let len = pairs::serialised_len(view.iter());
            give_with(call, out, len, |block| pairs::write(block, view.len(), view.iter()))
        }
        _ => give(call, out, &[]),
    })
}

/// `proxy_get_header_map_value`: the first value of that name.
pub(crate) fn value(
    call: &mut Call<'_>,
    map: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let map = MapType::try_from(map)?;
    let out = Out { pointer: value, len: value_len };
    with_view(call, map, |call, view| {
        let (memory, host) = crate::wasm::memory::view(call)?;
        let found = view.and_then(|view| view.value(slice(memory, key, key_len).ok()?));
        if found.is_none() {
            // A bad pointer is told apart only now: the common case pays for one check.
            slice(memory, key, key_len)?;
            out.check(memory)?;
        }
        match found {
            Some(found) => give(call, out, found),
            None if host.abi == AbiVersion::V0_1_0 => give(call, out, &[]),
            None => Err(Status::NotFound.into()),
        }
    })
}

/// `proxy_set_header_map_pairs`: replaces the map. Pseudo-headers (and `host`) that are not among the pairs stay.
pub(crate) fn set_pairs(call: &mut Call<'_>, map: u32, pairs: u32, pairs_len: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let pairs = pairs::parse(slice(memory, pairs, pairs_len)?)?;
    change(host, map, |target| target.replace_all(&pairs))?;
    Ok(())
}

/// `proxy_add_header_map_value`: adds a value beside those of the same name.
pub(crate) fn add(
    call: &mut Call<'_>,
    map: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let (key, value) = (slice(memory, key, key_len)?, slice(memory, value, value_len)?);
    change(host, map, |target| target.add(key, value))?;
    Ok(())
}

/// `proxy_replace_header_map_value`: the name has this value alone afterwards.
pub(crate) fn replace(
    call: &mut Call<'_>,
    map: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let (key, value) = (slice(memory, key, key_len)?, slice(memory, value, value_len)?);
    change(host, map, |target| target.set(key, value))?;
    Ok(())
}

/// `proxy_remove_header_map_value`: a name that is not there is no error.
pub(crate) fn remove(call: &mut Call<'_>, map: u32, key: u32, key_len: u32) -> Outcome {
    let map = MapType::try_from(map)?;
    let (memory, host) = view(call)?;
    let key = slice(memory, key, key_len)?;
    change(host, map, |target| target.remove(key))?;
    Ok(())
}

/// A header map as guests read it.
pub(crate) struct View<'a> {
    pseudo: [Option<Pair<'a>>; 4],
    headers: &'a HeaderMap,
    shows_host: bool,
}

impl<'a> View<'a> {
    /// A request's: the order is Envoy's.
    pub(crate) fn request(head: &'a RequestHead) -> View<'a> {
        let authority = head.headers.get(HOST).map(HeaderValue::as_bytes);
        View {
            pseudo: [
                authority.map(|host| (&b":authority"[..], host)),
                Some((b":path", path(&head.uri).as_bytes())),
                Some((b":method", head.method.as_str().as_bytes())),
                Some((b":scheme", head.scheme.as_bytes())),
            ],
            headers: &head.headers,
            shows_host: false,
        }
    }

    /// A response's.
    pub(crate) fn response(status: &'a StatusCode, headers: &'a HeaderMap) -> View<'a> {
        let status = Some((&b":status"[..], status.as_str().as_bytes()));
        View { pseudo: [status, None, None, None], headers, shows_host: true }
    }

    /// A map without pseudo-headers.
    pub(crate) fn plain(headers: &'a HeaderMap) -> View<'a> {
        View { pseudo: [None; 4], headers, shows_host: true }
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        let hidden = if self.shows_host { 0 } else { self.headers.get_all(HOST).iter().count() };
        self.pseudo.iter().flatten().count() + self.headers.len() - hidden
    }

    /// Every entry, pseudo-headers first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Pair<'a>> + '_ {
        let fields = self.headers.iter().filter(|(name, _)| self.shows_host || *name != HOST);
        let fields = fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        self.pseudo.iter().flatten().copied().chain(fields)
    }

    /// The first value of a name.
    pub(crate) fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        if name.first() == Some(&b':') {
            return self.pseudo.iter().flatten().find(|(pseudo, _)| *pseudo == name).map(|(_, value)| *value);
        }
        let name = std::str::from_utf8(name).ok()?;
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    /// Every value of a name.
    pub(crate) fn values(&self, name: &[u8]) -> Vec<&'a [u8]> {
        match std::str::from_utf8(name) {
            Ok(name) if !name.starts_with(':') => {
                self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
            }
            _ => self.value(name).into_iter().collect(),
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

/// A map of a stream, if there is one.
pub(crate) fn view_of(stream: &Stream, map: MapType) -> Option<View<'_>> {
    match map {
        MapType::RequestHeaders => Some(View::request(&stream.request)),
        MapType::ResponseHeaders => match &stream.response {
            Some(head) => Some(View::response(&head.status, &head.headers)),
            None => stream.staged_response_headers.as_ref().map(View::plain),
        },
        MapType::RequestTrailers => stream.request_trailers.as_ref().map(View::plain),
        MapType::ResponseTrailers => stream.response_trailers.as_ref().map(View::plain),
        MapType::GrpcInitialMetadata
        | MapType::GrpcTrailingMetadata
        | MapType::CalloutHeaders
        | MapType::CalloutTrailers => None,
    }
}

/// Reads a map without calling the guest meanwhile.
fn read<T>(host: &Host, map: MapType, read: impl FnOnce(View<'_>) -> T) -> Option<T> {
    match map {
        MapType::CalloutHeaders => host
            .callout_response
            .as_ref()
            .map(|response| read(View::response(&response.status, &response.headers))),
        MapType::CalloutTrailers => {
            let response = host.callout_response.as_ref()?;
            response.trailers.as_ref().map(|trailers| read(View::plain(trailers)))
        }
        _ => {
            let (stream, _) = host.active.stream.as_ref()?;
            let stream = stream.borrow();
            view_of(&stream, map).map(read)
        }
    }
}

/// Reads a map while the guest's allocator may be called. What is read is held apart from the host's state meanwhile;
/// an allocator's hostcalls cannot reach it.
fn with_view(
    call: &mut Call<'_>,
    map: MapType,
    read: impl FnOnce(&mut Call<'_>, Option<View<'_>>) -> Outcome,
) -> Outcome {
    match map {
        MapType::CalloutHeaders | MapType::CalloutTrailers => {
            let response = call.data_mut().callout_response.take();
            let view = response.as_ref().and_then(|response| match map {
                MapType::CalloutHeaders => Some(View::response(&response.status, &response.headers)),
                _ => response.trailers.as_ref().map(View::plain),
            });
            let outcome = read(call, view);
            call.data_mut().callout_response = response;
            outcome
        }
        _ => match active_stream(call.data()) {
            Some(stream) => {
                let stream = stream.borrow();
                read(call, view_of(&stream, map))
            }
            None => read(call, None),
        },
    }
}

fn active_stream(host: &Host) -> Option<StreamRef> {
    host.active.stream.as_ref().map(|(stream, _)| stream.clone())
}

/// A header map that a guest may change.
enum Target<'a> {
    Request(&'a mut RequestHead),
    Response(&'a mut ResponseHead),
    Plain(&'a mut HeaderMap),
    /// A map that comes to be by its first change.
    New(&'a mut Option<HeaderMap>),
}

/// Changes a map of the active stream.
fn change(
    host: &mut Host,
    map: MapType,
    change: impl FnOnce(&mut Target<'_>) -> Result<(), Status>,
) -> Result<(), Status> {
    let callback = host.active_callback();
    let ends_body = callback.filter(|_| host.current.end_of_stream);
    let (stream, _) = host.active.stream.as_ref().ok_or(Status::BadArgument)?;
    if matches!(callback, Some(Callback::Log | Callback::Done | Callback::Delete)) {
        return Err(Status::BadArgument);
    }
    let stream = &mut *stream.borrow_mut();
    match map {
        MapType::RequestHeaders if stream.request_progress == Progress::Head => {
            change(&mut Target::Request(&mut stream.request))?;
            stream.route_stale = true;
            Ok(())
        }
        MapType::ResponseHeaders if stream.response_progress == Progress::Head => {
            match &mut stream.response {
                Some(head) => change(&mut Target::Response(head)),
                None => change(&mut Target::New(&mut stream.staged_response_headers)),
            }
        }
        MapType::RequestTrailers => {
            let may_create = ends_body == Some(Callback::RequestBody);
            change(&mut trailers(stream, Direction::Request, may_create)?)
        }
        MapType::ResponseTrailers => {
            let may_create = ends_body == Some(Callback::ResponseBody);
            change(&mut trailers(stream, Direction::Response, may_create)?)
        }
        _ => Err(Status::BadArgument),
    }
}

/// Trailers that are there may be changed until they are sent; new ones may be made in the body callback that is told
/// of the end.
fn trailers(stream: &mut Stream, direction: Direction, may_create: bool) -> Result<Target<'_>, Status> {
    if stream.progress(direction) == Progress::Done {
        return Err(Status::BadArgument);
    }
    let trailers = match direction {
        Direction::Request => &mut stream.request_trailers,
        Direction::Response => &mut stream.response_trailers,
    };
    if trailers.is_some() || may_create { Ok(Target::New(trailers)) } else { Err(Status::BadArgument) }
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
    fn field(&self, name: &[u8]) -> Result<HeaderName, Status> {
        match self {
            Target::Request(_) if name == b":authority" => Ok(HOST),
            _ => HeaderName::from_bytes(name).map_err(|_| Status::BadArgument),
        }
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Status> {
        if self.set_pseudo(name, value)? {
            return Ok(());
        }
        let (name, value) = (self.field(name)?, field_value(value)?);
        if matches!(self, Target::Request(_)) && name == HOST {
            self.headers().insert(name, value);
            return Ok(());
        }
        append(self.headers(), name, value)
    }

    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Status> {
        if self.set_pseudo(name, value)? {
            return Ok(());
        }
        let (name, value) = (self.field(name)?, field_value(value)?);
        let headers = self.headers();
        has_room(headers, value.len())?;
        headers.try_insert(name, value).map(drop).map_err(|_full| Status::BadArgument)
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), Status> {
        let field = match self.field(name) {
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

    /// Replaces everything, or nothing if any of the pairs is not good.
    fn replace_all(&mut self, pairs: &[Pair<'_>]) -> Result<(), Status> {
        match self {
            Target::Request(head) => {
                let mut fresh = RequestHead {
                    method: head.method.clone(),
                    uri: head.uri.clone(),
                    scheme: head.scheme.clone(),
                    headers: HeaderMap::with_capacity(pairs.len()),
                };
                Target::Request(&mut fresh).add_all(pairs)?;
                if !fresh.headers.contains_key(HOST)
                    && let Some(host) = head.headers.get(HOST)
                {
                    fresh.headers.insert(HOST, host.clone());
                }
                **head = fresh;
            }
            Target::Response(head) => {
                let headers = HeaderMap::with_capacity(pairs.len());
                let mut fresh = ResponseHead { status: head.status, headers };
                Target::Response(&mut fresh).add_all(pairs)?;
                **head = fresh;
            }
            Target::Plain(_) | Target::New(_) => {
                let mut fresh = HeaderMap::with_capacity(pairs.len());
                Target::Plain(&mut fresh).add_all(pairs)?;
                *self.headers() = fresh;
            }
        }
        Ok(())
    }

    fn add_all(&mut self, pairs: &[Pair<'_>]) -> Result<(), Status> {
        pairs.iter().try_for_each(|(name, value)| self.add(name, value))
    }
}

/// Adds a field to a map without pseudo-headers, if both are valid and there is room.
pub(crate) fn append_plain(headers: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Status> {
    Target::Plain(headers).add(name, value)
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

pub(super) fn field_value(value: &[u8]) -> Result<HeaderValue, Status> {
    HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)
}

pub(super) fn parse_method(value: &[u8]) -> Result<Method, Status> {
    Method::from_bytes(value).map_err(|_| Status::BadArgument)
}

/// A path in origin form (RFC 9112, section 3.2.1), or `*`.
pub(super) fn parse_path(value: &[u8]) -> Result<Uri, Status> {
    if !matches!(value, [b'/', ..] | b"*") {
        return Err(Status::BadArgument);
    }
    PathAndQuery::try_from(value).map(Uri::from).map_err(|_| Status::BadArgument)
}

pub(super) fn parse_scheme(value: &[u8]) -> Result<HeaderValue, Status> {
    Scheme::try_from(value).map_err(|_| Status::BadArgument)?;
    field_value(value)
}

fn parse_status(value: &[u8]) -> Result<StatusCode, Status> {
    StatusCode::from_bytes(value).map_err(|_| Status::BadArgument)
}
