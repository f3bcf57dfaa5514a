//! A body that is compressed as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_compression::Level;
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use async_compression::{brotli, zstd::CParameter};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::io::AsyncWrite;

use crate::config::model::{Coding, CompressionLevel};

/// What is compressed goes on at this size, in bytes.
const CHUNK: usize = 16 << 10;

/// At most so much goes in before something comes out, in bytes.
const INTAKE: usize = 256 << 10;

/// How much is compressed before others of the worker have their turn, in bytes, however much of a body is at hand: the
/// best of brotli takes a few milliseconds for it.
const TURN: usize = 32 << 10;

/// How far back matches are looked for, as a power of two of bytes. It is most of what an encoder takes of memory.
const WINDOW: u32 = 18;

/// An encoder that writes to memory.
pub(in crate::exchange) enum Encoder {
    Zstd(Box<ZstdEncoder<Vec<u8>>>),
    Brotli(Box<BrotliEncoder<Vec<u8>>>),
    Gzip(Box<GzipEncoder<Vec<u8>>>),
}

impl Encoder {
    pub(super) fn new(coding: Coding, level: CompressionLevel) -> Encoder {
        let of = |fast, balanced, best| {
            Level::Precise(match level {
                CompressionLevel::Fast => fast,
                CompressionLevel::Balanced => balanced,
                CompressionLevel::Best => best,
            })
        };
        match coding {
            Coding::Zstd => {
                let window = [CParameter::window_log(WINDOW)];
                let encoder = ZstdEncoder::with_quality_and_params(Vec::new(), of(1, 3, 15), &window);
                Encoder::Zstd(Box::new(encoder))
            }
            Coding::Brotli => {
                let params = brotli::EncoderParams::default().window_size(WINDOW as i32).quality(of(1, 4, 9));
                Encoder::Brotli(Box::new(BrotliEncoder::with_params(Vec::new(), params)))
            }
            Coding::Gzip => Encoder::Gzip(Box::new(GzipEncoder::with_quality(Vec::new(), of(1, 5, 9)))),
        }
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let mut left = data;
        while !left.is_empty() {
            let written = self.poll(|encoder, cx| encoder.poll_write(cx, left))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left = &left[written..];
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.poll(|encoder, cx| encoder.poll_flush(cx))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.poll(|encoder, cx| encoder.poll_shutdown(cx))
    }

    /// What is written to is memory, which is never waited for.
    fn poll<T>(
        &mut self,
        work: impl FnOnce(Pin<&mut (dyn AsyncWrite + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let mut cx = Context::from_waker(Waker::noop());
        let encoder: &mut (dyn AsyncWrite + Unpin) = match self {
            Encoder::Zstd(encoder) => encoder.as_mut(),
            Encoder::Brotli(encoder) => encoder.as_mut(),
            Encoder::Gzip(encoder) => encoder.as_mut(),
        };
        match work(Pin::new(encoder), &mut cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn has_given_all(&self) -> bool {
        match self {
            Encoder::Zstd(encoder) => encoder.get_ref().is_empty(),
            Encoder::Brotli(encoder) => encoder.get_ref().is_empty(),
            Encoder::Gzip(encoder) => encoder.get_ref().is_empty(),
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Encoder::Zstd(encoder) => encoder.get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Gzip(encoder) => encoder.get_mut(),
        }
    }
}

/// The state of a body that is compressed as it comes.
pub(in crate::exchange) struct Encoded {
    encoder: Encoder,
    /// What the body has given and has not gone in.
    left: Bytes,
    /// What went in since the encoder was last flushed, in bytes.
    intake: usize,
    /// It was flushed since something last came out.
    flushed: bool,
    trailers: Option<HeaderMap>,
    finished: bool,
}

/// Why a compressed body does not come to its end.
#[derive(Debug)]
pub(in crate::exchange) enum Broken<E> {
    Source(E),
    Encoder(io::Error),
}

impl Encoded {
    pub(in crate::exchange) fn new(encoder: Encoder) -> Encoded {
        Encoded { encoder, left: Bytes::new(), intake: 0, flushed: false, trailers: None, finished: false }
    }

    /// Whether nothing is left to come out.
    pub(in crate::exchange) fn is_end_stream(&self) -> bool {
        self.finished && self.trailers.is_none() && self.encoder.has_given_all()
    }

    /// Whether what was compressed is to go on.
    fn is_due(&mut self) -> bool {
        let waiting = self.encoder.output().len();
        waiting >= CHUNK || (waiting > 0 && self.flushed)
    }

    /// The next frame, `source` giving those of the body. What is compressed goes on when the source has nothing more at
    /// hand, or enough has come together.
    pub(in crate::exchange) fn poll_frame<E>(
        &mut self,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken<E>>>> {
        let mut turn = TURN;
        while !self.finished && !self.is_due() {
            if !self.left.is_empty() {
                if turn == 0 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let piece = self.left.split_to(self.left.len().min(turn));
                turn -= piece.len();
                if let Err(error) = self.compress(&piece) {
                    return Poll::Ready(Some(Err(Broken::Encoder(error))));
                }
                continue;
            }
            let progress = match source(cx) {
                Poll::Ready(Some(Ok(frame))) => self.take(frame),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Broken::Source(error)))),
                Poll::Ready(None) => self.finish(),
                Poll::Pending if self.intake == 0 => return Poll::Pending,
                Poll::Pending => self.flush(),
            };
            if let Err(error) = progress {
                return Poll::Ready(Some(Err(Broken::Encoder(error))));
            }
        }
        self.flushed = false;
        let output = std::mem::take(self.encoder.output());
        if !output.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(output.into()))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn take(&mut self, frame: Frame<Bytes>) -> io::Result<()> {
        match frame.into_data() {
            Ok(data) => {
                self.left = data;
                Ok(())
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.finish()
            }
        }
    }

    fn compress(&mut self, piece: &[u8]) -> io::Result<()> {
        self.intake += piece.len();
        self.encoder.write(piece)?;
        if self.intake >= INTAKE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        (self.intake, self.flushed) = (0, true);
        self.encoder.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        self.encoder.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the compression of a body of one frame leaves the worker to others, and what comes of it.
    fn turns(body: &Bytes, coding: Coding) -> (usize, Vec<u8>) {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut cx = Context::from_waker(&waker);
        let mut encoded = Encoded::new(Encoder::new(coding, CompressionLevel::Fast));
        let mut frames = vec![Frame::data(body.clone())];
        let mut output = Vec::new();
        let mut turns = 0;
        loop {
            let frame = encoded.poll_frame(&mut cx, |_| Poll::Ready(frames.pop().map(Ok::<_, Infallible>)));
            match frame {
                Poll::Pending => turns += 1,
                Poll::Ready(None) => break,
                Poll::Ready(Some(Ok(frame))) => output.extend(frame.into_data().unwrap()),
                Poll::Ready(Some(Err(error))) => panic!("{error:?}"),
            }
            assert_eq!(wakes.0.load(Ordering::Relaxed), turns, "whoever is to wait is woken");
        }
        (turns, output)
    }

    #[test]
    fn a_large_frame_is_compressed_in_turns() {
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        for coding in [Coding::Zstd, Coding::Brotli, Coding::Gzip] {
            let (turns, output) = turns(&body, coding);
            // Where something comes out of it, that ends a turn as well: after each 256 KiB at the latest.
            assert!((24..=32).contains(&turns), "{coding:?}: {turns}");
            assert!(output.len() < body.len() / 100, "{coding:?}: {} bytes", output.len());
        }
        assert_eq!(super::tests::turns(&Bytes::from_static(b"small"), Coding::Gzip).0, 0);
    }
}
