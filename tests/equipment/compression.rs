//! Bodies in the codings that HTTP has for them.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A text in this coding.
pub(crate) fn encoded(coding: &str, text: &str) -> Vec<u8> {
    macro_rules! by {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(text.as_ref()).await.expect("memory can be written");
            encoder.shutdown().await.expect("memory can be written");
            encoder.into_inner()
        }};
    }
    run(async {
        match coding {
            "gzip" => by!(GzipEncoder),
            "br" => by!(BrotliEncoder),
            "zstd" => by!(ZstdEncoder),
            "deflate" => by!(ZlibEncoder),
            other => panic!("no coding {other}"),
        }
    })
}

/// The text that content in this coding is of.
pub(crate) fn decoded(coding: &str, content: &[u8]) -> String {
    let mut text = String::new();
    let read = run(async {
        match coding {
            "gzip" => GzipDecoder::new(content).read_to_string(&mut text).await,
            "br" => BrotliDecoder::new(content).read_to_string(&mut text).await,
            "zstd" => ZstdDecoder::new(content).read_to_string(&mut text).await,
            "identity" => (&mut &content[..]).read_to_string(&mut text).await,
            other => panic!("no coding {other}"),
        }
    });
    read.expect("it is what its head says");
    text
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("there is a runtime").block_on(work)
}
