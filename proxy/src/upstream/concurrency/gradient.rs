//! How many requests a cluster may have at once, from how long they take: the rules of Envoy's gradient controller, which
//! are those of Netflix's limiters.
//!
//! With few requests at once an endpoint takes as long as it takes: that is measured now and then. While requests take
//! no longer than that, with some to spare, the limit grows; when they take twice as long, it is halved.

use std::time::Duration;

use super::samples::Samples;
use crate::config::model::AdaptiveConcurrency;

/// The least and the most that a window changes the limit by.
const GRADIENT: (f64, f64) = (0.5, 2.0);

/// When the limit was at its least so many times in a row, what was measured is doubted.
const LOW_WINDOWS: u32 = 5;

/// A measurement that has not all of its requests after so many windows is content with those that it has: a cluster
/// with few requests must not stay at its least.
const MEASURING_WINDOWS: u32 = 20;

/// What is known, and what the limit is by it. It knows no clock: times are since it began.
#[derive(Debug)]
pub(super) struct Gradient {
    pub(super) limit: usize,
    /// How long a request takes that has the endpoint nearly for itself, once it was measured.
    pub(super) base: Option<Duration>,
    /// What the last window changed the limit by.
    pub(super) gradient: f64,
    measuring: Option<Measuring>,
    /// When to measure next.
    next: Duration,
    low_windows: u32,
}

#[derive(Debug)]
struct Measuring {
    /// The limit to go back to.
    limit: usize,
    windows: u32,
}

impl Gradient {
    /// It begins by measuring, with as few requests as there may be.
    pub(super) fn new(terms: &AdaptiveConcurrency) -> Gradient {
        let limit = terms.min;
        Gradient {
            limit,
            base: terms.fixed,
            gradient: 1.0,
            measuring: terms.fixed.is_none().then_some(Measuring { limit, windows: 0 }),
            next: Duration::ZERO,
            low_windows: 0,
        }
    }

    /// The end of a window, `now`. `jitter`, from 0 to 1, is how much of the terms' jitter the next measurement is put
    /// off by.
    pub(super) fn step(
        &mut self,
        terms: &AdaptiveConcurrency,
        samples: &Samples,
        now: Duration,
        jitter: f64,
    ) {
        match &mut self.measuring {
            Some(measuring) => {
                measuring.windows += 1;
                let enough = samples.count() as usize >= terms.requests;
                if !enough
                    && (measuring.windows < MEASURING_WINDOWS || self.base.is_none() && samples.count() == 0)
                {
                    return;
                }
                self.limit = measuring.limit;
                self.measuring = None;
                self.base = samples.take(terms.percentile.0).or(self.base);
                self.next = now + terms.measure_every.mul_f64(1.0 + terms.jitter.fraction() * jitter);
                self.low_windows = 0;
            }
            None => {
                if terms.fixed.is_none() && (now >= self.next || self.low_windows >= LOW_WINDOWS) {
                    self.measuring = Some(Measuring { limit: self.limit, windows: 0 });
                    self.limit = terms.min;
                    samples.begin_anew(now); // those of before met a service that had more to do
                    return;
                }
                if let (Some(base), Some(sample)) = (self.base, samples.take(terms.percentile.0)) {
                    self.adjust(terms, base, sample);
                }
            }
        }
    }

    fn adjust(&mut self, terms: &AdaptiveConcurrency, base: Duration, sample: Duration) {
        let allowed = base.mul_f64(1.0 + terms.buffer.fraction());
        let gradient = allowed.as_secs_f64() / sample.as_secs_f64().max(f64::MIN_POSITIVE);
        self.gradient = gradient.clamp(GRADIENT.0, GRADIENT.1);
        let limit = self.limit as f64 * self.gradient;
        // Room to grow: without it a limit that is never reached would never be another.
        let limit = (limit + limit.sqrt()) as usize;
        self.limit = limit.clamp(terms.min, terms.max);
        self.low_windows = if self.limit == terms.min { self.low_windows + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Percent;

    const WINDOW: Duration = Duration::from_millis(100);

    fn terms() -> AdaptiveConcurrency {
        AdaptiveConcurrency {
            percentile: Percent(5_000),
            min: 3,
            max: 1000,
            window: WINDOW,
            measure_every: Duration::from_secs(60),
            requests: 50,
            jitter: Percent(1_500),
            buffer: Percent(2_500),
            fixed: None,
        }
    }

    /// A service that does `capacity` requests at once in 10 ms and has the others wait, asked by as many as may.
    struct Service {
        terms: AdaptiveConcurrency,
        gradient: Gradient,
        samples: Samples,
        now: Duration,
        capacity: usize,
        base: Duration,
    }

    impl Service {
        fn new(terms: AdaptiveConcurrency, capacity: usize) -> Service {
            let (gradient, samples) = (Gradient::new(&terms), Samples::default());
            let base = Duration::from_millis(10);
            Service { terms, gradient, samples, now: Duration::ZERO, capacity, base }
        }

        fn window(&mut self) -> usize {
            let at_once = self.gradient.limit;
            let took = self.base.mul_f64((at_once as f64 / self.capacity as f64).max(1.0));
            let answered = at_once as f64 * WINDOW.as_secs_f64() / took.as_secs_f64();
            (0..answered as usize).for_each(|_| self.samples.note(self.now, took));
            self.now += WINDOW;
            self.gradient.step(&self.terms, &self.samples, self.now, 0.0);
            self.gradient.limit
        }

        fn windows(&mut self, count: usize) -> Vec<usize> {
            (0..count).map(|_| self.window()).collect()
        }
    }

    #[test]
    fn the_limit_finds_what_a_service_can_do_and_stays_there() {
        for capacity in [10, 40, 200] {
            let mut service = Service::new(terms(), capacity);
            service.windows(100);
            let limits = service.windows(300);
            let (least, most) = (limits.iter().min().unwrap(), limits.iter().max().unwrap());
            // What it may take longer, and the room to grow: sqrt(limit) each time.
            let bound = capacity as f64 * 1.25 + 3.0 * (capacity as f64 * 1.25).sqrt();
            assert!(*least >= capacity && (*most as f64) < bound, "{capacity}: {least} to {most}");
        }
    }

    #[test]
    fn a_service_that_becomes_slow_is_asked_for_less_within_a_few_windows() {
        let mut service = Service::new(terms(), 100);
        service.windows(100);
        service.capacity = 20;
        let limits = service.windows(8);
        assert!(limits[7] < 40, "{limits:?}");
        service.capacity = 100;
        let limits = service.windows(20);
        assert!(limits[19] >= 100, "{limits:?}");
    }

    #[test]
    fn it_is_measured_with_few_requests_at_its_time_and_the_limit_is_as_before_after_it() {
        let mut service = Service::new(terms(), 100);
        let begin = service.windows(2);
        assert_eq!(begin, [3, 3], "nobody knows yet how long it takes");
        let limits = service.windows(599);
        assert!(limits.iter().skip(20).all(|limit| *limit > 100), "{limits:?}");
        let before = service.gradient.limit;
        let mut measured = Vec::new();
        while measured.last().is_none_or(|limit| *limit == 3) {
            measured.push(service.window());
            assert!(measured.len() < 10, "{measured:?}");
        }
        assert_eq!(
            measured.iter().filter(|limit| **limit == 3).count(),
            2,
            "30 are answered in each: {measured:?}"
        );
        assert_eq!(*measured.last().unwrap(), before);
    }

    #[test]
    fn what_was_sent_before_a_measurement_began_is_none_of_it() {
        let mut service = Service::new(terms(), 100);
        while service.window() != 3 || service.now < terms().measure_every {}
        let before = service.now - WINDOW;
        (0..1000).for_each(|_| service.samples.note(before, Duration::from_secs(1)));
        service.windows(3);
        assert!(service.gradient.measuring.is_none(), "{:?}", service.gradient);
        assert!(service.gradient.base.unwrap() < Duration::from_millis(11), "{:?}", service.gradient);
    }

    #[test]
    fn a_service_that_was_measured_in_a_good_moment_is_measured_again_soon() {
        let mut service = Service::new(terms(), 100);
        service.windows(100);
        service.base = Duration::from_millis(50); // it is slow now whatever it has to do
        let limits = service.windows(60);
        assert!(limits.contains(&3), "{limits:?}");
        assert!(service.gradient.base.unwrap() > Duration::from_millis(45), "{:?}", service.gradient);
        assert!(service.windows(30).last().unwrap() >= &100, "{:?}", service.gradient);
    }

    #[test]
    fn a_cluster_with_few_requests_does_not_stay_at_its_least() {
        let mut service = Service::new(terms(), 100);
        service.windows(600);
        service.terms.requests = usize::MAX;
        let limits = service.windows(30);
        assert_eq!(
            limits.iter().filter(|limit| **limit == 3).count(),
            MEASURING_WINDOWS as usize,
            "{limits:?}"
        );
        assert!(*limits.last().unwrap() > 100);
    }

    #[test]
    fn a_time_that_is_given_is_not_measured() {
        let terms = AdaptiveConcurrency { fixed: Some(Duration::from_millis(10)), ..terms() };
        let mut service = Service::new(terms, 50);
        let limits = service.windows(700);
        assert!(limits.iter().skip(20).all(|limit| *limit >= 50), "{limits:?}");
    }

    #[test]
    fn without_requests_nothing_changes_and_no_limit_is_passed() {
        let mut service = Service::new(AdaptiveConcurrency { max: 30, ..terms() }, 100);
        let limits = service.windows(200);
        assert_eq!(limits.iter().max(), Some(&30));
        let mut gradient = service.gradient;
        gradient.step(&service.terms, &Samples::default(), service.now + WINDOW, 0.0);
        assert_eq!(gradient.limit, 30);
    }
}
