//! The names and help texts of what the cells count, and their sums over workers.
//!
//! Names follow Prometheus's rules (base units, `_total`) and, once released, never change. A label set that counted
//! nothing is not written: with thousands of routes most would be zeros.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::sync::Arc;

use super::cells::{ConnectFailure, ExchangeCell, Handshakes, ListenerCell, TcpCell};
use super::mirror;
use super::number::HistogramSample;
use super::page::{Described, Page};
use super::recovery;
use super::registry::{Cells, ExchangeLabels, Shards, TcpLabels};
use crate::error::{Failure, Outcome, StatusClass};
use crate::grpc;

/// Writes every family of the cells.
pub(super) fn write(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    write_exchanges(page, cells)?;
    write_tcp(page, cells)?;
    write_listeners(page, cells)?;
    write_clusters(page, cells)?;
    recovery::write(page, cells)?;
    mirror::write(page, cells)
}

/// How many exchanges have ended.
pub(super) fn requests(cells: &Cells) -> u64 {
    let cells = || cells.exchanges.values().flat_map(BTreeMap::values);
    outcomes().map(|outcome| cells().map(|cell| cell.ended(outcome)).sum::<u64>()).sum()
}

fn write_exchanges(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    let mut requests = page.counter(
        "tidegate_requests_total",
        "Requests, by what the client was sent (none: no response) and how the exchange ended: ok or the failure.",
    )?;
    for (labels, workers) in &cells.exchanges {
        for outcome in outcomes() {
            let ended = workers.values().map(|cell| cell.ended(outcome)).sum::<u64>();
            if ended > 0 {
                let [listener, route, cluster] = labels.pairs();
                let class = ("code_class", outcome.class.word());
                requests.sample(&[listener, route, cluster, class, ("outcome", outcome.word())], ended)?;
            }
        }
    }

    let mut calls = page.counter(
        "tidegate_grpc_calls_total",
        "gRPC calls, by the status that the client was told (none: it was told none). They are among the requests.",
    )?;
    for (labels, workers) in &cells.exchanges {
        for status in grpc::Status::all().map(Some).chain([None]) {
            let ended = workers.values().map(|cell| cell.calls(status)).sum::<u64>();
            if ended > 0 {
                let [listener, route, cluster] = labels.pairs();
                let status = ("grpc_status", status.map_or("none", grpc::Status::word));
                calls.sample(&[listener, route, cluster, status], ended)?;
            }
        }
    }

    let mut durations = page.histogram(
        "tidegate_request_duration_seconds",
        "Time from a request's head to the last byte of its response.",
    )?;
    for (labels, workers) in &cells.exchanges {
        let mut sample = HistogramSample::default();
        workers.values().for_each(|cell| cell.duration.add_to(&mut sample));
        if sample.count > 0 {
            durations.distribution(&labels.pairs(), &sample)?;
        }
    }

    let bytes: [Described<ExchangeCell, u64>; 2] = [
        ("tidegate_request_body_bytes_total", "Request body bytes received.", |cell| {
            cell.request_bytes.value()
        }),
        ("tidegate_response_body_bytes_total", "Response body bytes sent.", |cell| {
            cell.response_bytes.value()
        }),
    ];
    for (name, help, count) in bytes {
        let mut family = page.counter(name, help)?;
        for (labels, workers) in &cells.exchanges {
            let bytes = sum(workers, count);
            if bytes > 0 {
                family.sample(&labels.pairs(), bytes)?;
            }
        }
    }
    Ok(())
}

fn write_tcp(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    let mut connections = page.counter(
        "tidegate_tcp_connections_total",
        "TCP connections that have ended, by how: ok or the failure.",
    )?;
    for (labels, workers) in &cells.tcp {
        for failure in std::iter::once(None).chain(Failure::ALL.iter().copied().map(Some)) {
            let ended = workers.values().map(|cell| cell.ended(failure)).sum::<u64>();
            if ended > 0 {
                let [listener, cluster] = labels.pairs();
                let outcome = failure.map_or("ok", Failure::reason);
                connections.sample(&[listener, cluster, ("outcome", outcome)], ended)?;
            }
        }
    }
    let bytes: [Described<TcpCell, u64>; 2] = [
        ("tidegate_tcp_received_bytes_total", "Bytes received from clients of TCP connections.", |cell| {
            cell.received_bytes.value()
        }),
        ("tidegate_tcp_sent_bytes_total", "Bytes sent to clients of TCP connections.", |cell| {
            cell.sent_bytes.value()
        }),
    ];
    for (name, help, count) in bytes {
        let mut family = page.counter(name, help)?;
        for (labels, workers) in &cells.tcp {
            let bytes = sum(workers, count);
            if bytes > 0 {
                family.sample(&labels.pairs(), bytes)?;
            }
        }
    }
    Ok(())
}

fn write_listeners(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    write_counts(
        page,
        &cells.listeners,
        "listener",
        &[
            ("tidegate_downstream_connections_total", "Connections accepted.", |cell| {
                cell.connections.value()
            }),
            (
                "tidegate_downstream_refused_connections_total",
                "Connections closed at once, at the listener's limit.",
                |cell| cell.refused_connections.value(),
            ),
        ],
    )?;
    write_levels(
        page,
        &cells.listeners,
        "listener",
        &[
            ("tidegate_active_requests", "Requests under way.", |cell| cell.active_exchanges.value()),
            ("tidegate_downstream_active_connections", "Connections from clients that are open.", |cell| {
                cell.active_connections.value()
            }),
        ],
    )?;

    let mut errors = page.counter(
        "tidegate_downstream_protocol_errors_total",
        "Connections ended because of what came in on them, before there was a request to count.",
    )?;
    for (listener, workers) in &cells.listeners {
        for reason in Failure::ALL {
            let count = workers.values().map(|cell| cell.protocol_errors(*reason)).sum::<u64>();
            if count > 0 {
                errors.sample(&[("listener", listener), ("reason", reason.reason())], count)?;
            }
        }
    }
    write_handshakes(
        page,
        ("tidegate_downstream_tls_handshakes_total", "TLS handshakes with clients that went well."),
        ("listener", &cells.listeners),
        ListenerCell::handshakes,
    )
}

fn write_handshakes<C>(
    page: &mut Page<'_>,
    (name, help): (&str, &str),
    (label, shards): (&str, &Shards<String, C>),
    handshakes: fn(&C) -> &Handshakes,
) -> fmt::Result {
    let mut family = page.counter(name, help)?;
    for (value, workers) in shards {
        for kind in Handshakes::KINDS {
            let count = workers.values().map(|cell| handshakes(cell).value(kind)).sum::<u64>();
            if count > 0 {
                let resumed = if kind.1 { "true" } else { "false" };
                family.sample(&[(label, value), ("version", kind.0.word()), ("resumed", resumed)], count)?;
            }
        }
    }
    Ok(())
}

fn write_clusters(page: &mut Page<'_>, cells: &Cells) -> fmt::Result {
    write_counts(
        page,
        &cells.clusters,
        "cluster",
        &[
            ("tidegate_upstream_connections_total", "Connections made to endpoints.", |cell| {
                cell.connections.value()
            }),
            (
                "tidegate_upstream_requests_total",
                "Requests sent to endpoints, filters' callouts among them.",
                |cell| cell.requests.value(),
            ),
            (
                "tidegate_upstream_panic_picks_total",
                "Requests sent to any endpoint of a priority, because too few of its endpoints are fit.",
                |cell| cell.panic_picks.value(),
            ),
            (
                "tidegate_upstream_subset_fallbacks_total",
                "Requests sent to the fallback, because there is no such subset as was asked for.",
                |cell| cell.subset_fallbacks.value(),
            ),
        ],
    )?;
    write_levels(
        page,
        &cells.clusters,
        "cluster",
        &[
            (
                "tidegate_upstream_active_connections",
                "Connections to endpoints that are open, used or not.",
                |cell| cell.active_connections.value(),
            ),
            (
                "tidegate_upstream_active_requests",
                "Requests sent to endpoints whose response has not ended.",
                |cell| cell.active_requests.value(),
            ),
            (
                "tidegate_upstream_pending_requests",
                "Requests that wait for a connection to an endpoint, to be free or to be made.",
                |cell| cell.pending_requests.value(),
            ),
        ],
    )?;

    let mut failures = page.counter(
        "tidegate_upstream_connect_failures_total",
        "Connections to endpoints that could not be made.",
    )?;
    for (cluster, workers) in &cells.clusters {
        for reason in ConnectFailure::ALL {
            let count = workers.values().map(|cell| cell.connect_failures(reason)).sum::<u64>();
            if count > 0 {
                failures.sample(&[("cluster", cluster), ("reason", reason.word())], count)?;
            }
        }
    }
    write_handshakes(
        page,
        ("tidegate_upstream_tls_handshakes_total", "TLS handshakes with endpoints that went well."),
        ("cluster", &cells.clusters),
        |cell| &cell.handshakes,
    )
}

/// Families of counters with one label.
fn write_counts<C>(
    page: &mut Page<'_>,
    shards: &Shards<String, C>,
    label: &str,
    counters: &[Described<C, u64>],
) -> fmt::Result {
    for (name, help, count) in counters {
        let mut family = page.counter(name, help)?;
        for (value, workers) in shards {
            family.sample(&[(label, value)], sum(workers, *count))?;
        }
    }
    Ok(())
}

/// Families of gauges with one label.
fn write_levels<C>(
    page: &mut Page<'_>,
    shards: &Shards<String, C>,
    label: &str,
    gauges: &[Described<C, i64>],
) -> fmt::Result {
    for (name, help, level) in gauges {
        let mut family = page.gauge(name, help)?;
        for (value, workers) in shards {
            family.sample(&[(label, value)], sum(workers, *level))?;
        }
    }
    Ok(())
}

fn sum<C, V: Sum>(workers: &BTreeMap<usize, Arc<C>>, value: fn(&C) -> V) -> V {
    workers.values().map(|cell| value(cell)).sum()
}

/// Every way in which an exchange can end.
fn outcomes() -> impl Iterator<Item = Outcome> {
    let failures = || std::iter::once(None).chain(Failure::ALL.iter().copied().map(Some));
    failures().flat_map(|failure| StatusClass::ALL.map(|class| Outcome { class, failure }))
}

impl ExchangeLabels {
    fn pairs(&self) -> [(&str, &str); 3] {
        [("listener", &self.listener), ("route", &self.route), ("cluster", &self.cluster)]
    }
}

impl TcpLabels {
    fn pairs(&self) -> [(&str, &str); 2] {
        [("listener", &self.listener), ("cluster", &self.cluster)]
    }
}
