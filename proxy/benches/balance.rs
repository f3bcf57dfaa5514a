//! What it costs to pick an endpoint: `make bench-host`.
//!
//! Bound, on a machine of 2020 or later with nothing else running: 100 ns for any algorithm at 10,000 endpoints. It is not
//! asserted. Measured is the thread's own time, but whoever works beside it shares its caches.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::upstream::{Balancer, Cluster, Criteria};

/// What this thread has taken of its processor so far: others on the machine take nothing of it.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says it");
    let nanoseconds = stat.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.expect("it is the first number"))
}

/// A cluster of so many endpoints, every `heavy`th of which weighs from 1 to 7, by its place.
fn cluster(count: usize, heavy: usize, balancing: &str) -> Cluster {
    let endpoint = |at: usize| {
        let weight = if heavy > 0 && at.is_multiple_of(heavy) { at % 7 + 1 } else { 1 };
        format!("{{address: \"10.0.{}.{}:80\", weight: {weight}}}", at / 250, at % 250 + 1)
    };
    let endpoints: Vec<String> = (0..count).map(endpoint).collect();
    let text = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", routes: [{{match: {{}}, cluster: up}}]}}]\n\
         clusters: {{up: {{endpoints: [{}], load_balancer: {balancing}}}}}\n",
        endpoints.join(", ")
    );
    let loaded = tidegate::config::parse(&text, Path::new("bench.yaml")).expect("it is a configuration");
    Cluster::new(loaded.config.clusters[0].clone())
}

fn picks(criterion: &mut Criterion) {
    let algorithms = ["round_robin", "random", "least_request", "peak_ewma", "ring_hash", "maglev"];
    for algorithm in algorithms {
        for (count, heavy) in [(10, 0), (10_000, 0), (10_000, 3)] {
            let cluster = cluster(count, heavy, algorithm);
            let balancer = Balancer::new(&cluster);
            let mut hash = 0_u64;
            let weights = if heavy > 0 { ", weighted" } else { "" };
            criterion.bench_function(&format!("{algorithm} of {count}{weights}"), |bencher| {
                bencher.iter_custom(|count| {
                    let began = cpu_time();
                    for _ in 0..count {
                        hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        let criteria = Criteria { hash: Some(hash), ..Criteria::default() };
                        black_box(balancer.pick(&cluster, &criteria));
                    }
                    cpu_time() - began
                });
            });
        }
    }
}

criterion_group!(balance, picks);
criterion_main!(balance);
