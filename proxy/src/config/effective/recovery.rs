//! What is done about endpoints that fail, in the words of the file.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::super::model::{
    AdaptiveConcurrency, Breakers, Comparison, HealthCheck, OutlierDetection, Probe, Recovery,
};
use super::super::scalar::Quantity;
use super::{fields, text};

/// Adds the fields of a cluster that are about this.
pub(super) fn recovery(recovery: &Recovery, cluster: &mut Value) {
    let Breakers { connections, connections_per_endpoint, pending, requests, retries } = recovery.breakers;
    cluster["breakers"] = json!({
        "connections": connections,
        "connections_per_endpoint": connections_per_endpoint,
        "pending": pending,
        "requests": requests,
    });
    if retries < usize::MAX {
        cluster["breakers"]["retries"] = retries.into();
    }
    if let Some(terms) = &recovery.concurrency {
        cluster["adaptive_concurrency"] = concurrency(terms);
    }
    if let Some(detection) = &recovery.outlier_detection {
        cluster["outlier_detection"] = outlier_detection(detection);
    }
    if let Some(check) = &recovery.health_check {
        cluster["health_check"] = health_check(check);
    }
}

fn concurrency(terms: &AdaptiveConcurrency) -> Value {
    let mut base = json!({
        "interval": terms.measure_every.write(),
        "requests": terms.requests,
        "jitter": terms.jitter.write(),
        "buffer": terms.buffer.write(),
    });
    if let Some(time) = terms.fixed {
        base["fixed"] = time.write().into();
    }
    json!({
        "percentile": terms.percentile.write(),
        "min": terms.min,
        "max": terms.max,
        "interval": terms.window.write(),
        "min_rtt": base,
    })
}

fn outlier_detection(detection: &OutlierDetection) -> Value {
    let mut shown = json!({
        "consecutive_5xx": detection.consecutive_5xx,
        "consecutive_gateway_failures": detection.consecutive_gateway_failures,
        "consecutive_local_failures": detection.consecutive_local_failures,
        "interval": detection.interval.write(),
        "base_ejection_time": detection.base_ejection_time.write(),
        "max_ejection_time": detection.max_ejection_time.write(),
        "ejection_jitter": detection.ejection_jitter.write(),
        "max_ejection_percent": detection.max_ejection_percent.write(),
        "success_rate": match &detection.success_rate {
            Some(it) => comparison("stdev_factor", it),
            None => json!({ "stdev_factor": 0 }),
        },
    });
    if let Some(it) = &detection.failure_percentage {
        shown["failure_percentage"] = comparison("threshold", it);
    }
    if let Some(it) = &detection.latency {
        shown["latency"] = comparison("factor", it);
    }
    shown
}

fn comparison<T: Quantity>(threshold: &str, it: &Comparison<T>) -> Value {
    json!({
        threshold: it.threshold.write(),
        "request_volume": it.request_volume,
        "minimum_hosts": it.minimum_hosts,
    })
}

fn health_check(check: &HealthCheck) -> Value {
    let mut shown = json!({
        "interval": check.interval.write(),
        "unhealthy_interval": check.unhealthy_interval.write(),
        "no_traffic_interval": check.no_traffic_interval.write(),
        "jitter": check.jitter.write(),
        "timeout": check.timeout.write(),
        "healthy_threshold": check.healthy_threshold,
        "unhealthy_threshold": check.unhealthy_threshold,
    });
    match &check.probe {
        Probe::Http { path, method, host, headers, statuses } => {
            shown["path"] = path.as_str().into();
            shown["method"] = method.as_str().into();
            shown["statuses"] = statuses.iter().map(|range| range.write()).collect();
            request_fields(&mut shown, host.as_ref(), headers);
        }
        Probe::Grpc { service, host, headers } => {
            shown["grpc"] = json!({ "service": service });
            request_fields(&mut shown, host.as_ref(), headers);
        }
        Probe::Tcp { send, receive } => {
            let said = [("send", send), ("receive", receive)];
            let said = said.into_iter().filter(|(_, bytes)| !bytes.is_empty());
            let shown_text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into();
            let said = said.map(|(name, bytes)| (name.to_owned(), shown_text(bytes)));
            shown["tcp"] = Value::Object(said.collect::<Map<_, _>>());
        }
    }
    shown
}

fn request_fields(shown: &mut Value, host: Option<&HeaderValue>, headers: &[(HeaderName, HeaderValue)]) {
    if let Some(host) = host {
        shown["host"] = text(host);
    }
    shown["headers"] = fields(headers);
}
