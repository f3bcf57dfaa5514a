//! Carries the bytes of a connection both ways through the chain.
//!
//! Backpressure is the poll itself: a side is read only when what was read before has been written, and as far as the
//! filters may hold more.

use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::Ending;
use crate::error::Failure;
use crate::filter::{DataFlow, Run};
use crate::transport::Transport;
use crate::wasm::PeerType;
use crate::wasm::stream::Direction;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// When less than this is left of what was taken for reading, in bytes, more is taken.
const SPARE_BYTES: usize = 4 << 10;

/// How many pieces are written at once.
const MAX_SLICES: usize = 16;

/// How long a peer may take nothing, or go on sending, when a filter has closed the connection, as with HTTP.
const LINGER: Duration = Duration::from_secs(1);

/// Both directions of one connection.
pub(super) struct Carrier<'a> {
    run: Rc<Run>,
    client: &'a Transport,
    upstream: &'a Transport,
    request: Pump,
    response: Pump,
    /// The direction that ended first.
    first: Option<Direction>,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(run: &Rc<Run>, client: &'a Transport, upstream: &'a Transport) -> Carrier<'a> {
        let pump = |direction| Pump::new(DataFlow::new(run.clone(), direction));
        let (request, response) = (pump(Direction::Request), pump(Direction::Response));
        Carrier { run: run.clone(), client, upstream, request, response, first: None }
    }

    /// How often bytes moved.
    pub(super) fn moves(&self) -> u64 {
        self.request.moves + self.response.moves
    }

    /// Carries what there is to carry. Ready when both sides have ended and got everything, or when that cannot be. Who
    /// ended it is, as in Envoy, the client if it ended last, and else this side, which ends it with the upstream.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<PeerType, Ending>> {
        if let Some(interrupt) = self.run.take_interrupt() {
            return Poll::Ready(Err(interrupt.into()));
        }
        let (client, upstream) = (self.client, self.upstream);
        let sent = self.request.poll(cx, client, upstream);
        let received = self.response.poll(cx, upstream, client);
        if let Some(interrupt) = self.run.take_interrupt() {
            return Poll::Ready(Err(interrupt.into()));
        }
        match (sent, received) {
            (Poll::Ready(Err(Stop::Filter(ending))), _) | (_, Poll::Ready(Err(Stop::Filter(ending)))) => {
                Poll::Ready(Err(ending))
            }
            (Poll::Ready(Err(Stop::Read)), _) | (_, Poll::Ready(Err(Stop::Write))) => {
                Poll::Ready(Err(Failure::ClientLeft.into()))
            }
            (_, Poll::Ready(Err(Stop::Read))) => Poll::Ready(Err(Failure::UpstreamReset.into())),
            // An upstream that takes nothing more may have said something before: that is read to its end.
            (Poll::Ready(Err(Stop::Write)), Poll::Ready(Ok(()))) => {
                Poll::Ready(Err(Failure::UpstreamReset.into()))
            }
            (Poll::Ready(Err(Stop::Write)), Poll::Pending) => Poll::Pending,
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(match self.first {
                Some(Direction::Response) => PeerType::Remote,
                Some(Direction::Request) | None => PeerType::Local,
            })),
            (sent, received) => {
                let ended = match (sent.is_ready(), received.is_ready()) {
                    (true, _) => Some(Direction::Request),
                    (_, true) => Some(Direction::Response),
                    _ => None,
                };
                self.first = self.first.or(ended);
                Poll::Pending
            }
        }
    }

    /// Writes out what has come through the chain, ends the client's connection, and takes what it still sends for a
    /// moment: a socket that is closed with something unread in it is reset, and a reset can overtake what was written.
    pub(super) async fn flush(&mut self) {
        flush(&mut self.request.flow, self.upstream).await;
        flush(&mut self.response.flow, self.client).await;
        let client = self.client;
        let ended = tokio::time::timeout(LINGER, poll_fn(|cx| client.poll_end_by_ref(cx)));
        let _ = ended.await; // one that is gone is told nothing
        let _ = tokio::time::timeout(LINGER, discard(client)).await;
    }
}

/// Writes what a flow has ready, for as long as the peer takes some of it now and then.
async fn flush(flow: &mut DataFlow, to: &Transport) {
    while !flow.output().is_empty() {
        let written = tokio::time::timeout(LINGER, poll_fn(|cx| poll_write(flow, cx, to))).await;
        let Ok(Ok(count)) = written else { return };
        flow.advance(count);
    }
    let _ = tokio::time::timeout(LINGER, poll_fn(|cx| to.poll_flush_by_ref(cx))).await;
}

async fn discard(mut from: &Transport) -> io::Result<()> {
    let mut discarded = vec![0; READ_BYTES];
    loop {
        // One that sends faster than it is read must not have the worker to itself, nor for longer than it may.
        tokio::task::coop::consume_budget().await;
        if from.read(&mut discarded).await? == 0 {
            return Ok(());
        }
    }
}

/// Why a direction stops before its end.
enum Stop {
    /// Its source failed.
    Read,
    /// Its destination failed.
    Write,
    /// A filter ended the connection.
    Filter(Ending),
}

/// One direction: what is read from one side, goes through the chain and is written to the other.
struct Pump {
    flow: DataFlow,
    /// What is read into.
    buffer: BytesMut,
    /// The source has ended it.
    read_out: bool,
    /// It did so in TLS, and did not say so: that may not be the whole.
    is_cut: bool,
    /// The destination was told of the end, or takes nothing more.
    done: Option<Failed>,
    moves: u64,
}

/// Whether the destination failed.
type Failed = bool;

impl Pump {
    fn new(flow: DataFlow) -> Pump {
        Pump { flow, buffer: BytesMut::new(), read_out: false, is_cut: false, done: None, moves: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>, from: &Transport, to: &Transport) -> Poll<Result<(), Stop>> {
        self.flow.wait(cx.waker());
        loop {
            match self.done {
                Some(false) => return Poll::Ready(Ok(())),
                Some(true) => return Poll::Ready(Err(Stop::Write)),
                None => {}
            }
            if ready!(self.poll_write(cx, to)).is_err() {
                self.done = Some(true);
                continue;
            }
            if self.flow.is_ended() {
                // A peer that is gone is found out by the other direction.
                self.done = Some(ready!(self.poll_end(cx, to)).is_err());
                continue;
            }
            self.flow.settle().map_err(|interrupt| Stop::Filter(interrupt.into()))?;
            if !self.flow.output().is_empty() || self.flow.is_ended() {
                continue;
            }
            if self.read_out || self.flow.room() == 0 {
                return Poll::Pending;
            }
            match self.poll_read(cx, from) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(stop)) => return Poll::Ready(Err(stop)),
                Poll::Pending => {
                    if !self.flow.holds() {
                        self.buffer = BytesMut::new(); // a connection that waits keeps nothing
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once, and sends what was read into the chain.
    fn poll_read(&mut self, cx: &mut Context<'_>, from: &Transport) -> Poll<Result<(), Stop>> {
        if self.buffer.capacity() - self.buffer.len() < SPARE_BYTES {
            self.buffer.reserve(READ_BYTES);
        }
        let read = {
            let (mut from, mut buffer) = (from, (&mut self.buffer).limit(self.flow.room()));
            ready!(pin!(from.read_buf(&mut buffer)).poll(cx)) // one that waits has taken nothing
        };
        let count = match read {
            Ok(count) => count,
            // What came before is not to be lost by a reset.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.is_cut = true;
                0
            }
            Err(_) => return Poll::Ready(Err(Stop::Read)),
        };
        self.moves += 1;
        self.read_out = count == 0;
        let data = self.buffer.split().freeze();
        let pushed = self.flow.push(data, self.read_out);
        Poll::Ready(pushed.map_err(|interrupt| Stop::Filter(interrupt.into())))
    }

    /// Tells the destination of the end; by TLS only of one that the source told of (RFC 8446, 6.1).
    fn poll_end(&self, cx: &mut Context<'_>, to: &Transport) -> Poll<io::Result<()>> {
        if self.is_cut { Poll::Ready(to.socket().end()) } else { to.poll_end_by_ref(cx) }
    }

    /// Writes until nothing is left to write.
    fn poll_write(&mut self, cx: &mut Context<'_>, to: &Transport) -> Poll<io::Result<()>> {
        while !self.flow.output().is_empty() {
            let count = ready!(poll_write(&self.flow, cx, to))?;
            self.moves += 1;
            self.flow.advance(count);
        }
        to.poll_flush_by_ref(cx)
    }
}

/// Writes as much as the peer takes now.
fn poll_write(flow: &DataFlow, cx: &mut Context<'_>, to: &Transport) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut count = 0;
    for (slice, piece) in slices.iter_mut().zip(flow.output()) {
        *slice = IoSlice::new(piece);
        count += 1;
    }
    to.poll_write_by_ref(cx, &slices[..count])
}
