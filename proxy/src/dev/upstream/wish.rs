//! What a path asks of the sample service.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use crate::config::Parse as _;

/// The longest that it waits, before an answer or between two pieces of one.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// The most pieces of a stream.
const MAX_PIECES: u64 = 10_000;

/// The longest body, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Between two pieces, where nobody says.
const BETWEEN_PIECES: Duration = Duration::from_millis(100);

/// How it is to answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// With what came.
    Tell,
    /// `/status/503`: so, with this status.
    Status(StatusCode),
    /// `/delay/200ms`: so, after this time.
    Delay(Duration),
    /// `/headers?name=value`: so, with these headers.
    Headers(HeaderMap),
    /// `/trailers`: so, with trailers.
    Trailers,
    /// `/echo`: with the request's body and trailers, as they come.
    Echo,
    /// `/stream/5?every=200ms`: in pieces.
    Stream { pieces: u64, every: Duration },
    /// `/bytes/64KiB`: with a body of this length.
    Bytes(u64),
    /// `/cut`: with the beginning of a body.
    Cut,
}

impl Wish {
    /// What is asked for; why it cannot be had, for whoever asks.
    pub(super) fn of(uri: &Uri) -> Result<Wish, String> {
        let path = uri.path();
        let (first, rest) =
            path[1.min(path.len())..].split_once('/').unwrap_or((&path[1.min(path.len())..], ""));
        match (first, rest) {
            ("status", rest) if !rest.is_empty() => {
                let status = rest.parse().ok().filter(|status| (200..600).contains(status));
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                status
                    .map(Wish::Status)
                    .ok_or_else(|| "give a status from 200 to 599: /status/503".to_owned())
            }
            ("delay", rest) if !rest.is_empty() => wait(rest)
                .map(Wish::Delay)
                .ok_or_else(|| "give a time of a minute at most: /delay/200ms".to_owned()),
            ("headers", "") => headers(uri).map(Wish::Headers),
            ("trailers", "") => Ok(Wish::Trailers),
            ("echo", _) => Ok(Wish::Echo),
            ("stream", rest) if !rest.is_empty() => stream(uri, rest).ok_or_else(|| {
                format!("give a number up to {MAX_PIECES}, and a time: /stream/5?every=200ms")
            }),
            ("bytes", rest) if !rest.is_empty() => {
                let size = crate::config::Size::parse(rest)
                    .ok()
                    .map(|size| size.0)
                    .filter(|size| *size <= MAX_BYTES);
                size.map(Wish::Bytes).ok_or_else(|| "give a size up to 1GiB: /bytes/64KiB".to_owned())
            }
            ("cut", "") => Ok(Wish::Cut),
            _ => Ok(Wish::Tell),
        }
    }
}

fn wait(text: &str) -> Option<Duration> {
    Duration::parse(text).ok().filter(|wait| *wait <= MAX_WAIT)
}

fn stream(uri: &Uri, pieces: &str) -> Option<Wish> {
    let pieces = pieces.parse().ok().filter(|pieces| *pieces <= MAX_PIECES)?;
    let every = match fields(uri).find(|(name, _)| name == "every") {
        Some((_, every)) => wait(&every)?,
        None => BETWEEN_PIECES,
    };
    Some(Wish::Stream { pieces, every })
}

fn headers(uri: &Uri) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields(uri) {
        let (Ok(header), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) else {
            return Err(format!("`{name}: {value}` is no header: /headers?cache-control=no-store&x-a=1"));
        };
        // How the answer is framed is for the one who sends it.
        if matches!(header.as_str(), "content-length" | "transfer-encoding" | "connection") {
            return Err(format!("{header} is set by what is sent"));
        }
        headers.append(header, value);
    }
    Ok(headers)
}

/// The fields of the query, decoded.
fn fields(uri: &Uri) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    uri.query().unwrap_or_default().split('&').filter(|field| !field.is_empty()).map(move |field| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        (decode(name), decode(value))
    })
}
