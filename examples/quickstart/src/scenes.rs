//! The requests that are shown, and what must be true of each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use crate::http::{self, Answer};
use crate::metrics::Page;
use crate::processes::Proxy;

/// For the proxy to have counted and logged an exchange.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// The chain of the configuration, in order.
pub(crate) const FILTERS: [&str; 2] = ["guard", "faults"];

/// One request.
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    pub(crate) path: &'static str,
    pub(crate) header: Option<(&'static str, &'static str)>,
    expected: Expected,
}

struct Expected {
    status: u16,
    /// One of these services answers; none of them is even asked where this is empty.
    services: &'static [&'static str],
    /// The filter that answers in a service's place.
    answered_by: Option<&'static str>,
    /// The counters of the filters that go up, by one each.
    counters: &'static [&'static str],
}

const PASSED: &str = "wasmcustom_guard_passed_total";
const REFUSED: &str = "wasmcustom_guard_refused_total";
const ABORTS: &str = "wasmcustom_fault_aborts_total";
/// Every counter that a scene may name.
const COUNTERS: [&str; 3] = [PASSED, REFUSED, ABORTS];

pub(crate) const SCENES: [Scene; 5] = [
    Scene {
        title: "an ordinary request: 95 of 100 go to api, 5 to api-canary",
        path: "/hello",
        header: None,
        expected: Expected {
            status: 200,
            services: &["api", "api-canary"],
            answered_by: None,
            counters: &[PASSED],
        },
    },
    Scene {
        title: "a route that looks at a header: always the canary",
        path: "/hello",
        header: Some(("x-canary", "1")),
        expected: Expected { status: 200, services: &["api-canary"], answered_by: None, counters: &[PASSED] },
    },
    Scene {
        title: "a rule of the guard's: /admin needs x-team",
        path: "/admin/users",
        header: None,
        expected: Expected { status: 403, services: &[], answered_by: Some("guard"), counters: &[REFUSED] },
    },
    Scene {
        title: "the same with the header",
        path: "/admin/users",
        header: Some(("x-team", "ops")),
        expected: Expected {
            status: 200,
            services: &["api", "api-canary"],
            answered_by: None,
            counters: &[PASSED],
        },
    },
    Scene {
        title: "a fault on demand: the filter answers in the service's place",
        path: "/hello",
        header: Some(("x-demo-fault", "abort")),
        expected: Expected {
            status: 503,
            services: &[],
            answered_by: Some("faults"),
            counters: &[PASSED, ABORTS],
        },
    },
];

/// What can be known of an exchange from outside: the client's view, the proxy's line about it, and what it changed in
/// the metrics.
pub(crate) struct Exchange {
    pub(crate) answer: Answer,
    pub(crate) entry: Value,
    pub(crate) counted: Page,
}

/// The proxy and where to find it.
pub(crate) struct Stage<'a> {
    pub(crate) proxy: &'a Proxy,
    pub(crate) ingress: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Stage<'_> {
    /// Sends a scene's request and waits until the proxy has accounted for it.
    pub(crate) fn play(&self, scene: &Scene, id: &str) -> anyhow::Result<Exchange> {
        let before = self.metrics()?;
        let mut headers = vec![("x-request-id", id)];
        headers.extend(scene.header);
        let answer = http::get(self.ingress, scene.path, &headers)?;
        let entry = self.entry_of(id)?;
        let counted = self.metrics_after(&before, 1.0)?.since(&before);
        Ok(Exchange { answer, entry, counted })
    }

    /// The metrics now.
    pub(crate) fn metrics(&self) -> anyhow::Result<Page> {
        let answer = http::get(self.admin, "/metrics", &[])?;
        if answer.status != 200 {
            bail!("/metrics answers {}", answer.status);
        }
        Ok(Page::parse(&answer.body))
    }

    /// The metrics once that many requests more are counted than in `before`.
    pub(crate) fn metrics_after(&self, before: &Page, requests: f64) -> anyhow::Result<Page> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let page = self.metrics()?;
            let counted = page.since(before).sum("tidegate_requests_total", &[]);
            if counted >= requests {
                return Ok(page);
            }
            if Instant::now() > deadline {
                bail!("{requests} requests were made and {counted} counted");
            }
            std::thread::sleep(LOOK_PERIOD);
        }
    }

    /// The access log's line about a request.
    fn entry_of(&self, id: &str) -> anyhow::Result<Value> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        while let Some(line) = self.proxy.next_exchange(deadline.saturating_duration_since(Instant::now())) {
            let entry: Value = serde_json::from_str(&line)?;
            if entry["request_id"] == id {
                return Ok(entry);
            }
        }
        bail!("the access log has no line about request {id}")
    }

    /// Takes the next lines of the access log, up to so many; returns how many came.
    pub(crate) fn count_entries(&self, most: u32) -> u32 {
        (0..most).map_while(|_| self.proxy.next_exchange(SETTLE_LIMIT)).map(|_| 1).sum()
    }
}

impl Scene {
    /// What is not as it should be.
    pub(crate) fn mistakes(&self, exchange: &Exchange) -> Vec<String> {
        let Exchange { answer, entry, counted } = exchange;
        let expected = &self.expected;
        let served_by = answer.header("x-served-by");
        let mut mistakes = Vec::new();
        let mut must = |holds: bool, otherwise: String| {
            if !holds {
                mistakes.push(otherwise);
            }
        };
        must(answer.status == expected.status, format!("the status should be {}", expected.status));
        must(
            served_by.map_or(expected.services.is_empty(), |name| expected.services.contains(&name)),
            format!("the answer should be from {}", expected.from()),
        );
        must(answer.header("x-guard") == Some("seen"), "the response should have `x-guard: seen`".to_owned());
        must(entry["status"] == answer.status, "the access log should have the client's status".to_owned());
        must(entry["outcome"] == "ok", "the access log should say `ok`: nothing failed".to_owned());
        must(
            entry["cluster"].as_str() == served_by,
            "the access log should name the cluster that answered".to_owned(),
        );
        must(
            entry["filter"].as_str() == expected.answered_by,
            format!("the access log should say that {} answered", expected.from()),
        );
        for filter in FILTERS {
            // The guard comes first: what it refuses goes no further.
            let should = filter == "guard" || expected.answered_by != Some("guard");
            let word = if should { "be" } else { "not be" };
            must(
                exchange.was_seen_by(filter) == should,
                format!("the request should {word} shown to {filter}"),
            );
        }
        for counter in COUNTERS {
            let by = if expected.counters.contains(&counter) { 1.0 } else { 0.0 };
            must(counted.sum(counter, &[]) == by, format!("{counter} should go up by {by}"));
        }
        mistakes
    }
}

impl Expected {
    fn from(&self) -> String {
        match self.answered_by {
            Some(filter) => format!("the filter {filter}"),
            None => self.services.join(" or "),
        }
    }
}

impl Exchange {
    /// Whether a filter was shown the request.
    fn was_seen_by(&self, filter: &str) -> bool {
        self.counted.sum(CALLS, &[("filter", filter), ("callback", ON_REQUEST)]) == 1.0
    }

    /// What a filter did, as its counters and the answer show.
    pub(crate) fn deed_of(&self, filter: &str) -> String {
        let counted = |counter| self.counted.sum(counter, &[]) > 0.0;
        let request = match filter {
            _ if !self.was_seen_by(filter) => "did not see the request",
            "guard" if counted(REFUSED) => "refused the request",
            "faults" if counted(ABORTS) => "aborted the request",
            _ => "let the request pass",
        };
        match filter {
            "guard" if self.answer.header("x-guard").is_some() => format!("{request}, marked the response"),
            _ => request.to_owned(),
        }
    }

    /// What that took, in the metrics' words.
    pub(crate) fn cost_of(&self, filter: &str) -> String {
        let sum = |name| self.counted.sum(name, &[("filter", filter)]);
        format!(
            "{} callbacks, {} instructions, {:.1} µs",
            sum(CALLS),
            sum("tidegate_filter_instructions_total"),
            sum("tidegate_filter_time_seconds_total") * 1e6,
        )
    }
}

const CALLS: &str = "tidegate_filter_calls_total";
const ON_REQUEST: &str = "on_request_headers";
