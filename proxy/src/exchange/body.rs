//! A response's body as it goes to the client, and with it the end of the exchange.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::answer::{Ending, call_status, end_call};
use super::compress::{Broken, Encoded};
use super::decompress::Source;
use super::grpc_web::Form;
use super::headers::drop_hop_by_hop;
use super::watch::Timer;
use super::{Cut, Exchange};
use crate::error::Failure;
use crate::filter::{FlowBody, FlowError};
use crate::upstream::{ResponseBody, UpstreamError};

/// A response's body. It owns the exchange, which ends with it.
pub(crate) struct ReplyBody {
    content: Content,
    /// What it is compressed with, if it is.
    encoded: Option<Box<Encoded>>,
    manner: Manner,
    /// Until the end.
    exchange: Option<Box<Exchange>>,
    timer: Timer,
}

/// What a response is to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// HTTP, of any kind.
    Http,
    /// gRPC over HTTP/2: where it breaks off, there is still a way to say why.
    Grpc,
    /// gRPC-Web, in this form.
    Web(Form),
}

/// Where a response's body comes from.
pub(super) enum Content {
    /// There is none.
    Empty,
    /// An upstream, through the chain.
    Upstream(Box<FlowBody<Source<ResponseBody>>>),
    /// The proxy itself, through the chain.
    Local(Box<FlowBody<Full<Bytes>>>),
}

impl Content {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FlowError<UpstreamError>>>> {
        match self {
            Content::Empty => Poll::Ready(None),
            Content::Upstream(flow) => Pin::new(flow).poll_frame(cx),
            Content::Local(flow) => Pin::new(flow).poll_frame(cx).map_err(|error| match error {
                FlowError::Source(never) => match never {},
                FlowError::Interrupted => FlowError::Interrupted,
                FlowError::Length => FlowError::Length,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Content::Empty => true,
            Content::Upstream(flow) => flow.is_end_stream(),
            Content::Local(flow) => flow.is_end_stream(),
        }
    }
}

impl ReplyBody {
    pub(super) fn new(
        content: Content,
        encoded: Option<Box<Encoded>>,
        manner: Manner,
        exchange: Box<Exchange>,
    ) -> ReplyBody {
        let mut body =
            ReplyBody { content, encoded, manner, exchange: Some(exchange), timer: Timer::default() };
        if body.is_end_stream() {
            body.complete(); // hyper does not ask a body for its end that says it has none
        }
        body
    }

    /// The body of a response whose exchange goes on elsewhere, or has ended.
    pub(crate) fn empty() -> ReplyBody {
        let (content, manner) = (Content::Empty, Manner::Http);
        ReplyBody { content, encoded: None, manner, exchange: None, timer: Timer::default() }
    }

    fn complete(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.complete();
        }
    }

    /// Ends an exchange whose head is sent already: the client has to see that this is not the whole.
    fn cut(&mut self, ending: Ending) -> Cut {
        if let Some(mut exchange) = self.exchange.take() {
            match ending {
                Ending::Cut { failure, details, filter } => exchange.note(Some(failure), &details, filter),
                // Too late for an answer.
                Ending::Answer(answer) => {
                    let failure = answer.failure.unwrap_or(Failure::FilterClosed);
                    exchange.note(Some(failure), &answer.details, answer.filter);
                }
            }
        }
        Cut
    }

    /// Ends an exchange in the middle of its response: a gRPC call with its status, as its service would, and anything else
    /// by a cut.
    fn break_off(&mut self, ending: Ending, status: Option<u8>) -> Result<Frame<Bytes>, Cut> {
        let status = status.filter(|_| self.manner == Manner::Grpc);
        let trailers = status.map(|status| end_call(status, ending.failure()));
        if let (Some(exchange), Some(trailers)) = (&mut self.exchange, &trailers) {
            exchange.report.end_call(trailers);
        }
        let cut = self.cut(ending);
        let trailers = trailers.ok_or(cut)?;
        (self.content, self.encoded) = (Content::Empty, None);
        Ok(Frame::trailers(trailers))
    }

    /// What a broken flow means for a response that is on its way.
    fn broken(&self, error: FlowError<UpstreamError>) -> Ending {
        let interrupt = self.exchange.as_ref().and_then(|exchange| exchange.run.take_interrupt());
        match (error, interrupt) {
            (FlowError::Interrupted, Some(interrupt)) => interrupt.into(),
            (FlowError::Interrupted, None) => Failure::FilterClosed.into(),
            (FlowError::Length, _) => Failure::Unframable.into(),
            (FlowError::Source(error), _) => Ending::failed(Failure::UpstreamBodyCut, error.to_string()),
        }
    }
}

impl ReplyBody {
    /// Waits for the exchange to exceed its time, while nobody takes what there is of it.
    pub(crate) fn poll_overdue(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cut> {
        let failure = ready!(self.poll_failure(cx));
        Poll::Ready(self.cut(failure.into()))
    }

    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let Some(exchange) = &self.exchange else { return Poll::Pending };
        self.timer.poll(&exchange.watch, &exchange.run, cx)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let frame = match &mut this.encoded {
            None => this.content.poll(cx),
            Some(encoded) => {
                encoded.poll_frame(cx, |cx| this.content.poll(cx)).map_err(|broken| match broken {
                    Broken::Source(error) => error,
                    Broken::Encoder(error) => {
                        tracing::error!(%error, "a response could not be compressed");
                        FlowError::Length
                    }
                })
            }
        };
        match frame {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    drop_hop_by_hop(trailers);
                    if let Some(exchange) = &mut this.exchange {
                        exchange.report.end_call(trailers);
                    }
                }
                if this.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(match this.manner {
                    Manner::Http | Manner::Grpc => frame,
                    Manner::Web(form) => form.write(frame),
                })))
            }
            Poll::Ready(Some(Err(error))) => {
                let reset = match &error {
                    FlowError::Source(error) => error.grpc_status(),
                    FlowError::Interrupted | FlowError::Length => None,
                };
                let ending = this.broken(error);
                let status = reset.or_else(|| call_status(ending.failure()?));
                Poll::Ready(Some(this.break_off(ending, status)))
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let failure = ready!(this.poll_failure(cx));
                Poll::Ready(Some(this.break_off(failure.into(), call_status(failure))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.encoded {
            None => self.content.is_end_stream(),
            Some(encoded) => encoded.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.encoded.is_some() || matches!(self.manner, Manner::Web(_)) && !self.is_end_stream() {
            return SizeHint::default();
        }
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Upstream(flow) => flow.size_hint(),
            Content::Local(flow) => flow.size_hint(),
        }
    }
}
