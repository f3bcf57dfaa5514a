//! gRPC callouts of one instance: which are open, what its guest sends on them, and what it is shown of them.
//!
//! A guest's messages go into a queue between the instance and the pipeline, an `Outbox` and an [`Outgoing`] being its
//! two ends: the guest's call only puts something in, and the pipeline sends it when it can. An outbox that is dropped,
//! with its callout cancelled or its instance gone, cancels the callout.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, StatusCode};

/// How large a message may be, in bytes, each way; what gRPC's own libraries receive by default. It is also how much a
/// stream may have queued that is not sent yet. There each message counts a little more than it has, so that empty ones
/// are not free.
pub const GRPC_MESSAGE_LIMIT: usize = 4 << 20;
const MESSAGE_OVERHEAD: usize = 64;

/// A gRPC callout, checked: its cluster is one that the filter may call, its path and metadata can be sent.
#[derive(Debug)]
pub struct GrpcCallout {
    /// Names it; never 0, unique in its instance while in flight.
    pub token: u32,
    /// How many messages there are, each way.
    pub kind: GrpcKind,
    /// The cluster's name.
    pub cluster: String,
    /// `:authority`; `None` where the guest gave none and the cluster's name cannot be one.
    pub authority: Option<Authority>,
    /// `/service/method`.
    pub path: PathAndQuery,
    /// What the guest sends with it, without what gRPC itself puts there (`content-type`, `te`).
    pub metadata: HeaderMap,
    /// How long a call may take; `None` is for ever, as it is for every stream.
    pub timeout: Option<Duration>,
    /// What the guest sends.
    pub outgoing: Outgoing,
}

/// The two kinds of gRPC callouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcKind {
    /// `proxy_grpc_call`: one message each way. Of its end its guest hears once: of the message, or of the failure.
    Call,
    /// `proxy_grpc_stream`: any number. Its guest hears of everything.
    Stream,
}

/// What comes of a gRPC callout.
#[derive(Debug)]
pub enum GrpcEvent {
    /// The response's status and headers; nothing at all if it has none, or nothing but trailers.
    InitialMetadata(Option<StatusCode>, HeaderMap),
    /// A message, without its frame. The only one of a call, which ends with it.
    Message(Bytes),
    /// The response's trailers; of one that has nothing but trailers there is a status.
    TrailingMetadata(Option<StatusCode>, HeaderMap),
    /// It has ended; a call that ended well says so by its message alone.
    Close {
        /// Its gRPC status.
        status: u32,
        /// What the service says of it, or why there is no word of the service.
        message: String,
    },
}

/// What kind of callout a token names: its low two bits say so (Proxy-Wasm C++ host).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Http = 0,
    GrpcCall = 1,
    GrpcStream = 2,
}

impl TokenKind {
    /// The bits that tell kinds apart.
    pub(crate) const MASK: u32 = 3;

    pub(crate) fn of(token: u32) -> Option<TokenKind> {
        match token & TokenKind::MASK {
            0 => Some(TokenKind::Http),
            1 => Some(TokenKind::GrpcCall),
            2 => Some(TokenKind::GrpcStream),
            _ => None,
        }
    }
}

impl GrpcKind {
    pub(crate) fn token_kind(self) -> TokenKind {
        match self {
            GrpcKind::Call => TokenKind::GrpcCall,
            GrpcKind::Stream => TokenKind::GrpcStream,
        }
    }
}

/// The gRPC callouts that an instance has open.
#[derive(Debug, Default)]
pub(crate) struct Grpc {
    open: Vec<Open>,
    /// What the callback at hand is about.
    pub(crate) shown: Option<Shown>,
}

/// A gRPC callout that is open.
#[derive(Debug)]
struct Open {
    token: u32,
    root: u32,
    outbox: Outbox,
}

/// What a guest is shown in a callback of a gRPC callout, and only there.
#[derive(Debug)]
pub(crate) enum Shown {
    Initial(Option<StatusCode>, HeaderMap),
    Message(Bytes),
    Trailing(Option<StatusCode>, HeaderMap),
}

impl Grpc {
    pub(crate) fn open(&mut self, token: u32, root: u32, outbox: Outbox) {
        self.open.push(Open { token, root, outbox });
    }

    /// What a root of the guest sends on a callout of its own.
    pub(crate) fn outbox(&self, token: u32, root: u32) -> Option<&Outbox> {
        let open = self.open.iter().find(|open| open.token == token && open.root == root);
        open.map(|open| &open.outbox)
    }

    /// The root that a callout is for.
    pub(crate) fn root(&self, token: u32) -> Option<u32> {
        self.open.iter().find(|open| open.token == token).map(|open| open.root)
    }

    /// Removes a callout, which cancels it if it has not ended.
    pub(crate) fn remove(&mut self, token: u32) {
        self.open.retain(|open| open.token != token);
    }

    /// Cancels all of a root's: their events have nobody to go to.
    pub(crate) fn forget(&mut self, root: u32) {
        self.open.retain(|open| open.root != root);
    }
}

/// A queue with nothing in it.
pub(crate) fn queue() -> (Outbox, Outgoing) {
    let queue = Rc::new(Queue::default());
    (Outbox(queue.clone()), Outgoing(queue))
}

#[derive(Debug, Default)]
struct Queue {
    messages: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    ended: Cell<bool>,
    cancelled: Cell<bool>,
    /// Who waits for a message, and who for the cancellation alone.
    waiting: [RefCell<Option<Waker>>; 2],
}

/// Places in [`Queue::waiting`].
const FOR_MESSAGE: usize = 0;
const FOR_CANCELLATION: usize = 1;

impl Queue {
    fn wake(&self, place: usize) {
        if let Some(waker) = self.waiting[place].borrow_mut().take() {
            waker.wake();
        }
    }

    fn wait(&self, place: usize, cx: &Context<'_>) {
        *self.waiting[place].borrow_mut() = Some(cx.waker().clone());
    }
}

/// The guest's end of what it sends. Dropped, it cancels the callout.
#[derive(Debug)]
pub(crate) struct Outbox(Rc<Queue>);

/// A message that cannot be taken: the last one has been sent, it is too large, or too much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl Outbox {
    /// Queues a message.
    pub(crate) fn send(&self, message: &[u8]) -> Result<(), Refused> {
        let len = message.len() + MESSAGE_OVERHEAD;
        let queued = self.0.bytes.get();
        let is_too_much = queued > 0 && queued + len > GRPC_MESSAGE_LIMIT;
        if self.0.ended.get() || is_too_much || message.len() > GRPC_MESSAGE_LIMIT {
            return Err(Refused);
        }
        self.0.bytes.set(queued + len);
        self.0.messages.borrow_mut().push_back(Bytes::copy_from_slice(message));
        self.0.wake(FOR_MESSAGE);
        Ok(())
    }

    /// Nothing more follows: gRPC's half-close. Doing it twice is no error.
    pub(crate) fn end(&self) {
        self.0.ended.set(true);
        self.0.wake(FOR_MESSAGE);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.cancelled.set(true);
        if !self.0.messages.take().is_empty() {
            // They are not sent any more, which must not look like the end of what was said.
            self.0.ended.set(false);
        }
        self.0.wake(FOR_MESSAGE);
        self.0.wake(FOR_CANCELLATION);
    }
}

/// The pipeline's end of what a guest sends.
#[derive(Debug, Clone)]
pub struct Outgoing(Rc<Queue>);

/// What comes out of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// A message, to be framed.
    Message(Bytes),
    /// Nothing more follows.
    End,
    /// The guest wants nothing more of the callout, or is gone: the peer is told by a reset.
    Cancelled,
}

impl Outgoing {
    /// The next message. One task at a time may wait for it.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Sent> {
        let queue = &self.0;
        if queue.cancelled.get() && !self.is_over() {
            return Poll::Ready(Sent::Cancelled);
        }
        if let Some(message) = queue.messages.borrow_mut().pop_front() {
            queue.bytes.set(queue.bytes.get() - (message.len() + MESSAGE_OVERHEAD));
            return Poll::Ready(Sent::Message(message));
        }
        if queue.ended.get() {
            return Poll::Ready(Sent::End);
        }
        queue.wait(FOR_MESSAGE, cx);
        Poll::Pending
    }

    /// Whether all was said and taken.
    pub fn is_over(&self) -> bool {
        self.0.ended.get() && self.0.messages.borrow().is_empty()
    }

    /// Waits until the guest wants nothing more of the callout. One task at a time may wait for it.
    pub async fn cancelled(&self) {
        poll_fn(|cx| {
            if self.0.cancelled.get() {
                return Poll::Ready(());
            }
            self.0.wait(FOR_CANCELLATION, cx);
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(outgoing: &Outgoing) -> Poll<Sent> {
        outgoing.poll_next(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_sent_comes_out_in_order_and_then_the_end() {
        let (outbox, outgoing) = queue();
        assert_eq!(next(&outgoing), Poll::Pending);
        assert_eq!((outbox.send(b"a"), outbox.send(b"")), (Ok(()), Ok(())));
        outbox.end();
        assert_eq!(outbox.send(b"late"), Err(Refused));
        let out = [(); 4].map(|()| next(&outgoing));
        let message = |text: &'static [u8]| Poll::Ready(Sent::Message(Bytes::from_static(text)));
        assert_eq!(out, [message(b"a"), message(b""), Poll::Ready(Sent::End), Poll::Ready(Sent::End)]);
    }

    #[test]
    fn what_waits_is_bounded_and_room_comes_back() {
        let (outbox, outgoing) = queue();
        let large = vec![0; GRPC_MESSAGE_LIMIT + 1];
        assert_eq!(outbox.send(&large), Err(Refused));
        assert_eq!(outbox.send(&large[1..]), Ok(()));
        assert_eq!(outbox.send(b"x"), Err(Refused));
        assert!(next(&outgoing).is_ready());
        let sent = (0..).take_while(|_| outbox.send(b"").is_ok()).count();
        assert_eq!(sent, GRPC_MESSAGE_LIMIT / MESSAGE_OVERHEAD, "empty ones count too");
    }

    #[test]
    fn dropping_the_guests_end_cancels_unless_all_was_said() {
        let (outbox, outgoing) = queue();
        assert_eq!(outbox.send(b"unsent"), Ok(()));
        drop(outbox);
        assert_eq!(next(&outgoing), Poll::Ready(Sent::Cancelled));
        let (outbox, outgoing) = queue();
        assert_eq!(outbox.send(b"unsent"), Ok(()));
        outbox.end();
        drop(outbox);
        assert_eq!(next(&outgoing), Poll::Ready(Sent::Cancelled));
        let (outbox, outgoing) = queue();
        outbox.end();
        drop(outbox);
        assert_eq!(next(&outgoing), Poll::Ready(Sent::End));
    }
}
