//! What finding a route takes, among few and among many: with thousands of them it must not grow.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use tidegate::config;
use tidegate::route::Table;

/// A way to write what the route of this number matches. All numbers are of one length, and so are the requests: it is how
/// many routes there are that is looked at, not how long their paths are.
type Kind = (&'static str, fn(usize) -> String);

const KINDS: [Kind; 7] = [
    ("prefix", |at| format!("{{path: {{prefix: /service-{at:04}/}}}}")),
    ("segments", |at| format!("{{path: {{segments: /service-{at:04}}}}}")),
    ("exact", |at| format!("{{path: {{exact: /service-{at:04}/x}}}}")),
    ("regex", |at| format!("{{path: {{regex: \"/service-{at:04}/[a-z]+\"}}}}")),
    ("template", |at| format!("{{path: {{template: \"/service-{at:04}/{{name}}\"}}}}")),
    ("host", |at| format!("{{host: service-{at:04}.test}}")),
    ("cookie", |at| format!("{{path: {{segments: /service-{at:04}}}, cookies: {{a: {{exact: \"1\"}}}}}}")),
];

fn table(count: usize, matches: fn(usize) -> String) -> Table {
    let routes: String =
        (0..count).map(|at| format!("  - {{match: {}, respond: {{}}}}\n", matches(at))).collect();
    let text = format!("listeners:\n- name: in\n  address: 127.0.0.1:0\n  routes:\n{routes}");
    let loaded = config::parse(&text, "bench.yaml".as_ref()).expect("it is valid");
    Table::new(&loaded.config.listeners[0].routes)
}

fn find(criterion: &mut Criterion) {
    for (kind, matches) in KINDS {
        let mut group = criterion.benchmark_group(kind);
        for count in [10, 10_000] {
            let table = table(count, matches);
            // Requests all over the table, as many of them in either.
            let requests: Vec<(Uri, HeaderMap)> = (0..10)
                .map(|at| at * (count / 10))
                .map(|at| {
                    let mut headers = HeaderMap::new();
                    let host = HeaderValue::from_str(&format!("service-{at:04}.test")).expect("a value");
                    headers.insert(header::HOST, host);
                    headers.insert(header::COOKIE, HeaderValue::from_static("a=1"));
                    (format!("/service-{at:04}/x").parse().expect("a path"), headers)
                })
                .collect();
            group.bench_with_input(BenchmarkId::from_parameter(count), &table, |bencher, table| {
                bencher.iter(|| {
                    for (uri, headers) in &requests {
                        black_box(table.find(&Method::GET, uri, headers)).expect("there is a route");
                    }
                });
            });
        }
    }
}

criterion_group!(benches, find);
criterion_main!(benches);
