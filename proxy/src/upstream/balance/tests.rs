//! What is picked, over many picks. Chance is seeded, so that a test that passes once passes always.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::model::{
    self, Balancing, Callers, Endpoint, Fallback, HashFunction, LoadBalancer, Localities, Locality,
    LocalityPattern, Percent, RingHash, RingSize, SlowStart, Subsets, Times, ZoneAware,
};
use crate::upstream::HealthFlag;
use crate::upstream::tests::cluster_config;

const PICKS: usize = 100_000;

fn address(port: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(port).expect("a port")))
}

/// An endpoint on each port from 1.
fn endpoints(count: usize) -> Vec<Endpoint> {
    (1..=count).map(|port| address(port).into()).collect()
}

fn weighted(weights: &[u32]) -> Vec<Endpoint> {
    let all = endpoints(weights.len()).into_iter().zip(weights);
    all.map(|(endpoint, &weight)| Endpoint { weight, ..endpoint }).collect()
}

fn by(algorithm: LoadBalancer) -> Balancing {
    Balancing { algorithm, ..Balancing::default() }
}

fn config(endpoints: Vec<Endpoint>, balancing: Balancing) -> Arc<model::Cluster> {
    let endpoints = endpoints.into_iter().map(Arc::new).collect();
    Arc::new(model::Cluster { endpoints, balancing, ..cluster_config([]) })
}

fn cluster(endpoints: Vec<Endpoint>, balancing: Balancing) -> Cluster {
    fastrand::seed(7);
    Cluster::new(config(endpoints, balancing))
}

fn balancer(cluster: &Cluster) -> Balancer {
    Balancer::new(cluster)
}

/// How often each endpoint is picked for requests of which each has another hash.
fn picked(cluster: &Cluster, criteria: &Criteria<'_>, count: usize) -> Vec<usize> {
    let balancer = balancer(cluster);
    let mut picks = vec![0; cluster.endpoints().len()];
    for number in 0..count {
        let criteria = Criteria { hash: Some(hash(number)), ..*criteria };
        picks[balancer.pick(cluster, &criteria).expect("somebody can be asked").endpoint] += 1;
    }
    picks
}

fn hash(number: usize) -> u64 {
    xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 0)
}

/// That each endpoint gets its share of the picks, within `tolerance`, a share of all.
fn assert_shares(picks: &[usize], theory: &[f64], tolerance: f64) {
    let (all, whole) = (picks.iter().sum::<usize>() as f64, theory.iter().sum::<f64>());
    for (place, (picks, share)) in picks.iter().zip(theory).enumerate() {
        let (is, should_be) = (*picks as f64 / all, share / whole);
        assert!(
            (is - should_be).abs() <= tolerance,
            "endpoint {place} got {is:.4} instead of {should_be:.4}"
        );
    }
}

/// A ring with so many hashes of each endpoint.
fn ring(hashes: usize) -> LoadBalancer {
    let (size, function) = (RingSize::Each(hashes), HashFunction::XxHash);
    LoadBalancer::RingHash(RingHash { size, maximum_size: 8 << 20, function })
}

fn all_algorithms() -> [LoadBalancer; 6] {
    [
        LoadBalancer::RoundRobin,
        LoadBalancer::Random,
        LoadBalancer::least_request(),
        LoadBalancer::peak_ewma(),
        ring(1 << 14),
        LoadBalancer::maglev(),
    ]
}

#[test]
fn nothing_is_picked_from_a_cluster_without_endpoints() {
    for algorithm in all_algorithms() {
        let cluster = cluster(vec![], by(algorithm));
        assert_eq!(balancer(&cluster).pick(&cluster, &Criteria::default()), None);
    }
}

#[test]
fn every_algorithm_gives_endpoints_that_are_alike_the_same_share() {
    for algorithm in all_algorithms() {
        let cluster = cluster(endpoints(10), by(algorithm));
        assert_shares(&picked(&cluster, &Criteria::default(), PICKS), &[1.0; 10], 0.01);
    }
}

#[test]
fn every_algorithm_that_looks_at_weights_gives_each_its_share() {
    let weights = [1, 2, 3, 4, 10];
    for algorithm in all_algorithms().into_iter().filter(|it| !matches!(it, LoadBalancer::PeakEwma(_))) {
        let cluster = cluster(weighted(&weights), by(algorithm));
        assert_shares(&picked(&cluster, &Criteria::default(), PICKS), &weights.map(f64::from), 0.01);
    }
}

#[test]
fn turns_are_exact_and_evenly_spread() {
    let cluster = cluster(weighted(&[1, 2, 5, 2]), by(LoadBalancer::RoundRobin));
    let picks = picked(&cluster, &Criteria::default(), PICKS);
    assert_shares(&picks, &[1.0, 2.0, 5.0, 2.0], 0.0001);
    let balancer = balancer(&cluster);
    let turns: Vec<_> =
        (0..1000).map(|_| balancer.pick(&cluster, &Criteria::default()).unwrap().endpoint).collect();
    for window in turns.windows(10) {
        let heavy = window.iter().filter(|&&turn| turn == 2).count();
        assert!((4..=6).contains(&heavy), "half of ten turns are its: {window:?}");
    }
}

#[test]
fn workers_do_not_all_begin_with_the_same_endpoint() {
    let cluster = cluster(endpoints(8), by(LoadBalancer::RoundRobin));
    let first = |_| balancer(&cluster).pick(&cluster, &Criteria::default()).unwrap().endpoint;
    let firsts: std::collections::HashSet<_> = (0..64).map(first).collect();
    assert!(firsts.len() > 4, "{firsts:?}");
}

#[test]
fn least_request_avoids_the_busiest_endpoint() {
    let cluster = cluster(endpoints(3), by(LoadBalancer::least_request()));
    cluster.endpoints()[1].begin();
    assert_eq!(picked(&cluster, &Criteria::default(), 1000)[1], 0, "of any two, the other one is less busy");
}

#[test]
fn least_request_by_weight_divides_weights_by_what_is_in_flight() {
    let cluster = cluster(weighted(&[3, 1]), by(LoadBalancer::least_request()));
    for _ in 0..2 {
        cluster.endpoints()[0].begin();
    }
    // 3 / (2 + 1) and 1 / (0 + 1).
    assert_shares(&picked(&cluster, &Criteria::default(), PICKS), &[1.0, 1.0], 0.001);
}

#[test]
fn more_choices_find_the_least_busy_endpoint_more_often() {
    let share_of_the_idle_one = |choices| {
        let cluster = cluster(endpoints(20), by(LoadBalancer::LeastRequest(choices)));
        cluster.endpoints()[1..].iter().for_each(|endpoint| endpoint.begin());
        picked(&cluster, &Criteria::default(), PICKS)[0] as f64 / PICKS as f64
    };
    assert!((share_of_the_idle_one(2) - 0.1).abs() < 0.01);
    // 1 - (18 / 20) * (19 / 20)^6: the first two are different ones.
    assert!((share_of_the_idle_one(8) - 0.338).abs() < 0.01);
}

#[test]
fn peak_ewma_prefers_whoever_answers_fast_and_tries_the_slow_one_again() {
    let settings = model::PeakEwma {
        decay: Duration::from_secs(1),
        default_rtt: Duration::from_millis(30),
        penalty: Duration::from_millis(30),
    };
    let cluster = cluster(endpoints(2), by(LoadBalancer::PeakEwma(settings)));
    let balancer = balancer(&cluster);
    let [fast, slow] = [&balancer.latencies[0], &balancer.latencies[1]];
    let now = Instant::now();
    fast.note(Duration::from_millis(2), End::Answered, now);
    slow.note(Duration::from_millis(900), End::Answered, now);
    assert_eq!(slow.estimate(now), 0.9, "a peak counts at once");
    let pick = |count| {
        let picks = (0..count).map(|_| balancer.pick(&cluster, &Criteria::default()).unwrap().endpoint);
        picks.filter(|&endpoint| endpoint == 1).count()
    };
    assert_eq!(pick(1000), 0);
    let later = now + Duration::from_secs(10);
    assert!(slow.estimate(later) < 0.001, "what was slow once is forgotten: {}", slow.estimate(later));
}

#[test]
fn peak_ewma_takes_the_busy_one_only_where_it_is_faster_by_as_much() {
    let cluster = cluster(endpoints(2), by(LoadBalancer::peak_ewma()));
    cluster.endpoints()[0].begin();
    assert_eq!(picked(&cluster, &Criteria::default(), 1000), [0, 1000]);
}

#[test]
fn an_endpoint_that_nothing_is_known_of_is_tried_before_one_that_failed() {
    let cluster = cluster(endpoints(3), by(LoadBalancer::peak_ewma()));
    let balancer = balancer(&cluster);
    let now = Instant::now();
    balancer.latencies[0].note(Duration::from_micros(50), End::Failed, now);
    balancer.latencies[1].note(Duration::from_micros(300), End::Answered, now);
    let picks: Vec<_> =
        (0..200).map(|_| balancer.pick(&cluster, &Criteria::default()).unwrap().endpoint).collect();
    assert!(!picks.contains(&0) && picks.contains(&2), "{picks:?}");
}

/// An endpoint that answers errors at once would have the best times of all.
#[test]
fn fast_errors_attract_no_requests_to_an_endpoint() {
    let cluster = cluster(endpoints(4), by(LoadBalancer::peak_ewma()));
    let balancer = balancer(&cluster);
    let mut now = Instant::now();
    let mut picks = [0; 4];
    for _ in 0..10_000 {
        let picked = balancer.pick(&cluster, &Criteria::default()).unwrap().endpoint;
        picks[picked] += 1;
        now += Duration::from_micros(200);
        let (took, end) = match picked {
            0 => (Duration::from_micros(50), End::Failed),
            _ => (Duration::from_millis(40), End::Answered),
        };
        balancer.latencies[picked].note(took, end, now);
    }
    assert!(picks[0] < 10_000 / 20, "the endpoint that fails got {picks:?}");
    assert!(picks[1..].iter().all(|&count| count > 2500), "{picks:?}");
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_counts_only_where_it_says_something() {
    let settings = model::PeakEwma {
        decay: Duration::from_secs(10),
        default_rtt: Duration::from_millis(30),
        penalty: Duration::from_millis(30),
    };
    let now = Instant::now();
    let latency = Latency::new(&Slowest::new(settings), now);
    latency.note(Duration::from_millis(100), End::Answered, now);
    latency.note(Duration::from_millis(1), End::GivenUp, now);
    assert_eq!(latency.estimate(now), 0.1, "the client left early");
    latency.note(Duration::from_secs(5), End::GivenUp, now);
    assert_eq!(latency.estimate(now), 5.0, "it has not answered in that time");
}

/// How many of the requests that went elsewhere than to the endpoint that leaves go elsewhere afterwards, and how many
/// move in all, as a share of all.
fn moved(before: &Cluster, after: &Cluster, leaving: usize) -> (f64, f64) {
    let [before, after] = [before, after].map(|cluster| {
        let balancer = balancer(cluster);
        let address = move |number| {
            let criteria = Criteria { hash: Some(hash(number)), ..Criteria::default() };
            cluster.endpoints()[balancer.pick(cluster, &criteria).unwrap().endpoint].address()
        };
        (0..PICKS).map(address).collect::<Vec<_>>()
    });
    let all = before.iter().zip(&after).filter(|(before, after)| before != after);
    let others = all.clone().filter(|(before, _)| **before != address(leaving + 1));
    (others.count() as f64 / PICKS as f64, all.count() as f64 / PICKS as f64)
}

#[test]
fn when_an_endpoint_leaves_a_ring_or_a_table_little_more_than_its_requests_move() {
    for algorithm in [ring(1 << 14), LoadBalancer::Maglev(65_537)] {
        let before = cluster(endpoints(20), by(algorithm));
        for leaving in [0, 7, 19] {
            let mut left = endpoints(20);
            left.remove(leaving);
            let (others, all) = moved(&before, &cluster(left, by(algorithm)), leaving);
            assert!(all <= 1.2 / 20.0, "{all} of the requests moved with {algorithm:?}");
            if let LoadBalancer::RingHash(_) = algorithm {
                assert_eq!(others, 0.0, "a ring moves nobody else's");
            }
        }
    }
}

#[test]
fn when_an_endpoint_falls_ill_only_its_requests_move_and_they_come_back() {
    for algorithm in [ring(1 << 14), LoadBalancer::Maglev(65_537)] {
        let well = cluster(endpoints(20), by(algorithm));
        let ill = cluster(endpoints(20), by(algorithm));
        ill.endpoints()[3].mark(HealthFlag::Ejected, true);
        let (others, all) = moved(&well, &ill, 3);
        assert_eq!(others, 0.0, "{algorithm:?}");
        assert!(all <= 1.2 / 20.0 && all > 0.8 / 20.0, "{all}");
        let picks = picked(&ill, &Criteria::default(), PICKS);
        let theory: Vec<f64> = (0..20).map(|place| if place == 3 { 0.0 } else { 1.0 }).collect();
        assert_shares(&picks, &theory, 0.01);
        ill.endpoints()[3].mark(HealthFlag::Ejected, false);
        assert_eq!(moved(&well, &ill, 3), (0.0, 0.0));
    }
}

#[test]
fn requests_of_one_hash_reach_one_endpoint_and_those_without_reach_any() {
    for algorithm in [ring(256), LoadBalancer::maglev()] {
        let cluster = cluster(endpoints(5), by(algorithm));
        let balancer = balancer(&cluster);
        let pick =
            |hash| balancer.pick(&cluster, &Criteria { hash, ..Criteria::default() }).unwrap().endpoint;
        let first = pick(Some(42));
        assert!((0..100).all(|_| pick(Some(42)) == first));
        let any: std::collections::HashSet<_> = (0..200).map(|_| pick(None)).collect();
        assert_eq!(any.len(), 5);
    }
}

#[test]
fn an_endpoint_that_was_tried_is_picked_only_where_no_other_is_fit() {
    for algorithm in all_algorithms() {
        let cluster = cluster(endpoints(3), by(algorithm));
        let tried = [address(1), address(3)];
        let criteria = Criteria { tried: &tried, preferred: Some(address(3)), ..Criteria::default() };
        assert_eq!(picked(&cluster, &criteria, 50), [0, 50, 0], "{algorithm:?}");
        let tried = [address(1), address(2), address(3)];
        let criteria = Criteria { tried: &tried, ..Criteria::default() };
        assert_eq!(picked(&cluster, &criteria, 50).iter().sum::<usize>(), 50);
        cluster.endpoints()[1].mark(HealthFlag::FailedCheck, true);
        let tried = [address(1), address(3)];
        let criteria = Criteria { tried: &tried, ..Criteria::default() };
        assert_eq!(picked(&cluster, &criteria, 50)[1], 0, "it is known not to answer ({algorithm:?})");
    }
}

#[test]
fn a_tried_endpoint_is_left_for_a_fit_one_of_another_priority() {
    let both = [endpoints(2).remove(0), Endpoint { priority: 1, ..endpoints(2).remove(1) }];
    let cluster = cluster(both.into(), by(LoadBalancer::RoundRobin));
    let tried = [address(1)];
    assert_eq!(picked(&cluster, &Criteria { tried: &tried, ..Criteria::default() }, 50), [0, 50]);
}

#[test]
fn a_preferred_endpoint_is_taken_while_it_is_fit_or_if_nothing_else_will_do() {
    let cluster = cluster(endpoints(4), by(LoadBalancer::RoundRobin));
    let preferred = Criteria { preferred: Some(address(2)), ..Criteria::default() };
    assert_eq!(picked(&cluster, &preferred, 50)[1], 50);
    let stranger = Criteria { preferred: Some(address(9)), ..Criteria::default() };
    assert_eq!(picked(&cluster, &stranger, 40), [10; 4]);
    cluster.endpoints()[1].mark(HealthFlag::Degraded, true);
    assert_eq!(picked(&cluster, &preferred, 50)[1], 50, "a degraded one answers");
    cluster.endpoints()[1].mark(HealthFlag::Ejected, true);
    assert_eq!(picked(&cluster, &preferred, 51), [17, 0, 17, 17]);
    assert_eq!(picked(&cluster, &Criteria { strict: true, ..preferred }, 50)[1], 50);
    cluster.endpoints().iter().for_each(|endpoint| _ = endpoint.mark(HealthFlag::FailedCheck, true));
    assert_eq!(picked(&cluster, &preferred, 50)[1], 50, "all are asked, so why not this one");
}

#[test]
fn each_priority_takes_what_those_before_it_cannot() {
    for algorithm in all_algorithms() {
        let priority = |place: usize| u32::try_from(place / 10).unwrap();
        let all = endpoints(20).into_iter().enumerate();
        let all = all.map(|(place, it)| Endpoint { priority: priority(place), ..it }).collect();
        let cluster = cluster(all, by(algorithm));
        let first =
            |cluster: &Cluster| picked(cluster, &Criteria::default(), PICKS)[..10].iter().sum::<usize>();
        assert_eq!(first(&cluster), PICKS, "{algorithm:?}");
        cluster.endpoints()[..2].iter().for_each(|it| _ = it.mark(HealthFlag::FailedCheck, true));
        assert_eq!(first(&cluster), PICKS, "eight of ten can take it all ({algorithm:?})");
        cluster.endpoints()[..5].iter().for_each(|it| _ = it.mark(HealthFlag::FailedCheck, true));
        let share = first(&cluster) as f64 / PICKS as f64;
        assert!((share - 0.7).abs() <= 0.01, "{share} with {algorithm:?}");
    }
}

#[test]
fn where_too_few_are_fit_all_are_asked_and_it_is_said() {
    for algorithm in all_algorithms() {
        let cluster = cluster(endpoints(4), by(algorithm));
        cluster.endpoints()[..2].iter().for_each(|it| _ = it.mark(HealthFlag::Ejected, true));
        assert_eq!(picked(&cluster, &Criteria::default(), 1000)[..2], [0, 0], "{algorithm:?}");
        cluster.endpoints()[2].mark(HealthFlag::FailedCheck, true);
        assert_shares(&picked(&cluster, &Criteria::default(), PICKS), &[1.0; 4], 0.01);
        assert!(balancer(&cluster).pick(&cluster, &Criteria::default()).unwrap().panics);
    }
}

#[test]
fn without_a_panic_threshold_nobody_who_is_unfit_is_asked() {
    let balancing = Balancing { panic_threshold: Percent::NONE, ..Balancing::default() };
    let cluster = cluster(endpoints(4), balancing);
    cluster.endpoints()[..3].iter().for_each(|it| _ = it.mark(HealthFlag::Ejected, true));
    assert_eq!(picked(&cluster, &Criteria::default(), 100), [0, 0, 0, 100]);
    cluster.endpoints()[3].mark(HealthFlag::Ejected, true);
    assert_eq!(balancer(&cluster).pick(&cluster, &Criteria::default()), None);
}

#[test]
fn a_worker_notices_at_its_next_pick_who_fell_ill_and_who_is_well_again() {
    for algorithm in all_algorithms() {
        let cluster = cluster(endpoints(3), by(algorithm));
        let balancer = balancer(&cluster);
        let is_picked = |place: usize| {
            (0..200).any(|number| {
                let criteria = Criteria { hash: Some(hash(number)), ..Criteria::default() };
                balancer.pick(&cluster, &criteria).unwrap().endpoint == place
            })
        };
        for place in 0..3 {
            cluster.endpoints()[place].mark(HealthFlag::FailedCheck, true);
            assert!(!is_picked(place), "{algorithm:?}");
            cluster.endpoints()[place].mark(HealthFlag::FailedCheck, false);
            // With one that is no busier than the others and of which nothing is known, chance decides.
            assert!(is_picked(place), "{algorithm:?}");
        }
    }
}

#[test]
fn degraded_endpoints_get_what_the_healthy_ones_cannot_take() {
    for algorithm in all_algorithms() {
        let cluster = cluster(endpoints(4), by(algorithm));
        cluster.endpoints()[2..].iter().for_each(|it| _ = it.mark(HealthFlag::Degraded, true));
        let picks = picked(&cluster, &Criteria::default(), PICKS);
        assert_shares(&picks, &[0.35, 0.35, 0.15, 0.15], 0.01);
    }
}

fn in_zones(zones: &[&str]) -> Vec<Endpoint> {
    let all = endpoints(zones.len()).into_iter().zip(zones);
    all.map(|(endpoint, zone)| Endpoint { locality: zone_of(zone), ..endpoint }).collect()
}

fn zone_of(zone: &str) -> Locality {
    Locality { zone: zone.to_owned(), ..Locality::default() }
}

#[test]
fn localities_get_their_weights_and_less_where_endpoints_are_missing() {
    let pattern = |zone: &str| LocalityPattern { zone: Some(zone.to_owned()), ..LocalityPattern::default() };
    let localities = Localities::Weighted(vec![(pattern("a"), 3), (pattern("b"), 1)]);
    for algorithm in [LoadBalancer::RoundRobin, LoadBalancer::Random, LoadBalancer::least_request()] {
        let balancing = Balancing { localities: localities.clone(), ..by(algorithm) };
        let cluster = cluster(in_zones(&["a", "a", "b", "b", "b", "b"]), balancing);
        let picks = picked(&cluster, &Criteria::default(), PICKS);
        assert_shares(&picks, &[3.0 / 2.0, 3.0 / 2.0, 0.25, 0.25, 0.25, 0.25], 0.01);
        cluster.endpoints()[0].mark(HealthFlag::Ejected, true);
        // Half of zone a, 1.4 times that: 0.7 of its weight.
        let picks = picked(&cluster, &Criteria::default(), PICKS);
        assert_shares(&picks, &[0.0, 2.1, 0.25, 0.25, 0.25, 0.25], 0.01);
    }
    let balancing = Balancing { localities, ..by(LoadBalancer::maglev()) };
    let cluster = cluster(in_zones(&["a", "a", "b", "b", "b", "b"]), balancing);
    let picks = picked(&cluster, &Criteria::default(), PICKS);
    assert_shares(&picks, &[1.5, 1.5, 0.25, 0.25, 0.25, 0.25], 0.01);
}

fn zone_aware(callers: Option<&[(&str, usize)]>) -> Balancing {
    let callers = callers.map(|callers| Callers {
        cluster: "callers".into(),
        places: callers.iter().map(|&(zone, count)| (zone_of(zone), count)).collect(),
    });
    let aware = ZoneAware { local: zone_of("a"), callers, enabled: Percent::ALL, minimum_endpoints: 6 };
    Balancing { localities: Localities::ZoneAware(aware), ..Balancing::default() }
}

#[test]
fn requests_stay_in_the_proxys_zone_where_it_can_take_them() {
    let even = cluster(in_zones(&["a", "a", "a", "b", "b", "b"]), zone_aware(None));
    assert_shares(&picked(&even, &Criteria::default(), PICKS), &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 0.0001);
    let few = cluster(in_zones(&["a", "a", "b", "b", "b"]), zone_aware(None));
    assert_shares(&picked(&few, &Criteria::default(), PICKS), &[1.0; 5], 0.01);
}

#[test]
fn what_the_proxys_zone_cannot_take_goes_to_where_there_is_room() {
    // A third of the endpoints for half of the callers: two thirds of what comes stay.
    let zones = ["a", "a", "b", "b", "c", "c"];
    let cluster = cluster(in_zones(&zones), zone_aware(Some(&[("a", 3), ("b", 2), ("c", 1)])));
    let picks = picked(&cluster, &Criteria::default(), PICKS);
    // Zone b has as many as it needs, zone c has room.
    assert_shares(&picks, &[2.0 / 6.0, 2.0 / 6.0, 0.0, 0.0, 1.0 / 6.0, 1.0 / 6.0], 0.01);
}

#[test]
fn an_endpoint_begins_slowly_when_it_is_new_and_when_it_is_fit_again() {
    let window = Duration::from_secs(3600);
    let slow_start = Some(SlowStart { window, aggression: Times(100), minimum: Percent(1000) });
    let balancing = Balancing { slow_start, ..Balancing::default() };
    let old = cluster(endpoints(1), balancing.clone());
    old.endpoints()[0].let_pass(window);
    let both = old.successor(config(endpoints(2), balancing));
    let share = |count| picked(&both, &Criteria::default(), count)[1] as f64 / count as f64;
    assert!((0.05..0.3).contains(&share(1000)), "a tenth of its weight at first");
    both.endpoints()[1].let_pass(window);
    assert_eq!(share(1000), 0.5);
    both.endpoints()[1].mark(HealthFlag::FailedCheck, true);
    both.endpoints()[1].mark(HealthFlag::FailedCheck, false);
    assert!((0.05..0.3).contains(&share(1000)), "it has been away");
}

fn versions(versions: &[&[(&str, &str)]]) -> Vec<Endpoint> {
    let all = endpoints(versions.len()).into_iter().zip(versions);
    let metadata = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    all.map(|(endpoint, pairs)| Endpoint { metadata: metadata(pairs), ..endpoint }).collect()
}

fn wanted(pairs: &[(&str, &str)]) -> MetadataMatch {
    MetadataMatch::new(&pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn a_subset_is_what_has_the_metadata_that_is_asked_for() {
    let all = versions(&[
        &[("version", "1"), ("stage", "prod")],
        &[("version", "2"), ("stage", "prod")],
        &[("version", "2"), ("stage", "dev")],
        &[],
    ]);
    let subsets = |fallback, default: &[(&str, &str)]| {
        let selectors = vec![vec!["version".into()], vec!["stage".into(), "version".into()]];
        let default = default.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Balancing { subsets: Some(Subsets { selectors, fallback, default }), ..Balancing::default() }
    };
    let picks = |cluster: &Cluster, pairs: &[(&str, &str)]| {
        let wanted = wanted(pairs);
        let criteria = Criteria { subset: (!pairs.is_empty()).then_some(&wanted), ..Criteria::default() };
        balancer(cluster).pick(cluster, &criteria)?;
        Some(picked(cluster, &criteria, 60))
    };
    let none = cluster(all.clone(), subsets(Fallback::None, &[]));
    assert_eq!(picks(&none, &[("version", "2")]), Some(vec![0, 30, 30, 0]));
    assert_eq!(picks(&none, &[("version", "2"), ("stage", "prod")]), Some(vec![0, 60, 0, 0]));
    assert_eq!(picks(&none, &[("version", "3")]), None);
    assert_eq!(picks(&none, &[("stage", "prod")]), None, "there is no such selector");
    assert_eq!(picks(&none, &[]), None);
    let any = cluster(all.clone(), subsets(Fallback::Any, &[]));
    assert_eq!(picks(&any, &[("version", "3")]), Some(vec![15; 4]));
    let default = cluster(all, subsets(Fallback::Default, &[("stage", "prod")]));
    assert_eq!(picks(&default, &[]), Some(vec![30, 30, 0, 0]));
    assert!(balancer(&default).pick(&default, &Criteria::default()).unwrap().fell_back);
}

#[test]
fn a_preferred_endpoint_outside_of_the_subset_is_not_taken() {
    let all = versions(&[&[("v", "1")], &[("v", "2")]]);
    let subsets =
        Subsets { selectors: vec![vec!["v".into()]], fallback: Fallback::None, default: BTreeMap::new() };
    let cluster = cluster(all, Balancing { subsets: Some(subsets), ..Balancing::default() });
    let wanted = wanted(&[("v", "1")]);
    let criteria =
        Criteria { subset: Some(&wanted), preferred: Some(address(2)), strict: true, ..Criteria::default() };
    assert_eq!(picked(&cluster, &criteria, 10), [10, 0]);
}

#[test]
fn the_epoch_moves_when_a_flag_does_and_a_successor_knows_what_was_known() {
    let cluster = cluster(endpoints(2), Balancing::default());
    let before = cluster.epoch();
    assert!(cluster.endpoints()[1].mark(HealthFlag::Ejected, true));
    assert!(!cluster.endpoints()[1].mark(HealthFlag::Ejected, true), "it was so before");
    assert_eq!(cluster.epoch(), before + 1);
    let others = endpoints(3).split_off(1);
    let successor = cluster.successor(config(others, Balancing::default()));
    assert!(successor.endpoints()[0].has(HealthFlag::Ejected));
    assert!(!successor.endpoints()[1].has(HealthFlag::Ejected));
    successor.endpoints()[0].mark(HealthFlag::Ejected, false);
    assert_eq!(cluster.epoch(), successor.epoch(), "they have endpoints in common");
}

#[test]
fn a_plan_is_made_anew_only_where_endpoints_or_the_way_they_are_picked_have_changed() {
    let cluster = cluster(endpoints(3), by(LoadBalancer::maglev()));
    let same = cluster.successor(Arc::new(model::Cluster {
        connect_timeout: Duration::from_secs(1),
        ..cluster.config().clone()
    }));
    assert!(std::ptr::eq(cluster.plan(), same.plan()));
    let other = cluster.successor(config(endpoints(2), by(LoadBalancer::maglev())));
    assert!(!std::ptr::eq(cluster.plan(), other.plan()));
}

/// The least time that so many picks take, of several rounds: what others do on this machine makes it longer, never
/// shorter. The two are measured in turn.
fn compare(small: &Cluster, large: &Cluster) -> (Duration, Duration) {
    let round = |cluster: &Cluster, balancer: &Balancer| {
        let began = Instant::now();
        for number in 0..2_000 {
            let criteria = Criteria { hash: Some(hash(number)), ..Criteria::default() };
            std::hint::black_box(balancer.pick(cluster, &criteria));
        }
        began.elapsed()
    };
    let (of_small, of_large) = (balancer(small), balancer(large));
    (0..30).fold((Duration::MAX, Duration::MAX), |(least_small, least_large), _| {
        (least_small.min(round(small, &of_small)), least_large.min(round(large, &of_large)))
    })
}

#[test]
fn a_pick_among_ten_thousand_endpoints_costs_little_more_than_among_ten() {
    let many: Vec<Endpoint> = (0..10_000)
        .map(|number| {
            let endpoint: Endpoint = address(number + 1).into();
            Endpoint { weight: number as u32 % 3 + 1, ..endpoint }
        })
        .collect();
    for algorithm in all_algorithms() {
        let algorithm = if let LoadBalancer::RingHash(_) = algorithm { ring(16) } else { algorithm };
        let small = cluster(many[..10].to_vec(), by(algorithm));
        let large = cluster(many.clone(), by(algorithm));
        let (of_small, of_large) = compare(&small, &large);
        assert!(of_large < of_small * 5, "{of_large:?} instead of {of_small:?} with {algorithm:?}");
    }
}
