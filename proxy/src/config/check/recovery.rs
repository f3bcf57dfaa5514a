//! Checks what is done about endpoints that fail.

use bytes::Bytes;

use ::http::{HeaderValue, Method};

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{
    AdaptiveConcurrency, Breakers, Comparison, HealthCheck, OutlierDetection, Percent, Probe, Recovery,
    StatusRange, Times,
};
use super::super::raw;
use super::super::scalar::{Authority, Count, Text};
use super::headers::Message;
use super::{Checker, whole};

impl Checker<'_> {
    /// `cluster` is its name.
    pub(super) fn recovery(
        &self,
        cluster: &str,
        outliers: Field<raw::OutlierDetection>,
        check: Field<raw::HealthCheck>,
        breakers: Field<raw::Breakers>,
    ) -> Recovery {
        Recovery {
            outlier_detection: outliers.value().map(|raw| self.outlier_detection(raw)),
            health_check: check.given().and_then(|raw| self.health_check(cluster, raw)),
            breakers: breakers.value().map(|raw| self.breakers(raw)).unwrap_or_default(),
            concurrency: None,
        }
    }

    pub(super) fn concurrency(&self, raw: raw::AdaptiveConcurrency) -> AdaptiveConcurrency {
        let base = raw.min_rtt.value().unwrap_or_default();
        let (most, least) = (raw.max.span(), self.count(raw.min, bounds::CONCURRENCY_MIN));
        let max = self.count(raw.max, bounds::CONCURRENCY_MAX);
        if let (true, Some(span)) = (max < least, most) {
            let hint = format!("give {least}, the least, or more");
            self.log.error_with_hint(span, "the most is less than the least", hint);
        }
        AdaptiveConcurrency {
            percentile: self.number(raw.percentile, bounds::CONCURRENCY_PERCENTILE),
            min: least,
            max: max.max(least),
            window: self.duration(raw.interval, bounds::CONCURRENCY_INTERVAL),
            measure_every: self.duration(base.interval, bounds::MIN_RTT_INTERVAL),
            requests: self.count(base.requests, bounds::MIN_RTT_REQUESTS),
            jitter: self.number(base.jitter, bounds::MIN_RTT_JITTER),
            buffer: self.number(base.buffer, bounds::MIN_RTT_BUFFER),
            fixed: self.number_if_given(base.fixed, bounds::MIN_RTT_FIXED),
        }
    }

    fn breakers(&self, raw: raw::Breakers) -> Breakers {
        let retries = self.number_if_given(raw.retries, bounds::BREAKER_RETRIES);
        Breakers {
            connections: self.count(raw.connections, bounds::BREAKER_CONNECTIONS),
            connections_per_endpoint: self.count(raw.connections_per_endpoint, bounds::BREAKER_CONNECTIONS),
            pending: self.count(raw.pending, bounds::BREAKER_REQUESTS),
            requests: self.count(raw.requests, bounds::BREAKER_REQUESTS),
            retries: retries.map_or(usize::MAX, |Count(count)| whole(count)),
        }
    }

    fn outlier_detection(&self, raw: raw::OutlierDetection) -> OutlierDetection {
        let base = self.duration(raw.base_ejection_time, bounds::BASE_EJECTION_TIME);
        let most = self.duration(raw.max_ejection_time, bounds::MAX_EJECTION_TIME);
        let success_rate = raw.success_rate.value().unwrap_or_default();
        let success_rate = Comparison {
            threshold: self.number(success_rate.stdev_factor, bounds::STDEV_FACTOR),
            request_volume: self.number(success_rate.request_volume, bounds::SUCCESS_RATE_VOLUME).0,
            minimum_hosts: self.count(success_rate.minimum_hosts, bounds::OUTLIER_MINIMUM_HOSTS),
        };
        OutlierDetection {
            consecutive_5xx: self.small(raw.consecutive_5xx, bounds::CONSECUTIVE_5XX),
            consecutive_gateway_failures: self
                .small(raw.consecutive_gateway_failures, bounds::CONSECUTIVE_GATEWAY_FAILURES),
            consecutive_local_failures: self
                .small(raw.consecutive_local_failures, bounds::CONSECUTIVE_LOCAL_FAILURES),
            interval: self.duration(raw.interval, bounds::OUTLIER_INTERVAL),
            base_ejection_time: base,
            max_ejection_time: most.max(base),
            ejection_jitter: self.duration(raw.ejection_jitter, bounds::EJECTION_JITTER),
            max_ejection_percent: self.number(raw.max_ejection_percent, bounds::MAX_EJECTION_PERCENT),
            success_rate: (success_rate.threshold > Times(0)).then_some(success_rate),
            failure_percentage: raw.failure_percentage.value().map(|raw| Comparison::<Percent> {
                threshold: self.number(raw.threshold, bounds::FAILURE_THRESHOLD),
                request_volume: self.number(raw.request_volume, bounds::FAILURE_VOLUME).0,
                minimum_hosts: self.count(raw.minimum_hosts, bounds::OUTLIER_MINIMUM_HOSTS),
            }),
            latency: raw.latency.value().map(|raw| Comparison {
                threshold: self.number(raw.factor, bounds::LATENCY_FACTOR),
                request_volume: self.number(raw.request_volume, bounds::FAILURE_VOLUME).0,
                minimum_hosts: self.count(raw.minimum_hosts, bounds::OUTLIER_MINIMUM_HOSTS),
            }),
        }
    }

    fn health_check(&self, cluster: &str, raw: Located<raw::HealthCheck>) -> Option<HealthCheck> {
        let Located { value: mut raw, span } = raw;
        let given =
            [("path", raw.path.is_absent()), ("grpc", raw.grpc.is_absent()), ("tcp", raw.tcp.is_absent())];
        let given: Vec<_> = given.iter().filter(|(_, absent)| !absent).map(|(name, _)| *name).collect();
        match given[..] {
            [_] => {}
            [] => {
                let hint = "give one of `path: /healthz`, `grpc: {}` and `tcp: {}`";
                self.log.error_with_hint(span, "this check asks nothing", hint);
            }
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` cannot be given together");
                self.log.error_with_hint(span, message, "a check has one of `path`, `grpc` and `tcp`");
            }
        }
        let probe = self.probe(cluster, &mut raw);
        let interval = self.duration(raw.interval, bounds::CHECK_INTERVAL);
        let or_interval = |field| self.number_if_given(field, bounds::CHECK_INTERVAL).unwrap_or(interval);
        Some(HealthCheck {
            interval,
            unhealthy_interval: or_interval(raw.unhealthy_interval),
            no_traffic_interval: or_interval(raw.no_traffic_interval),
            jitter: self.number(raw.jitter, bounds::CHECK_JITTER),
            timeout: self.duration(raw.timeout, bounds::CHECK_TIMEOUT),
            healthy_threshold: self.small(raw.healthy_threshold, bounds::HEALTHY_THRESHOLD),
            unhealthy_threshold: self.small(raw.unhealthy_threshold, bounds::UNHEALTHY_THRESHOLD),
            probe: probe?,
        })
    }

    fn probe(&self, cluster: &str, raw: &mut raw::HealthCheck) -> Option<Probe> {
        self.refuse_fields_of_other_probes(raw);
        let host = std::mem::take(&mut raw.host).value().map(|Text(Authority(host))| host);
        let host = host.or_else(|| is_host(cluster).then(|| HeaderValue::from_str(cluster).ok())?);
        let headers = self.fields(std::mem::take(&mut raw.headers), Message::Request);
        if let Field::Given(Located { value: tcp, .. }) = std::mem::take(&mut raw.tcp) {
            let text = |field: Field<String>| Bytes::from(field.value().unwrap_or_default());
            return Some(Probe::Tcp { send: text(tcp.send), receive: text(tcp.receive) });
        }
        if let Field::Given(Located { value: grpc, .. }) = std::mem::take(&mut raw.grpc) {
            return Some(Probe::Grpc { service: grpc.service.value().unwrap_or_default(), host, headers });
        }
        let path = std::mem::take(&mut raw.path).given()?;
        let parsed = path.value.starts_with('/').then(|| path.value.parse().ok()).flatten();
        if parsed.is_none() {
            let hint = "it begins with `/`, and what is not ASCII is percent-encoded";
            self.log.error_with_hint(path.span, format!("`{}` is not a path", path.value), hint);
        }
        let statuses = self.alternatives(std::mem::take(&mut raw.statuses)).into_iter();
        let mut statuses: Vec<_> = statuses.map(|range| range.value.0).collect();
        if statuses.is_empty() {
            statuses.push(StatusRange::OK);
        }
        let method = std::mem::take(&mut raw.method).value().map_or(Method::GET, |Text(method)| method);
        Some(Probe::Http { path: parsed?, method, host, headers, statuses })
    }

    fn refuse_fields_of_other_probes(&self, raw: &raw::HealthCheck) {
        let of_requests = [("host", raw.host.span()), ("headers", raw.headers.span())];
        let of_http = [("method", raw.method.span()), ("statuses", raw.statuses.span())];
        let useless = match (raw.path.is_absent(), raw.tcp.is_absent()) {
            (true, false) => of_requests.iter().chain(&of_http),
            (true, true) => [].iter().chain(&of_http),
            _ => return,
        };
        for (field, span) in useless {
            if let Some(span) = span {
                let hint = format!("remove `{field}`");
                self.log.error_with_hint(*span, format!("`{field}` has no effect in this check"), hint);
            }
        }
    }

    fn small(&self, field: Field<Text<Count>>, bound: bounds::Bound<Count>) -> u32 {
        u32::try_from(whole(self.number(field, bound).0)).unwrap_or(u32::MAX)
    }
}

/// Whether a cluster's name can stand in a `host` field.
fn is_host(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}
