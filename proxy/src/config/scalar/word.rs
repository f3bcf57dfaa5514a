//! Settings that are one of a few words.

use schemars::{Schema, json_schema};

use super::super::model::{
    BodyAccess, CanaryMode, ClusterProtocol, Coding, CompressionLevel, Fallback, HashFunction, Isolation,
    LogFloor, OnFault, ProxyProtocol, Pull, ResetFormat, StatedHealth,
};
use super::super::suggest;
use super::{Parse, Refusal};
use crate::path::EscapedSlashes;

/// A value that is one of a few words.
pub(crate) trait Word: Copy + PartialEq + Sized + 'static {
    /// Each word and what it means.
    const WORDS: &'static [(&'static str, Self)];
}

/// The word for a value.
pub(crate) fn name_of<T: Word>(value: T) -> &'static str {
    T::WORDS.iter().find(|(_, meant)| *meant == value).map_or("", |(word, _)| word)
}

fn parse<T: Word + Parse>(text: &str) -> Result<T, Refusal> {
    match T::WORDS.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(T::refuse(&text).hint(suggest::remedy(
            text,
            "choices",
            T::WORDS.iter().map(|(word, _)| *word),
        ))),
    }
}

fn schema<T: Word>() -> Schema {
    let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
    json_schema!({ "type": "string", "enum": words })
}

macro_rules! words {
    ($type:ty, $expected:literal, $($word:literal => $value:expr),+) => {
        impl Word for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
        }

        impl Parse for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Result<Self, Refusal> {
                parse(text)
            }

            fn schema() -> Schema {
                schema::<Self>()
            }
        }
    };
}

words!(EscapedSlashes, "`keep`, `reject`, `unescape` or `redirect`", "keep" => EscapedSlashes::Keep, "reject" => EscapedSlashes::Reject, "unescape" => EscapedSlashes::Unescape, "redirect" => EscapedSlashes::Redirect);
words!(BodyAccess, "`none`, `read` or `write`", "none" => BodyAccess::None, "read" => BodyAccess::Read, "write" => BodyAccess::Write);
words!(LogFloor, "`trace`, `debug`, `info`, `warn`, `error`, `critical` or `none`", "trace" => LogFloor::Trace, "debug" => LogFloor::Debug, "info" => LogFloor::Info, "warn" => LogFloor::Warn, "error" => LogFloor::Error, "critical" => LogFloor::Critical, "none" => LogFloor::None);
words!(ProxyProtocol, "`v1` or `v2`", "v1" => ProxyProtocol::V1, "v2" => ProxyProtocol::V2);
words!(Coding, "`zstd`, `br` or `gzip`", "zstd" => Coding::Zstd, "br" => Coding::Brotli, "gzip" => Coding::Gzip);
words!(CompressionLevel, "`fast`, `balanced` or `best`", "fast" => CompressionLevel::Fast, "balanced" => CompressionLevel::Balanced, "best" => CompressionLevel::Best);
words!(Algorithm, "`round_robin`, `random`, `least_request`, `peak_ewma`, `ring_hash` or `maglev`", "round_robin" => Algorithm::RoundRobin, "random" => Algorithm::Random, "least_request" => Algorithm::LeastRequest, "peak_ewma" => Algorithm::PeakEwma, "ring_hash" => Algorithm::RingHash, "maglev" => Algorithm::Maglev);
words!(HashFunction, "`xx_hash` or `murmur_hash_2`", "xx_hash" => HashFunction::XxHash, "murmur_hash_2" => HashFunction::Murmur);
words!(Fallback, "`none`, `any` or `default`", "none" => Fallback::None, "any" => Fallback::Any, "default" => Fallback::Default);
words!(ClusterProtocol, "`http1`, `http2` or `auto`", "http1" => ClusterProtocol::Http1, "http2" => ClusterProtocol::Http2, "auto" => ClusterProtocol::Auto);
words!(StatedHealth, "`healthy`, `degraded` or `unhealthy`", "healthy" => StatedHealth::Healthy, "degraded" => StatedHealth::Degraded, "unhealthy" => StatedHealth::Unhealthy);
words!(Isolation, "`worker` or `exchange`", "worker" => Isolation::Worker, "exchange" => Isolation::Exchange);
words!(CanaryMode, "`serve` or `shadow`", "serve" => CanaryMode::Serve, "shadow" => CanaryMode::Shadow);
words!(OnFault, "`closed` or `open`", "closed" => OnFault::Closed, "open" => OnFault::Open);
words!(Pull, "`if_not_present` or `always`", "if_not_present" => Pull::IfNotPresent, "always" => Pull::Always);
words!(ResetFormat, "`seconds` or `unix_timestamp`", "seconds" => ResetFormat::Seconds, "unix_timestamp" => ResetFormat::UnixTimestamp);
words!(Traffic, "`http`, `tcp` or `auto`", "http" => Traffic::Http, "tcp" => Traffic::Tcp, "auto" => Traffic::Auto);
words!(Scheme, "`http` or `https`", "http" => Scheme::Http, "https" => Scheme::Https);

/// How an endpoint is picked, with the usual settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// `round_robin`.
    RoundRobin,
    /// `random`.
    Random,
    /// `least_request`.
    LeastRequest,
    /// `peak_ewma`.
    PeakEwma,
    /// `ring_hash`.
    RingHash,
    /// `maglev`.
    Maglev,
}

/// What comes in on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// `http`.
    Http,
    /// `tcp`.
    Tcp,
    /// `auto`.
    Auto,
}

/// A redirect's scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}
