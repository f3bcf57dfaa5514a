//! A body that is decompressed as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::decoder::{Coding, Decoder, Output};
use crate::config::model::Decompression;

/// So much may come out of however little, in bytes: what is small compresses as well as it likes.
const FREE: u64 = 256 << 10;

/// How much goes in at once, in bytes: of some bodies nothing comes out for a long time.
const INTAKE: usize = 16 << 10;

/// How much goes in and comes out before others of the worker have their turn, in bytes: less than a millisecond's work.
const TURN: usize = 128 << 10;

/// Why a body cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undecodable {
    /// It is not what its `content-encoding` says.
    #[error("the body is not compressed as it says, or ends too early")]
    Malformed(#[source] io::Error),
    /// More would come out of it than may.
    #[error("more comes out of the compressed body than may")]
    TooLarge,
}

/// A body as it comes, or decompressed.
pub(in crate::exchange) enum Source<B> {
    Plain(B),
    Compressed(Box<Decoded<B>>),
}

/// The state of a body that is decompressed as it comes.
pub(in crate::exchange) struct Decoded<B> {
    source: B,
    decoder: Decoder,
    limits: Limits,
    /// What the source has given and has not gone in.
    left: Bytes,
    /// What went in and came out since others had their turn, in bytes.
    turn: usize,
    /// What went in and came out so far, in bytes.
    taken: u64,
    given: u64,
    /// The source has ended.
    drained: bool,
    /// Nothing more comes out.
    finished: bool,
    trailers: Option<HeaderMap>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// In hundredths.
    ratio: u64,
    bytes: u64,
}

impl<B> Source<B> {
    pub(super) fn decoded(source: B, coding: Coding, terms: &Decompression) -> Source<B> {
        Source::Compressed(Box::new(Decoded {
            source,
            decoder: Decoder::new(coding),
            limits: Limits { ratio: terms.max_ratio.0.into(), bytes: terms.max_bytes },
            left: Bytes::new(),
            turn: 0,
            taken: 0,
            given: 0,
            drained: false,
            finished: false,
            trailers: None,
        }))
    }
}

impl Limits {
    fn allow(self, taken: u64, given: u64) -> bool {
        given <= self.bytes && (given <= FREE || given <= taken.saturating_mul(self.ratio) / 100)
    }
}

impl<B> Decoded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: From<Undecodable>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        while !self.finished {
            if self.turn >= TURN {
                self.turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.decoder.read() {
                Ok(Output::Data(data)) => {
                    self.turn += data.len();
                    self.given += data.len() as u64;
                    if !self.limits.allow(self.taken, self.given) {
                        return self.fail(Undecodable::TooLarge);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Output::End) => self.finished = true,
                Ok(Output::Hungry) if !self.left.is_empty() => {
                    let piece = self.left.split_to(self.left.len().min(INTAKE));
                    self.turn += piece.len();
                    self.decoder.feed(piece);
                }
                Ok(Output::Hungry) => {
                    if let Some(error) = ready!(self.poll_source(cx)) {
                        return Poll::Ready(Some(Err(error)));
                    }
                    // Of nothing comes nothing, whatever the coding.
                    self.finished = self.drained && self.taken == 0;
                }
                Err(error) => return self.fail(Undecodable::Malformed(error)),
            }
        }
        // What follows the end is nobody's; without it the connection could not be used again.
        while !self.drained {
            if let Some(error) = ready!(self.poll_source(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// Takes what comes next from the source, or has the decoder know that nothing does.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<B::Error>> {
        let Poll::Ready(frame) = Pin::new(&mut self.source).poll_frame(cx) else {
            self.turn = 0;
            return Poll::Pending;
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.taken += data.len() as u64;
                    self.left = data;
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    self.drain();
                }
            },
            Some(Err(error)) => {
                self.drain();
                self.finished = true;
                return Poll::Ready(Some(error));
            }
            None => self.drain(),
        }
        Poll::Ready(None)
    }

    fn drain(&mut self) {
        self.drained = true;
        self.decoder.end();
    }

    fn fail(&mut self, why: Undecodable) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        (self.finished, self.drained) = (true, true);
        Poll::Ready(Some(Err(why.into())))
    }
}

impl<B> Body for Source<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: From<Undecodable>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.get_mut() {
            Source::Plain(body) => Pin::new(body).poll_frame(cx),
            Source::Compressed(decoded) => decoded.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Source::Plain(body) => body.is_end_stream(),
            Source::Compressed(decoded) => decoded.finished && decoded.drained && decoded.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Source::Plain(body) => body.size_hint(),
            Source::Compressed(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use async_compression::tokio::write::{
        BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder,
    };
    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::config::model::Times;

    struct Pieces(VecDeque<Frame<Bytes>>);

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Undecodable;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Undecodable>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn terms(ratio: u32, bytes: u64) -> Decompression {
        Decompression { requests: true, responses: true, max_ratio: Times(ratio * 100), max_bytes: bytes }
    }

    fn source(compressed: &[u8], piece: usize, coding: Coding, terms: &Decompression) -> Source<Pieces> {
        let pieces = compressed.chunks(piece).map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
        Source::decoded(Pieces(pieces.collect()), coding, terms)
    }

    async fn read(source: Source<Pieces>) -> Result<Bytes, Undecodable> {
        Ok(source.collect().await?.to_bytes())
    }

    macro_rules! compressed {
        ($encoder:ident, $data:expr) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all($data).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }

    async fn every_coding(data: &[u8]) -> [(Coding, Vec<u8>); 5] {
        [
            (Coding::Gzip, compressed!(GzipEncoder, data)),
            (Coding::Brotli, compressed!(BrotliEncoder, data)),
            (Coding::Zstd, compressed!(ZstdEncoder, data)),
            (Coding::Deflate, compressed!(ZlibEncoder, data)),
            (Coding::Deflate, compressed!(DeflateEncoder, data)),
        ]
    }

    #[tokio::test]
    async fn to_decompress_gives_what_was_compressed_however_it_is_cut() {
        let text: String = (0..20_000).map(|number| format!("{number},")).collect();
        for (coding, compressed) in every_coding(text.as_bytes()).await {
            for piece in [1, 7, 1000, usize::MAX] {
                let source = source(&compressed, piece, coding, &terms(1000, 1 << 30));
                assert_eq!(read(source).await.unwrap(), text.as_bytes(), "{coding:?} by {piece}");
            }
        }
    }

    #[tokio::test]
    async fn to_decompress_a_body_that_is_cut_or_wrong_is_refused_and_nothing_is_nothing() {
        let terms = terms(1000, 1 << 30);
        for (coding, compressed) in every_coding(&[b'a'; 5000]).await {
            let cut = &compressed[..compressed.len() - 3];
            let error = read(source(cut, 10, coding, &terms)).await.unwrap_err();
            assert!(matches!(error, Undecodable::Malformed(_)), "{coding:?}");
            let wrong = [&[0xff, 0xff, 0xff, 0xff], &compressed[..]].concat();
            assert!(read(source(&wrong, 10, coding, &terms)).await.is_err(), "{coding:?}");
            assert_eq!(read(source(&[], 10, coding, &terms)).await.unwrap(), "", "{coding:?}");
        }
    }

    #[tokio::test]
    async fn to_decompress_a_bomb_ends_at_the_limit_and_gives_bounded_pieces_before_it() {
        let zeros = vec![0; 32 << 20];
        for (coding, compressed) in every_coding(&zeros).await {
            for (terms, most) in [(terms(100, 1 << 30), 5 << 20), (terms(1_000_000, 1 << 20), 1 << 20)] {
                let mut source = source(&compressed, usize::MAX, coding, &terms);
                let mut given = 0;
                let error = loop {
                    match source.frame().await {
                        Some(Ok(frame)) => {
                            let piece = frame.into_data().unwrap().len();
                            assert!(piece <= 64 << 10, "{coding:?}: {piece}");
                            given += piece;
                        }
                        Some(Err(error)) => break error,
                        None => panic!("{coding:?}: {given} bytes and no limit"),
                    }
                };
                assert!(matches!(error, Undecodable::TooLarge), "{coding:?}: {error:?}");
                assert!(given <= most, "{coding:?}: {given}");
            }
        }
    }

    /// How often the worker is left to others while a body of one frame is decompressed, and the most that comes out between.
    fn turns(mut source: Source<Pieces>) -> (usize, usize) {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut cx = Context::from_waker(&waker);
        let (mut turns, mut given, mut most) = (0, 0, 0);
        loop {
            match Pin::new(&mut source).poll_frame(&mut cx) {
                Poll::Pending => (turns, given) = (turns + 1, 0),
                Poll::Ready(None) => return (turns, most),
                Poll::Ready(Some(frame)) => given += frame.unwrap().into_data().unwrap().len(),
            }
            most = most.max(given);
            assert_eq!(wakes.0.load(Ordering::Relaxed), turns, "whoever is to wait is woken");
        }
    }

    #[tokio::test]
    async fn to_decompress_what_becomes_large_or_was_large_takes_turns() {
        let terms = terms(1_000_000, 1 << 30);
        let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20).collect();
        for data in [&vec![0; 1 << 20], &random] {
            for (coding, compressed) in every_coding(data).await {
                let (count, most) = turns(source(&compressed, usize::MAX, coding, &terms));
                assert!(count >= 7 && most <= 160 << 10, "{coding:?}: {count} turns, {most} bytes");
            }
        }
        let empty = compressed!(GzipEncoder, b"").repeat(100_000);
        let (empty_turns, _) = turns(source(&empty, usize::MAX, Coding::Gzip, &terms));
        assert!(empty_turns >= 8, "nothing comes out of it: {empty_turns}");
        let small = compressed!(GzipEncoder, b"small");
        assert_eq!(turns(source(&small, usize::MAX, Coding::Gzip, &terms)), (0, 5));
    }

    #[tokio::test]
    async fn to_decompress_keeps_trailers_and_members_behind_each_other_are_one_body() {
        let (one, two) = (compressed!(GzipEncoder, b"one"), compressed!(GzipEncoder, b"two"));
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
        let pieces = [Frame::data(one.into()), Frame::data(two.into()), Frame::trailers(trailers.clone())];
        let source = Source::decoded(Pieces(pieces.into()), Coding::Gzip, &terms(100, 1 << 20));
        let all = source.collect().await.unwrap();
        assert_eq!(all.trailers(), Some(&trailers));
        assert_eq!(all.to_bytes(), "onetwo");
    }
}
