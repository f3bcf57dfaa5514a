//! A request's body that can be sent more than once: what was sent of it is kept, up to a limit.
//!
//! Each attempt reads it from the beginning: first what is kept, then what still comes, which is kept in turn. Once there
//! is more than the limit nothing is kept any more. Then the attempt that has read furthest goes on, and there can be no
//! other.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::{BoxError, RequestBody};

/// A request's body, and what was sent of it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Replay(Rc<RefCell<Tape>>);

struct Tape {
    source: RequestBody,
    /// How long it is, where its sender said so.
    length: Option<u64>,
    limit: usize,
    kept: VecDeque<Piece>,
    /// How much that is, in bytes.
    size: usize,
    /// How many pieces were kept once and are no more.
    gone: usize,
    state: State,
    waiting: Vec<Waker>,
}

enum Piece {
    Data(Bytes),
    /// Small ones behind each other.
    Gathered(Vec<u8>),
    Trailers(HeaderMap),
}

/// Data below this size are gathered, in bytes: a piece of its own would cost more than they do, and keep whatever larger
/// buffer they came in.
const SMALL: usize = 1024;

/// Of that size is what is gathered at most.
const GATHERED: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More is to come.
    Open,
    /// That is all.
    Ended,
    /// It broke off. Who read it last was told.
    Failed,
}

/// What a piece of trailers counts for beyond its text, for each field, in bytes.
const FIELD_BYTES: usize = 32;

/// Why an attempt has no body any more: another one of the same request has gone on with it.
#[derive(Debug, thiserror::Error)]
#[error("the request's body was not kept for this attempt")]
pub(super) struct NotKept;

impl Replay {
    /// Keeps up to `limit` bytes of `source`.
    pub(super) fn new(source: RequestBody, limit: usize) -> Replay {
        let state = if source.is_end_stream() { State::Ended } else { State::Open };
        Replay(Rc::new(RefCell::new(Tape {
            length: source.size_hint().exact(),
            source,
            limit,
            kept: VecDeque::new(),
            size: 0,
            gone: 0,
            state,
            waiting: Vec::new(),
        })))
    }

    /// The body from its beginning.
    pub(super) fn body(&self) -> RequestBody {
        if self.is_empty() {
            return RequestBody::Empty;
        }
        RequestBody::Stream(Box::pin(Reader { tape: self.0.clone(), at: Place::default(), read: 0 }))
    }

    /// Whether it can be read from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        let tape = self.0.borrow();
        tape.gone == 0 && tape.state != State::Failed
    }

    /// Whether all of it was received.
    pub(super) fn is_received(&self) -> bool {
        self.0.borrow().state == State::Ended
    }

    /// Waits until all of it was received, and for so long after that.
    pub(super) async fn over(&self, time: Duration) {
        poll_fn(|cx| {
            let mut tape = self.0.borrow_mut();
            if tape.state != State::Open {
                return Poll::Ready(());
            }
            tape.wait(cx);
            Poll::Pending
        })
        .await;
        tokio::time::sleep(time).await;
    }

    fn is_empty(&self) -> bool {
        let tape = self.0.borrow();
        tape.state == State::Ended && tape.kept.is_empty() && tape.gone == 0
    }
}

impl Tape {
    /// Takes the next piece from the source.
    fn pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.source).poll_frame(cx) {
            Poll::Pending => {
                self.wait(cx);
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        self.wake();
        match frame {
            None => {
                self.state = State::Ended;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.state = State::Failed;
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(frame)) => {
                if self.source.is_end_stream() {
                    self.state = State::Ended;
                }
                self.keep(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        self.size += size(frame);
        if self.gone > 0 || self.size > self.limit {
            self.gone += self.kept.len() + 1;
            self.kept = VecDeque::new();
            return;
        }
        if let Some(data) = frame.data_ref() {
            self.keep_data(data);
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.kept.push_back(Piece::Trailers(trailers.clone()));
        }
    }

    fn keep_data(&mut self, data: &Bytes) {
        if data.len() >= SMALL {
            return self.kept.push_back(Piece::Data(data.clone()));
        }
        match self.kept.back_mut() {
            Some(Piece::Gathered(before)) if before.len() + data.len() <= GATHERED => {
                before.extend_from_slice(data);
            }
            _ => self.kept.push_back(Piece::Gathered(data.to_vec())),
        }
    }

    /// Behind all that came.
    fn end(&self) -> Place {
        match self.kept.back() {
            Some(last) => Place { piece: self.gone + self.kept.len() - 1, read: last.len() },
            None => Place { piece: self.gone, read: 0 },
        }
    }

    /// Has a task woken when something comes. However often it asks, it is known once.
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

impl Piece {
    /// How far one can have read in it: trailers are there or not.
    fn len(&self) -> usize {
        match self {
            Piece::Data(data) => data.len(),
            Piece::Gathered(data) => data.len(),
            Piece::Trailers(_) => 1,
        }
    }

    /// What is behind the first so many bytes.
    fn frame(&self, read: usize) -> Frame<Bytes> {
        match self {
            Piece::Data(data) => Frame::data(data.slice(read..)),
            Piece::Gathered(data) => Frame::data(Bytes::copy_from_slice(&data[read..])),
            Piece::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

/// What a frame counts for, in bytes.
fn size(frame: &Frame<Bytes>) -> usize {
    let fields = frame.trailers_ref().into_iter().flatten();
    let of_fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum();
    frame.data_ref().map_or(of_fields, Bytes::len)
}

/// How far a tape was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    /// Of all pieces that ever were.
    piece: usize,
    /// How much of that.
    read: usize,
}

/// One attempt's reading.
struct Reader {
    tape: Rc<RefCell<Tape>>,
    at: Place,
    /// How much of the data.
    read: u64,
}

impl Reader {
    /// The next of what is kept.
    fn next(&mut self, tape: &Tape) -> Result<Option<Frame<Bytes>>, NotKept> {
        let place = self.at.piece.checked_sub(tape.gone).ok_or(NotKept)?;
        let Some(piece) = tape.kept.get(place) else { return Ok(None) };
        if self.at.read < piece.len() {
            let frame = piece.frame(self.at.read);
            self.at.read = piece.len();
            return Ok(Some(frame));
        }
        let Some(piece) = tape.kept.get(place + 1) else { return Ok(None) };
        self.at = Place { piece: self.at.piece + 1, read: piece.len() };
        Ok(Some(piece.frame(0)))
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let tape = this.tape.clone();
        let mut tape = tape.borrow_mut();
        let frame = match (this.next(&tape)?, tape.state) {
            (Some(frame), _) => frame,
            (None, State::Ended) => return Poll::Ready(None),
            (None, State::Failed) => return Poll::Ready(Some(Err(NotKept.into()))),
            (None, State::Open) => match std::task::ready!(tape.pull(cx)) {
                Some(Ok(frame)) => {
                    this.at = tape.end();
                    frame
                }
                end => return Poll::Ready(end),
            },
        };
        this.read += frame.data_ref().map_or(0, |data| data.len() as u64);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let tape = self.tape.borrow();
        tape.state == State::Ended && self.at == tape.end()
    }

    fn size_hint(&self) -> SizeHint {
        match self.tape.borrow().length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.read)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    /// Whoever else waits for the source may have been waiting for this one to be woken.
    fn drop(&mut self) {
        if let Ok(mut tape) = self.tape.try_borrow_mut() {
            tape.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    fn source(pieces: &'static [&'static str]) -> RequestBody {
        let frames = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from(*piece))));
        RequestBody::Stream(Box::pin(StreamBody::new(stream::iter(frames))))
    }

    async fn read(body: RequestBody) -> Result<String, BoxError> {
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.into()).unwrap())
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_read_again_however_far_it_was_read() {
        let replay = Replay::new(source(&["one", "two", "three"]), 11);
        let mut first = replay.body();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert!(replay.is_whole() && !replay.is_received());
        drop(first);
        assert_eq!(read(replay.body()).await.unwrap(), "onetwothree");
        assert!(replay.is_whole() && replay.is_received());
        assert_eq!(read(replay.body()).await.unwrap(), "onetwothree");
    }

    #[tokio::test]
    async fn of_a_body_beyond_the_limit_nothing_is_kept_and_the_one_that_reads_it_goes_on() {
        let replay = Replay::new(source(&["one", "two", "three"]), 5);
        let mut late = replay.body();
        assert_eq!(late.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert_eq!(read(replay.body()).await.unwrap(), "onetwothree");
        assert!(!replay.is_whole());
        assert!(read(late).await.unwrap_err().is::<NotKept>());
    }

    #[tokio::test]
    async fn whoever_waits_is_known_once_however_often_it_asks() {
        let asks = poll_fn(|cx| {
            let silent = StreamBody::new(stream::pending());
            let replay = Replay::new(RequestBody::Stream(Box::pin(silent)), 11);
            let (mut body, mut over) = (pin!(replay.body()), pin!(replay.over(Duration::ZERO)));
            for _ in 0..100 {
                let is_pending = body.as_mut().poll_frame(cx).is_pending();
                assert!(is_pending && over.as_mut().poll(cx).is_pending());
            }
            Poll::Ready(replay.0.borrow().waiting.len())
        });
        // As what a worker runs: it is by its task's waker that it is known.
        let waiting = LocalSet::new().run_until(async { spawn_local(asks).await.unwrap() }).await;
        assert_eq!(waiting, 1);
    }

    #[tokio::test]
    async fn small_pieces_are_kept_together_and_read_from_wherever_one_is() {
        let large: &str = std::str::from_utf8(&[b'x'; SMALL]).unwrap().to_owned().leak();
        let pieces = [&["a"; 20_000][..], &["", large, "b", "c", large, "", "d"]].concat().leak();
        let whole = pieces.concat();
        let replay = Replay::new(source(pieces), whole.len());
        let (mut ahead, mut behind) = (replay.body(), replay.body());
        let mut seen = [String::new(), String::new()];
        for turn in 0..pieces.len() {
            let next = ahead.frame().await.unwrap().unwrap().into_data().unwrap();
            seen[0].push_str(std::str::from_utf8(&next).unwrap());
            if turn % 3_000 == 0 {
                let next = behind.frame().await.unwrap().unwrap().into_data().unwrap();
                seen[1].push_str(std::str::from_utf8(&next).unwrap());
            }
        }
        assert!(replay.0.borrow().kept.len() < 8, "{} pieces", replay.0.borrow().kept.len());
        assert!(ahead.frame().await.is_none());
        seen[1].push_str(&read(behind).await.unwrap());
        assert_eq!(seen, [whole.clone(), whole.clone()]);
        assert_eq!(read(replay.body()).await.unwrap(), whole);
    }
}
