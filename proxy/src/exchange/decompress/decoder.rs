//! What comes out of a compressed body, a bounded piece at a time, however little goes in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// At most so much comes out at once, in bytes.
const CHUNK: usize = 32 << 10;

/// How far back zstd may look, as a power of two of bytes: what RFC 9659 lets a sender expect.
const WINDOW: u32 = 23;

/// The codings that are undone (RFC 9110, 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

impl Coding {
    /// By its name in `content-encoding`.
    pub(super) fn named(name: &str) -> Option<Coding> {
        let names = [
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
            ("deflate", Coding::Deflate),
        ];
        names.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| *coding)
    }
}

/// What is at hand of a body.
#[derive(Debug, Default)]
struct Intake {
    data: Bytes,
    /// No more is to come.
    ended: bool,
}

impl AsyncRead for Intake {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let count = match Pin::new(&mut *this).poll_fill_buf(cx) {
            Poll::Ready(Ok(data)) => {
                let count = data.len().min(buffer.remaining());
                buffer.put_slice(&data[..count]);
                count
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        Pin::new(this).consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Intake {
    /// Nobody is woken: whoever feeds it asks again.
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.data.is_empty() && !this.ended {
            return Poll::Pending;
        }
        Poll::Ready(Ok(&this.data))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        self.get_mut().data.advance(count);
    }
}

/// A decoder that is fed and asked.
pub(super) struct Decoder(State);

enum State {
    /// What begins like zlib's format is that, and what does not is deflate without it, as some send it.
    Unknown(Intake),
    Gzip(Box<GzipDecoder<Intake>>),
    Brotli(Box<BrotliDecoder<Intake>>),
    Zstd(Box<ZstdDecoder<Intake>>),
    Zlib(Box<ZlibDecoder<Intake>>),
    Deflate(Box<DeflateDecoder<Intake>>),
}

/// What a decoder gives.
#[derive(Debug)]
pub(super) enum Output {
    /// Some of the body, never empty.
    Data(Bytes),
    /// Nothing before it is fed.
    Hungry,
    /// That was all.
    End,
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> Decoder {
        let intake = Intake::default();
        Decoder(match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(intake);
                decoder.multiple_members(true);
                State::Gzip(Box::new(decoder))
            }
            Coding::Brotli => State::Brotli(Box::new(BrotliDecoder::new(intake))),
            Coding::Zstd => {
                let window = [DParameter::window_log_max(WINDOW)];
                let mut decoder = ZstdDecoder::with_params(intake, &window);
                decoder.multiple_members(true);
                State::Zstd(Box::new(decoder))
            }
            Coding::Deflate => State::Unknown(intake),
        })
    }

    /// Takes more in. Only where it is hungry.
    pub(super) fn feed(&mut self, data: Bytes) {
        self.intake().data = data;
    }

    /// There is no more to take in.
    pub(super) fn end(&mut self) {
        self.intake().ended = true;
    }

    /// What there is.
    ///
    /// # Errors
    ///
    /// It is not what it is said to be, or ends too early.
    pub(super) fn read(&mut self) -> io::Result<Output> {
        if let State::Unknown(intake) = &mut self.0 {
            let Some(first) = intake.data.first() else {
                return Ok(if intake.ended { Output::End } else { Output::Hungry });
            };
            let intake_of = std::mem::take;
            // RFC 1950, 2.2: the method is 8, the window no more than 32 KiB.
            self.0 = match first & 0x8f {
                0x08 => State::Zlib(Box::new(ZlibDecoder::new(intake_of(intake)))),
                _ => State::Deflate(Box::new(DeflateDecoder::new(intake_of(intake)))),
            };
        }
        let mut output = vec![0; CHUNK];
        let mut buffer = ReadBuf::new(&mut output);
        let mut cx = Context::from_waker(Waker::noop());
        let decoder: &mut (dyn AsyncRead + Unpin) = match &mut self.0 {
            State::Unknown(intake) => intake,
            State::Gzip(decoder) => decoder.as_mut(),
            State::Brotli(decoder) => decoder.as_mut(),
            State::Zstd(decoder) => decoder.as_mut(),
            State::Zlib(decoder) => decoder.as_mut(),
            State::Deflate(decoder) => decoder.as_mut(),
        };
        let read = Pin::new(decoder).poll_read(&mut cx, &mut buffer);
        let count = buffer.filled().len();
        match read {
            Poll::Ready(Err(error)) => Err(error),
            _ if count > 0 => {
                // Who keeps a small piece is not to keep the room for a large one.
                if count < CHUNK / 2 {
                    return Ok(Output::Data(Bytes::copy_from_slice(&output[..count])));
                }
                output.truncate(count);
                Ok(Output::Data(output.into()))
            }
            Poll::Ready(Ok(())) => Ok(Output::End),
            Poll::Pending => Ok(Output::Hungry),
        }
    }

    fn intake(&mut self) -> &mut Intake {
        match &mut self.0 {
            State::Unknown(intake) => intake,
            State::Gzip(decoder) => decoder.get_mut(),
            State::Brotli(decoder) => decoder.get_mut(),
            State::Zstd(decoder) => decoder.get_mut(),
            State::Zlib(decoder) => decoder.get_mut(),
            State::Deflate(decoder) => decoder.get_mut(),
        }
    }
}
