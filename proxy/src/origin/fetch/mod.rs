//! Fetches modules from servers and registries: bounded in time and size, tried again.
//!
//! `client` speaks HTTP, `registry` the OCI Distribution Specification, `image` knows in which of an image's layers a
//! module is.

mod client;
mod credentials;
mod error;
mod image;
mod registry;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use super::cache::Cache;
use super::{Errand, MODULE_LIMIT, Memo, Obtained, Request, SIGNATURE_SUFFIX, Unobtainable};
use crate::config::model::{Location, Pull, Remote, Sha256};
use crate::signature::{SIGNATURES_LIMIT, Signed};
use client::Client;
pub(crate) use error::FetchError;

/// Modules that are fetched at a time.
const AT_ONCE: usize = 8;
/// Before the second attempt; twice as long before each that follows, and by up to a half shorter by chance, so that
/// proxies which failed together do not come back together.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What was fetched.
struct Fetched {
    bytes: Bytes,
    /// An image's manifest.
    manifest: Option<Sha256>,
    /// Whether they were on disk, so that nothing but the manifest was fetched, if that.
    is_copy: bool,
}

/// Fetches all of them side by side. An answer for each; of those that are called back, that there is none.
pub(super) fn fetch_all(
    requests: Vec<Request>,
    cache: &Cache,
    errand: &Errand,
) -> Vec<Result<Obtained, Unobtainable>> {
    if requests.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = requests.iter().map(|request| request.remote.location.to_string()).collect();
    let failed = |name: &String, error| Err(Unobtainable::Fetch { name: name.clone(), error });
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = FetchError::Client(error.to_string());
            return names.iter().map(|name| failed(name, error.clone())).collect();
        }
    };
    let began = Instant::now();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut answers: Vec<_> =
        names.iter().map(|name| failed(name, FetchError::Client("it was given up".to_owned()))).collect();
    LocalSet::new().block_on(&runtime, async {
        let mut tasks = JoinSet::new();
        for (index, request) in requests.into_iter().enumerate() {
            let (turns, cache) = (turns.clone(), cache.clone());
            tasks.spawn_local(async move {
                let _turn = turns.acquire().await;
                (index, obtain(&request, &cache).await)
            });
        }
        loop {
            let ended = tokio::select! {
                biased;
                ended = tasks.join_next() => ended,
                () = errand.called_back() => return,
            };
            match ended {
                Some(Ok((index, answer))) => {
                    answers[index] = answer.or_else(|error| failed(&names[index], error));
                }
                Some(Err(_)) => {}
                None => return,
            }
        }
    });
    errand.note_wait(began.elapsed());
    answers
}

/// One module, from the disk if it may be.
async fn obtain(request: &Request, cache: &Cache) -> Result<Obtained, FetchError> {
    let (remote, name) = (&request.remote, request.remote.location.to_string());
    let began = Instant::now();
    let kept = kept(request, cache);
    let is_unasked = kept.is_some();
    let Fetched { bytes, manifest, is_copy } = match kept {
        Some(bytes) => Fetched { bytes, manifest: None, is_copy: true },
        None => fetch(request, cache).await?,
    };
    let digest = Sha256::of(&bytes);
    let (detached, are_signatures_copy) = match request.signed && !has_signatures(&bytes) {
        true => signatures(request, digest, cache).await?,
        false => (None, false),
    };
    if is_copy {
        tracing::info!(module = name, sha256 = %digest, "the module is on disk: it is not fetched");
    } else {
        tracing::info!(
            module = name,
            sha256 = %digest,
            bytes = bytes.len(),
            from = place(remote),
            milliseconds = began.elapsed().as_millis() as u64,
            "module fetched"
        );
    }
    let memo = Memo {
        reference: reference(remote),
        manifest,
        is_copy,
        are_signatures_copy,
        may_be_outdated: is_unasked && !is_pinned(request) || are_signatures_copy,
        is_kept: false.into(),
    };
    let fetched = Some(Arc::new(memo));
    Ok(Obtained { name, bytes, digest, detached, debug: None, is_builtin: false, fetched })
}

fn place(remote: &Remote) -> &'static str {
    match &remote.location {
        Location::Url { cluster: Some(_), .. } => "cluster",
        Location::Url { .. } => "server",
        Location::Image(_) => "registry",
    }
}

/// A copy that will do. What is known by its digest is what it was.
fn kept(request: &Request, cache: &Cache) -> Option<Bytes> {
    if let Some(digest) = request.sha256 {
        return cache.module(digest);
    }
    let may_be_copy = request.remote.pull == Pull::IfNotPresent && !request.anew;
    if may_be_copy || is_pinned(request) {
        return cache.module(cache.note(&reference(&request.remote))?.module);
    }
    None
}

/// Whether nothing else than what it is can be fetched.
fn is_pinned(request: &Request) -> bool {
    request.sha256.is_some()
        || matches!(&request.remote.location, Location::Image(image) if image.digest.is_some())
}

/// What a copy is noted under.
fn reference(remote: &Remote) -> String {
    match &remote.location {
        Location::Image(image) => image.to_string(),
        Location::Url { url, cluster: None } => url.to_string(),
        Location::Url { url, cluster: Some(cluster) } => format!("{url} of {cluster}"),
    }
}

async fn fetch(request: &Request, cache: &Cache) -> Result<Fetched, FetchError> {
    let Request { remote, sha256, .. } = request;
    let client = Client::new(request)?;
    let known = cache.note(&reference(remote));
    let fetched = with_retries(remote, async |attempt| match &remote.location {
        Location::Url { url, .. } => {
            let bytes = client.get(url, attempt, MODULE_LIMIT).await?;
            Ok(Fetched { bytes, manifest: None, is_copy: false })
        }
        Location::Image(image) => {
            registry::pull(&client, remote, image, |manifest| {
                let known = known.filter(|known| known.manifest == Some(manifest))?;
                cache.module(known.module)
            })
            .await
        }
    })
    .await?;
    let module = Sha256::of(&fetched.bytes);
    if *sha256 == Some(module) {
        cache.keep(module, &fetched.bytes); // it is what it is to be, whatever that is good for
    }
    Ok(fetched)
}

fn has_signatures(module: &[u8]) -> bool {
    Signed::read(module, None).is_ok_and(|signed| signed.has_signatures())
}

/// The signatures in a file beside the module, and whether they are a copy. An image has none: a module in a registry is
/// signed in itself.
async fn signatures(
    request: &Request,
    of: Sha256,
    cache: &Cache,
) -> Result<(Option<Bytes>, bool), FetchError> {
    let Location::Url { url, .. } = &request.remote.location else { return Ok((None, false)) };
    if let Some(kept) = cache.signatures(of).filter(|_| !request.anew) {
        return Ok((Some(kept), true));
    }
    let Some(url) = beside(url) else { return Ok((None, false)) };
    let client = Client::new(request)?;
    let limit = SIGNATURES_LIMIT as u64;
    let fetched = with_retries(&request.remote, async |attempt| client.get(&url, attempt, limit).await).await;
    match fetched {
        Ok(signatures) => Ok((Some(signatures), false)),
        Err(FetchError::Status { status: 404 | 410, .. }) => Ok((None, false)),
        Err(error) => Err(error),
    }
}

/// The same address with `.sig` behind its path.
fn beside(url: &http::Uri) -> Option<http::Uri> {
    let mut parts = url.clone().into_parts();
    let query = url.query().map_or(String::new(), |query| format!("?{query}"));
    parts.path_and_query = Some(format!("{}{SIGNATURE_SUFFIX}{query}", url.path()).parse().ok()?);
    http::Uri::from_parts(parts).ok()
}

/// Tries until it succeeds, fails for good, or there were attempts enough.
async fn with_retries<T>(
    remote: &Remote,
    work: impl AsyncFn(u32) -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let mut attempt = 0;
    loop {
        let outcome = tokio::time::timeout(remote.timeout, work(attempt)).await;
        let error = match outcome.unwrap_or(Err(FetchError::Timeout(remote.timeout))) {
            Ok(value) => return Ok(value),
            Err(error) if attempt >= remote.retries || !error.is_worth_another_try() => return Err(error),
            Err(error) => error,
        };
        let wait = wait_after(attempt);
        tracing::warn!(
            module = %remote.location,
            %error,
            wait_ms = wait.as_millis() as u64,
            "a module could not be fetched: trying again"
        );
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

fn wait_after(attempt: u32) -> Duration {
    let whole = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_WAIT);
    whole.mul_f64(1.0 - fastrand::f64() / 2.0)
}
