//! Which endpoints of an interval are outliers among the others. Pure.

use std::time::Duration;

use crate::config::model::{Comparison, OutlierDetection, Percent, Times};
use crate::telemetry::metrics::EjectionReason;

/// What an endpoint did in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) requests: u64,
    pub(super) successes: u64,
    /// Those whose time is known, and their times together.
    pub(super) timed: u64,
    pub(super) time: Duration,
}

impl Sample {
    fn success_rate(&self) -> f64 {
        self.successes as f64 / self.requests as f64
    }

    fn mean_time(&self) -> f64 {
        self.time.as_secs_f64() / self.timed as f64
    }
}

/// Each that is one, by its place, and why. A place may be there twice.
pub(super) fn outliers(terms: &OutlierDetection, samples: &[Sample]) -> Vec<(usize, EjectionReason)> {
    let mut found = Vec::new();
    if let Some(terms) = &terms.success_rate {
        found.extend(by_success_rate(terms, samples));
    }
    if let Some(terms) = &terms.failure_percentage {
        found.extend(by_failures(terms, samples));
    }
    if let Some(terms) = &terms.latency {
        found.extend(by_latency(terms, samples));
    }
    found
}

/// Those with enough requests, where these are enough.
fn comparable<T>(terms: &Comparison<T>, samples: &[Sample]) -> Vec<(usize, Sample)> {
    let enough = samples.iter().copied().enumerate();
    let enough: Vec<_> = enough.filter(|(_, sample)| sample.requests >= terms.request_volume).collect();
    if enough.len() < terms.minimum_hosts { Vec::new() } else { enough }
}

fn by_success_rate(terms: &Comparison<Times>, samples: &[Sample]) -> Vec<(usize, EjectionReason)> {
    let all = comparable(terms, samples);
    let count = all.len() as f64;
    let mean = all.iter().map(|(_, sample)| sample.success_rate()).sum::<f64>() / count;
    let variance = all.iter().map(|(_, sample)| (sample.success_rate() - mean).powi(2)).sum::<f64>() / count;
    let least = mean - variance.sqrt() * f64::from(terms.threshold.0) / 100.0;
    let outliers = all.into_iter().filter(|(_, sample)| sample.success_rate() < least);
    outliers.map(|(place, _)| (place, EjectionReason::SuccessRate)).collect()
}

fn by_failures(terms: &Comparison<Percent>, samples: &[Sample]) -> Vec<(usize, EjectionReason)> {
    let most = f64::from(terms.threshold.0) / f64::from(Percent::ALL.0);
    let all = comparable(terms, samples).into_iter();
    let outliers = all.filter(|(_, sample)| 1.0 - sample.success_rate() >= most);
    outliers.map(|(place, _)| (place, EjectionReason::FailurePercentage)).collect()
}

fn by_latency(terms: &Comparison<Times>, samples: &[Sample]) -> Vec<(usize, EjectionReason)> {
    // What was not timed is not looked at.
    let timed: Vec<_> = samples.iter().map(|it| Sample { requests: it.timed, ..*it }).collect();
    let all = comparable(terms, &timed);
    let mut times: Vec<f64> = all.iter().map(|(_, sample)| sample.mean_time()).collect();
    times.sort_unstable_by(f64::total_cmp);
    let Some(middle) = times.get(times.len() / 2) else { return Vec::new() };
    let most = middle * f64::from(terms.threshold.0) / 100.0;
    let outliers = all.into_iter().filter(|(_, sample)| sample.mean_time() > most);
    outliers.map(|(place, _)| (place, EjectionReason::Latency)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms<T>(threshold: T) -> Comparison<T> {
        Comparison { threshold, request_volume: 100, minimum_hosts: 5 }
    }

    fn samples(successes: [u64; 6]) -> Vec<Sample> {
        successes
            .into_iter()
            .map(|successes| Sample { requests: 100, successes, timed: 0, time: Duration::ZERO })
            .collect()
    }

    #[test]
    fn an_endpoint_far_below_the_others_rate_of_successes_is_an_outlier() {
        let found = |successes| by_success_rate(&terms(Times(190)), &samples(successes));
        assert_eq!(found([100, 99, 100, 40, 100, 98]), [(3, EjectionReason::SuccessRate)]);
        assert_eq!(found([100; 6]), []);
        assert_eq!(found([50; 6]), [], "all of them are equally bad");
        let few = &samples([100, 99, 100, 40, 100, 98])[..4];
        assert_eq!(by_success_rate(&terms(Times(190)), few), [], "there are too few to compare");
    }

    #[test]
    fn an_endpoint_that_fails_too_much_is_an_outlier_whatever_the_others_do() {
        let found = by_failures(&terms(Percent(8_500)), &samples([100, 15, 16, 0, 100, 100]));
        assert_eq!(found.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn an_endpoint_far_slower_than_the_one_in_the_middle_is_an_outlier() {
        let slow = |millis| Sample {
            requests: 100,
            successes: 100,
            timed: 100,
            time: Duration::from_millis(millis),
        };
        let all: Vec<_> = [100, 110, 90, 100, 301, 105].map(slow).into();
        let found = by_latency(&terms(Times(300)), &all);
        assert_eq!(found, [], "three times the middle is 315");
        let all: Vec<_> = [100, 110, 90, 100, 400, 105].map(slow).into();
        assert_eq!(by_latency(&terms(Times(300)), &all), [(4, EjectionReason::Latency)]);
    }
}
