//! gRPC-Web, gRPC as web pages can speak it ("gRPC Web" in gRPC's documentation, PROTOCOL-WEB.md): a listener that has the
//! bridge makes a call of each such request before all else, so that routes, filters, retries and the upstream see gRPC and
//! nothing else, and gives its response back as the client reads it when the chain has done with it.
//!
//! Pages see neither trailers nor HTTP/2, so trailers are the body's last frame; where a client asks for text, the body is
//! base64 in both directions, each piece with a padding of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};

use super::answer::{Ending, explain};
use super::body::{Content, Manner, ReplyBody};
use super::decompress::Source;
use super::{ClientBody, ClientError, Cut, Exchange};
use crate::filter::{FlowBody, FlowError, HeadError};
use crate::grpc::{GRPC_STATUS, is_call};
use crate::upstream::ResponseBody;

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web";
const TEXT: &str = "application/grpc-web-text";

/// The flag of the frame that holds trailers, uncompressed.
const TRAILERS: u8 = 0x80;

/// How much of the body of what is no gRPC response becomes its `grpc-message`, in bytes. Percent-encoded it is up to three
/// times as long, and clients have limits for heads.
const MESSAGE_BYTES: usize = 4 * 1024;

/// In which form a client reads its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Frames as they are.
    Binary,
    /// Frames in base64.
    Text,
}

/// Makes a gRPC call of a request, if it is a gRPC-Web one: says in which form its response is to be.
pub(super) fn enter(headers: &mut HeaderMap, body: ClientBody) -> (Option<Form>, ClientBody) {
    let Some((sent, suffix)) = headers.get(CONTENT_TYPE).and_then(kind) else { return (None, body) };
    // A client that does not say how it would have its response has it in the form of its request.
    let form = headers.get(ACCEPT).and_then(kind).map_or(sent, |(wanted, _)| wanted);
    let kind = match suffix.as_str() {
        "" | "+proto" => Ok(HeaderValue::from_static(GRPC)),
        suffix => HeaderValue::try_from(format!("{GRPC}{suffix}")),
    };
    headers.insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static(GRPC)));
    headers.remove(CONTENT_LENGTH); // a call is a stream
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.entry(GRPC_ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    let body = match sent {
        Form::Text if !body.is_end_stream() => ClientBody::Text(Box::new(TextBody::new(body))),
        _ => body,
    };
    (Some(form), body)
}

/// Whether a content type is gRPC-Web's, and of which form; with what stands behind it, such as `+proto`.
fn kind(value: &HeaderValue) -> Option<(Form, String)> {
    let value = value.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    let (form, suffix) = match value.strip_prefix(TEXT) {
        Some(suffix) => (Form::Text, suffix),
        None => (Form::Binary, value.strip_prefix(WEB)?),
    };
    (suffix.is_empty() || suffix.starts_with('+')).then(|| (form, suffix.to_owned()))
}

impl Form {
    /// Has the head of a response, which is gRPC or says how its call ended, be read as gRPC-Web.
    pub(super) fn name(self, headers: &mut HeaderMap) {
        headers.remove(CONTENT_LENGTH); // with the trailers in it, it is longer
        let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let suffix = said.strip_prefix(GRPC).filter(|rest| rest.starts_with('+')).unwrap_or("+proto");
        let suffix = suffix.split(';').next().unwrap_or(suffix);
        let name = match self {
            Form::Binary => WEB,
            Form::Text => TEXT,
        };
        if let Ok(value) = HeaderValue::try_from(format!("{name}{suffix}")) {
            headers.insert(CONTENT_TYPE, value);
        }
    }

    /// A frame of the body in this form.
    pub(super) fn write(self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => trailers_frame(&trailers),
                Err(frame) => return frame,
            },
        };
        Frame::data(match self {
            Form::Binary => data,
            Form::Text => BASE64_STANDARD.encode(data).into(),
        })
    }
}

/// Trailers as a frame: a flag, a length, and lines like those of a head over HTTP/1.
fn trailers_frame(trailers: &HeaderMap) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(TRAILERS);
    frame.put_u32(0);
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_u8(b':');
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    let length = u32::try_from(frame.len() - 5).unwrap_or(u32::MAX); // a head's limit is far below
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// A request's body that comes as base64. Padding may stand wherever the client had nothing more to say for the moment.
#[derive(Debug)]
pub(crate) struct TextBody {
    source: ClientBody,
    /// What came of the next four characters.
    rest: BytesMut,
}

impl TextBody {
    fn new(source: ClientBody) -> TextBody {
        TextBody { source, rest: BytesMut::new() }
    }

    /// What these characters, behind those that are left over, stand for.
    fn decode(&mut self, text: &[u8]) -> Result<Bytes, ClientError> {
        self.rest.extend_from_slice(text);
        let whole = self.rest.split_to(self.rest.len() / 4 * 4);
        let mut decoded = Vec::with_capacity(whole.len() / 4 * 3);
        let mut rest = &whole[..];
        while !rest.is_empty() {
            // As far as one padding reaches.
            let end = rest.iter().position(|byte| *byte == b'=').map_or(rest.len(), |at| at / 4 * 4 + 4);
            let (piece, behind) = rest.split_at(end);
            BASE64_STANDARD.decode_vec(piece, &mut decoded).map_err(|_| ClientError::Base64)?;
            rest = behind;
        }
        Ok(decoded.into())
    }
}

impl Body for TextBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.source).poll_frame(cx)).transpose()? {
                Some(frame) => frame,
                None if self.rest.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(ClientError::Base64))),
            };
            match frame.into_data() {
                Ok(text) => {
                    let data = self.decode(&text)?;
                    if !data.is_empty() || self.is_end_stream() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.source.is_end_stream()
    }
}

impl Exchange {
    /// What the response is to its client, by its head, which then says so.
    pub(super) fn choose_manner(&self, headers: &mut HeaderMap) -> Manner {
        match self.web {
            Some(form) => {
                form.name(headers);
                Manner::Web(form)
            }
            None if self.peer.is_multiplexed() && is_call(headers) => Manner::Grpc,
            None => Manner::Http,
        }
    }

    /// Whether a response for a gRPC-Web client does not say how its call ended, and never will: it is no gRPC response.
    pub(super) fn must_explain(&self, flow: &FlowBody<Source<ResponseBody>>) -> bool {
        if self.web.is_none() {
            return false;
        }
        let stream = self.run.stream().borrow();
        let Some(head) = &stream.response else { return false };
        if flow.is_end_stream() {
            return !head.headers.contains_key(GRPC_STATUS);
        }
        let is_web = || head.headers.get(CONTENT_TYPE).and_then(kind).is_some();
        head.status != StatusCode::OK || !(is_call(&head.headers) || is_web())
    }

    /// Answers with the response's status and, in gRPC's words, what that means; its body becomes the message.
    pub(super) async fn explain(
        mut self: Box<Self>,
        mut flow: Box<FlowBody<Source<ResponseBody>>>,
    ) -> Result<Response<ReplyBody>, Cut> {
        let message = match self.gather_message(&mut flow).await {
            Ok(message) => message,
            Err(ending) => return self.end(ending).await,
        };
        if let Some(head) = &mut self.run.stream().borrow_mut().response {
            head.headers.remove(CONTENT_LENGTH);
            // What nobody has decoded is no message.
            let message = if head.headers.remove(CONTENT_ENCODING).is_some() { &[] } else { &message[..] };
            explain(head.status, message, &mut head.headers);
        }
        Ok(self.respond(flow, |_| Content::Empty))
    }

    /// The first of a response's body.
    async fn gather_message(&mut self, flow: &mut FlowBody<Source<ResponseBody>>) -> Result<Vec<u8>, Ending> {
        let mut message = Vec::new();
        let gathered = async {
            while message.len() < MESSAGE_BYTES
                && let Some(frame) = poll_fn(|cx| Pin::new(&mut *flow).poll_frame(cx)).await
            {
                let frame = frame.map_err(|error| match error {
                    FlowError::Source(error) => Ending::from_response(HeadError::Source(error)),
                    FlowError::Interrupted | FlowError::Length => match self.run.take_interrupt() {
                        Some(interrupt) => interrupt.into(),
                        None => crate::error::Failure::Unframable.into(),
                    },
                })?;
                message.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            Ok::<(), Ending>(())
        };
        self.watch.over(&self.run, pin!(gathered)).await?;
        message.truncate(MESSAGE_BYTES);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(fields: &[(&str, &str)]) -> (Option<Form>, HeaderMap) {
        let field = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        let mut headers: HeaderMap = fields.iter().map(field).collect();
        (enter(&mut headers, ClientBody::Empty).0, headers)
    }

    #[test]
    fn a_call_is_known_by_its_content_type_and_answered_as_it_accepts() {
        let form = |kind, accept| entered(&[("content-type", kind), ("accept", accept)]).0;
        assert_eq!(form("application/grpc-web", "*/*"), Some(Form::Binary));
        assert_eq!(form("application/grpc-web+proto; a=b", ""), Some(Form::Binary));
        assert_eq!(form("application/grpc-web-text", "*/*"), Some(Form::Text));
        assert_eq!(form("application/grpc-web-text", "application/grpc-web"), Some(Form::Binary));
        assert_eq!(form("Application/gRPC-Web+proto", "application/grpc-web-text+proto"), Some(Form::Text));
        for other in ["application/grpc", "application/grpc-websocket", "application/json", "text/plain"] {
            assert_eq!(form(other, "application/grpc-web"), None, "{other}");
        }
    }

    #[test]
    fn a_call_says_what_upstreams_of_grpc_ask_for() {
        let (_, headers) = entered(&[("content-type", "application/grpc-web+json"), ("content-length", "7")]);
        assert_eq!(headers[CONTENT_TYPE], "application/grpc+json");
        assert_eq!(
            (&headers[TE], &headers[GRPC_ACCEPT_ENCODING]),
            (&"trailers".parse().unwrap(), &"identity".parse().unwrap())
        );
        assert!(!headers.contains_key(CONTENT_LENGTH));
        let (_, headers) =
            entered(&[("content-type", "application/grpc-web+proto"), ("grpc-accept-encoding", "gzip")]);
        assert_eq!(
            (&headers[CONTENT_TYPE], &headers[GRPC_ACCEPT_ENCODING]),
            (&GRPC.parse().unwrap(), &"gzip".parse().unwrap())
        );
    }

    #[test]
    fn text_is_read_however_it_is_cut_and_padded() {
        for size in 1..9 {
            let mut body = TextBody::new(ClientBody::Empty);
            let pieces: Result<Vec<Bytes>, _> =
                b"aGVsbG8=d29ybGQhIQ==Zm9v".chunks(size).map(|piece| body.decode(piece)).collect();
            assert_eq!(pieces.unwrap().concat(), b"helloworld!!foo", "{size}");
            assert!(body.rest.is_empty());
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in ["a===", "ab=c", "a\nbc", "====", "aGV*"] {
            assert!(TextBody::new(ClientBody::Empty).decode(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn trailers_are_a_frame_of_lines() {
        let trailers = [("grpc-status", "0"), ("grpc-message", "a b")];
        let trailers =
            trailers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let frame = trailers_frame(&trailers.into_iter().collect());
        assert_eq!(&frame[..], b"\x80\0\0\0\x21grpc-status:0\r\ngrpc-message:a b\r\n");
        let text = Form::Text.write(Frame::data(frame.clone())).into_data().unwrap();
        assert_eq!(BASE64_STANDARD.decode(text).unwrap(), frame);
    }
}
