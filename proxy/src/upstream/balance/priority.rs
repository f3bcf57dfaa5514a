//! How much of the load each priority takes, as Envoy reckons it: in whole percent, the first priorities first.

use crate::config::model::{Percent, Times};

/// The endpoints of a priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) healthy: usize,
    pub(super) degraded: usize,
    pub(super) total: usize,
}

/// What a priority takes of the load, in percent of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// For its healthy endpoints.
    pub(super) healthy: u32,
    /// For its degraded ones.
    pub(super) degraded: u32,
    /// So few are fit that all of them are asked.
    pub(super) panics: bool,
}

/// What each priority takes. The sum is 100 wherever there is an endpoint.
pub(super) fn loads(counts: &[Count], overprovisioning: Times, panic_threshold: Percent) -> Vec<Load> {
    let availability = |part: fn(&Count) -> usize| -> Vec<u32> {
        counts.iter().map(|count| available(part(count), count.total, overprovisioning)).collect()
    };
    let (healthy, degraded) = (availability(|count| count.healthy), availability(|count| count.degraded));
    let all = healthy.iter().chain(&degraded).sum::<u32>().min(100);

    let mut loads = vec![Load::default(); counts.len()];
    if all > 0 {
        let left = distribute(&healthy, 100, all, |place, load| loads[place].healthy = load);
        let left = distribute(&degraded, left, all, |place, load| loads[place].degraded = load);
        // What is left was lost in rounding: it is the first's that takes any.
        match (healthy.iter().position(|&it| it > 0), degraded.iter().position(|&it| it > 0)) {
            (Some(first), _) => loads[first].healthy += left,
            (None, Some(first)) => loads[first].degraded += left,
            (None, None) => {}
        }
    }
    if panic_threshold > Percent::NONE && all < 100 {
        for (load, count) in loads.iter_mut().zip(counts) {
            load.panics = is_below(count, panic_threshold);
        }
    }
    // Where nobody is fit, and nobody panics because nobody may, nothing can be said better than this.
    if loads.iter().all(|load| load.panics) {
        by_number(counts, &mut loads);
    }
    loads
}

/// Of the load, in percent, what endpoints can take of which so many are fit.
fn available(fit: usize, total: usize, overprovisioning: Times) -> u32 {
    if total == 0 {
        return 0;
    }
    let percent = fit as u64 * u64::from(overprovisioning.0) / total as u64;
    u32::try_from(percent.min(100)).unwrap_or(100)
}

/// Hands `left` out, to each as much as it can take; what remains.
fn distribute(available: &[u32], mut left: u32, all: u32, mut give: impl FnMut(usize, u32)) -> u32 {
    for (place, &available) in available.iter().enumerate() {
        let load = (available * 100 / all).min(left);
        give(place, load);
        left -= load;
    }
    left
}

fn is_below(count: &Count, threshold: Percent) -> bool {
    let fit = (count.healthy + count.degraded) as u64;
    fit * u64::from(Percent::ALL.0) < count.total as u64 * u64::from(threshold.0) || count.total == 0
}

/// Where every priority panics, each gets as much as it has endpoints.
fn by_number(counts: &[Count], loads: &mut [Load]) {
    let total: usize = counts.iter().map(|count| count.total).sum();
    let Some(first) = counts.iter().position(|count| count.total > 0) else { return };
    let mut left = 100;
    for (load, count) in loads.iter_mut().zip(counts) {
        let share = u32::try_from(100 * count.total / total).unwrap_or(0);
        (load.healthy, load.degraded) = (share, 0);
        left -= share;
    }
    loads[first].healthy += left;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[(usize, usize, usize)]) -> Vec<(u32, u32, bool)> {
        let counts: Vec<_> =
            counts.iter().map(|&(healthy, degraded, total)| Count { healthy, degraded, total }).collect();
        let loads = loads(&counts, Times(140), Percent(5000));
        loads.into_iter().map(|load| (load.healthy, load.degraded, load.panics)).collect()
    }

    /// The tables of Envoy's page "Priority levels".
    #[test]
    fn two_priorities_share_the_load_as_in_envoy() {
        let p1 = |healthy| {
            let loads = of(&[(healthy, 0, 100), (100, 0, 100)]);
            (loads[0].0, loads[1].0)
        };
        assert_eq!(p1(100), (100, 0));
        assert_eq!(p1(72), (100, 0));
        assert_eq!(p1(71), (99, 1));
        assert_eq!(p1(50), (70, 30));
        assert_eq!(p1(25), (35, 65));
        assert_eq!(p1(0), (0, 100));
    }

    #[test]
    fn three_priorities_share_the_load_as_in_envoy() {
        let loads = |a, b, c| {
            let loads = of(&[(a, 0, 100), (b, 0, 100), (c, 0, 100)]);
            [loads[0].0, loads[1].0, loads[2].0]
        };
        assert_eq!(loads(100, 100, 100), [100, 0, 0]);
        assert_eq!(loads(72, 72, 100), [100, 0, 0]);
        assert_eq!(loads(71, 71, 100), [99, 1, 0]);
        assert_eq!(loads(50, 50, 100), [70, 30, 0]);
        assert_eq!(loads(25, 100, 100), [35, 65, 0]);
        assert_eq!(loads(25, 25, 100), [35, 35, 30]);
        // Together they cannot take everything: each takes what it can, in proportion.
    }

    #[test]
    fn what_priorities_cannot_take_together_is_shared_out_by_what_they_can() {
        let counts = [25, 25, 20].map(|healthy| Count { healthy, degraded: 0, total: 100 });
        // 35, 35 and 28 of 98 percent, rounded down; the first takes the rest.
        let loads = super::loads(&counts, Times(140), Percent(1000));
        assert_eq!(loads.iter().map(|load| load.healthy).collect::<Vec<_>>(), [37, 35, 28]);
    }

    #[test]
    fn degraded_endpoints_get_what_the_healthy_ones_cannot_take() {
        assert_eq!(of(&[(1, 1, 2)]), [(70, 30, false)]);
        assert_eq!(of(&[(0, 1, 4), (4, 0, 4)]), [(0, 0, false), (100, 0, false)]);
        assert_eq!(of(&[(0, 2, 2)]), [(0, 100, false)]);
    }

    #[test]
    fn where_too_few_are_fit_all_are_asked() {
        assert_eq!(of(&[(1, 0, 4)]), [(100, 0, true)]);
        assert_eq!(of(&[(2, 0, 4)]), [(100, 0, false)], "half of them are enough");
        assert_eq!(of(&[(0, 0, 3), (0, 0, 1)]), [(75, 0, true), (25, 0, true)]);
        assert_eq!(of(&[(0, 0, 4), (1, 0, 1)]), [(0, 0, false), (100, 0, false)], "the next takes it all");
    }

    #[test]
    fn without_a_threshold_nobody_panics() {
        let counts = [Count { healthy: 0, degraded: 0, total: 4 }];
        assert_eq!(loads(&counts, Times(140), Percent::NONE), [Load::default()]);
    }
}
