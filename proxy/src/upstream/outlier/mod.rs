//! Leaving endpoints alone that fail: who is ejected, for how long, and who is back.
//!
//! Workers note what came of each request, in numbers that all of them share, and eject an endpoint that has failed so
//! often in a row. Whoever compares endpoints with each other, and takes them back, is one task for the whole process:
//! see [`watch`]. Both happen to few requests; the others cost a few loads.

mod compare;
mod watch;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::{Cluster, Endpoint, HealthFlag};
use crate::config::model::{OutlierDetection, Percent};
use crate::grpc;
use crate::telemetry::metrics::{ClusterCell, EjectionReason};
pub(super) use watch::restore;
pub(crate) use watch::{leave, watch};

/// What a cluster has for all of its endpoints.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    /// Held by whoever ejects, so that there are never more than may be.
    ejecting: Mutex<()>,
    /// Notified of each ejection.
    changed: Notify,
    /// The configuration that is served ejects nobody, whatever requests say that were sent under a former one.
    off: AtomicBool,
}

/// What is known of an endpoint, on all workers.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Failures in a row.
    server_errors: AtomicU32,
    gateway_failures: AtomicU32,
    local_failures: AtomicU32,
    /// Of the interval: requests with an outcome, those that succeeded, and those that were timed with how long they took.
    requests: AtomicU64,
    successes: AtomicU64,
    timed: AtomicU64,
    time_us: AtomicU64,
    /// Ejections that the next one adds to.
    ejections: AtomicU32,
    /// Until when it is ejected, in ms of the endpoint's time.
    until_ms: AtomicU64,
    /// It is back, and has not been heard of yet.
    on_probation: AtomicBool,
}

/// What came of a request to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A response with this status.
    Status(StatusCode),
    /// None, because of what the endpoint did.
    Failed,
    /// None, as far as can be told from here: no connection, or no answer in time.
    Local,
}

/// Whether what comes of requests to the cluster is looked at.
pub(super) fn looks_at(cluster: &Cluster) -> bool {
    cluster.config().recovery.outlier_detection.is_some()
}

impl Answer {
    /// Whether it is one that can be told from its head.
    pub(super) fn is_failure(self) -> bool {
        !matches!(self, Answer::Status(status) if !status.is_server_error())
    }

    /// What a response's head says, or its trailers, in gRPC by its own status.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Answer {
        let grpc = grpc::Status::of(headers).map(grpc::Status::code);
        // As gRPC's statuses are taken for HTTP's by Envoy.
        let status = match grpc {
            None | Some(0) => status,
            Some(4) => StatusCode::GATEWAY_TIMEOUT,
            Some(14) => StatusCode::SERVICE_UNAVAILABLE,
            Some(12) => StatusCode::NOT_IMPLEMENTED,
            Some(2 | 13 | 15) => StatusCode::INTERNAL_SERVER_ERROR,
            Some(_) => StatusCode::BAD_REQUEST,
        };
        Answer::Status(status)
    }
}

/// Notes what came of a request, and ejects the endpoint if that is called for. `took` is known where it matters.
pub(super) fn note(
    cluster: &Cluster,
    endpoint: &Endpoint,
    cell: &ClusterCell,
    answer: Answer,
    took: Option<Duration>,
) {
    let Some(terms) = &cluster.config().recovery.outlier_detection else { return };
    let record = endpoint.outlier();
    let splits = terms.consecutive_local_failures > 0;
    let (server_error, gateway_failure, local_failure) = match answer {
        Answer::Status(status) => (status.is_server_error(), matches!(status.as_u16(), 502..=504), false),
        Answer::Local if splits => (false, false, true),
        Answer::Failed | Answer::Local => (true, true, false),
    };
    let failed = server_error || local_failure;
    if terms.compares() {
        // An error may be fast, and is nothing to compare with.
        record.count(!failed, took.filter(|_| !server_error || answer == Answer::Local));
    }
    if !failed {
        return record.clear();
    }
    // What was on its way when it was ejected says nothing new.
    if endpoint.has(HealthFlag::Ejected) {
        return;
    }
    let reached = |counter: &AtomicU32, counts: bool, threshold: u32| match (counts, answer) {
        (true, _) => counter.fetch_add(1, Relaxed) + 1 >= threshold && threshold > 0,
        // Who cannot be reached has answered nothing, so that it ends no row of answers.
        (false, Answer::Local) => false,
        (false, _) => {
            counter.store(0, Relaxed);
            false
        }
    };
    let reasons = [
        (reached(&record.server_errors, server_error, terms.consecutive_5xx), EjectionReason::Consecutive5xx),
        (
            reached(&record.gateway_failures, gateway_failure, terms.consecutive_gateway_failures),
            EjectionReason::ConsecutiveGatewayFailures,
        ),
        (
            reached(&record.local_failures, local_failure, terms.consecutive_local_failures),
            EjectionReason::ConsecutiveLocalFailures,
        ),
    ];
    let reason = reasons.iter().find(|(reached, _)| *reached).map(|(_, reason)| *reason);
    let reason = match reason {
        None if record.on_probation.load(Relaxed) => Some(EjectionReason::Probation),
        reason => reason,
    };
    if let Some(reason) = reason {
        eject(cluster, endpoint, terms, cell, reason);
    }
}

impl OutlierDetection {
    /// Whether endpoints are compared with each other.
    fn compares(&self) -> bool {
        self.success_rate.is_some() || self.failure_percentage.is_some() || self.latency.is_some()
    }
}

impl Record {
    fn count(&self, succeeded: bool, took: Option<Duration>) {
        self.requests.fetch_add(1, Relaxed);
        if succeeded {
            self.successes.fetch_add(1, Relaxed);
        }
        if let Some(took) = took {
            self.timed.fetch_add(1, Relaxed);
            self.time_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        }
    }

    /// A row of failures has ended. Nearly always there is none: then nothing is written.
    fn clear(&self) {
        for counter in [&self.server_errors, &self.gateway_failures, &self.local_failures] {
            if counter.load(Relaxed) != 0 {
                counter.store(0, Relaxed);
            }
        }
        if self.on_probation.load(Relaxed) {
            self.on_probation.store(false, Relaxed);
        }
    }
}

/// Leaves an endpoint alone, if another one may be. Whoever comes while somebody else does has to come again.
fn eject(
    cluster: &Cluster,
    endpoint: &Endpoint,
    terms: &OutlierDetection,
    cell: &ClusterCell,
    reason: EjectionReason,
) {
    let record = endpoint.outlier();
    let outliers = cluster.outliers();
    if outliers.off.load(Relaxed) {
        return;
    }
    let Ok(_turn) = outliers.ejecting.try_lock() else { return };
    let all = cluster.endpoints().len();
    let ejected = cluster.endpoints().iter().filter(|it| it.has(HealthFlag::Ejected)).count();
    let most = all.saturating_mul(terms.max_ejection_percent.0 as usize) / Percent::ALL.0 as usize;
    if ejected >= most.max(usize::from(all > 1)) {
        record.clear();
        cell.ejections_denied.increment();
        return;
    }
    let times = record.ejections.fetch_add(1, Relaxed) + 1;
    let jitter = u64::try_from(terms.ejection_jitter.as_millis()).unwrap_or(u64::MAX);
    let time = terms.base_ejection_time.saturating_mul(times).min(terms.max_ejection_time)
        + Duration::from_millis(fastrand::u64(..=jitter));
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    record.until_ms.store(endpoint.now_ms().saturating_add(time_ms), Relaxed);
    if endpoint.mark(HealthFlag::Ejected, true) {
        cell.count_ejection(reason);
        tracing::info!(
            cluster = cluster.name(),
            %endpoint,
            reason = reason.word(),
            for_ms = time_ms,
            "an endpoint is ejected: it gets no requests for a while"
        );
        outliers.changed.notify_one();
    }
}
