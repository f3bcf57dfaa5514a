//! Copies of requests for another cluster, whose answers nobody sees.
//!
//! A copy is sent when the request is whole, from the filter's background: the client's exchange neither waits for it nor
//! ends it. What a copy keeps in memory until its answer has come is bounded, per request and over all.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_sdk::{Background, Body, CounterFamily, Request, random};
use vocabulary::{Percent, Size, Span};

use crate::experiment::HeaderText;

/// Marks a copy, by the name of its experiment. A copy is not copied again.
pub(crate) const MARK: &str = "x-shadow";

/// The largest body that may be copied, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// The longest wait for the answer to a copy, in seconds.
const LONGEST_WAIT: u64 = 300;

/// What all copies of one instance hold together, in bytes: a quarter of the memory that a filter has without being given
/// more.
const MOST_HELD: usize = 4 << 20;

/// Headers that a copy gets anew.
const OWN_HEADERS: [&str; 2] = ["content-length", MARK];

/// A cluster that gets a copy of a variant's requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShadowConfig {
    /// Where the copies go.
    cluster: HeaderText,
    /// The share of the requests that are copied, each by chance.
    #[serde(default)]
    percent: Percent,
    /// A request with a larger body is not copied.
    #[serde(default = "max_body")]
    max_body: Size<LARGEST_BODY>,
    /// How long the answer may take.
    #[serde(default = "timeout")]
    timeout: Span<LONGEST_WAIT>,
}

fn max_body() -> Size<LARGEST_BODY> {
    Size::new(64 << 10)
}

fn timeout() -> Span<LONGEST_WAIT> {
    Span::new(std::time::Duration::from_secs(5))
}

/// What became of a copy: the values of the label `outcome`.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// An answer came.
    Answered,
    /// The host did not send it, or a 5xx came: the shadow's own, or the host's where none came in time.
    Failed,
    /// The body was larger than it may be.
    TooLarge,
    /// Too much is held for other copies.
    Busy,
}

/// Where copies go out from.
pub(crate) struct Shadows {
    background: OnceCell<Background>,
    /// Bytes held for copies.
    held: Rc<Cell<usize>>,
    outcomes: Rc<CounterFamily<2>>,
}

/// A request that is being copied.
pub(crate) struct Copying {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    loan: Loan,
    targets: Vec<Target>,
}

/// A cluster that gets a copy.
struct Target {
    experiment: String,
    config: ShadowConfig,
}

/// Bytes out of those that copies may hold, given back in the end.
struct Loan {
    held: Rc<Cell<usize>>,
    bytes: usize,
}

impl Shadows {
    pub(crate) fn new() -> Shadows {
        let outcomes = CounterFamily::new("ab_route_shadows", ["experiment", "outcome"]);
        Shadows { background: OnceCell::new(), held: Rc::default(), outcomes: Rc::new(outcomes) }
    }

    /// Copies go out from here from now on.
    pub(crate) fn start(&self, background: &Background) {
        // Called once in the life of a filter.
        let _ = self.background.set(background.clone());
    }

    /// Begins to copy a request, as it is now, if chance has it.
    pub(crate) fn begin(
        &self,
        copying: &mut Option<Box<Copying>>,
        request: &Request<'_>,
        experiment: &str,
        config: &ShadowConfig,
    ) {
        if !config.percent.includes(|| random(0..Percent::PARTS.into()) as u32) {
            return;
        }
        let target = Target { experiment: experiment.to_owned(), config: config.clone() };
        let declared = request.header("content-length").and_then(|length| length.parse::<usize>().ok());
        if declared.is_some_and(|length| length > config.max_body.bytes()) {
            return self.count(experiment, Outcome::TooLarge);
        }
        if let Some(copying) = copying {
            return copying.targets.push(target);
        }
        let headers = request.headers().all();
        if headers.iter().any(|(name, _)| name == MARK) {
            return;
        }
        // What is not text cannot be sent: there is none in well-formed requests.
        let headers: Vec<(String, String)> = headers
            .into_iter()
            .filter(|(name, _)| !OWN_HEADERS.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name, String::from_utf8(value).ok()?)))
            .collect();
        let bytes = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut loan = Loan { held: self.held.clone(), bytes: 0 };
        match loan.take(bytes) {
            true => {
                *copying = Some(Box::new(Copying { headers, body: Vec::new(), loan, targets: vec![target] }))
            }
            false => self.count(experiment, Outcome::Busy),
        }
    }

    /// Takes a piece of the body along.
    pub(crate) fn take_body(&self, copying: &mut Option<Box<Copying>>, body: &Body) {
        let Some(copy) = copying else { return };
        let len = copy.body.len() + body.len();
        copy.targets.retain(|target| {
            let fits = len <= target.config.max_body.bytes();
            if !fits {
                self.count(&target.experiment, Outcome::TooLarge);
            }
            fits
        });
        if copy.targets.is_empty() {
            *copying = None;
        } else if copy.loan.take(body.len()) {
            copy.body.extend(body.bytes());
        } else {
            copy.targets.iter().for_each(|target| self.count(&target.experiment, Outcome::Busy));
            *copying = None;
        }
    }

    /// The request is whole: its copies go out.
    pub(crate) fn send(&self, copying: &mut Option<Box<Copying>>) {
        let (Some(copying), Some(background)) = (copying.take(), self.background.get()) else { return };
        let Copying { headers, body, loan, targets } = *copying;
        let copy = Rc::new((headers, body, loan));
        for target in targets {
            let (copy, outcomes, host) = (copy.clone(), self.outcomes.clone(), background.clone());
            background.spawn(async move {
                let (headers, body, _loan) = &*copy;
                let outcome = target.send(&host, headers, body).await;
                outcomes.with([&target.experiment, outcome.word()]).increment();
            });
        }
    }

    fn count(&self, experiment: &str, outcome: Outcome) {
        self.outcomes.with([experiment, outcome.word()]).increment();
    }
}

impl Target {
    async fn send(&self, host: &Background, headers: &[(String, String)], body: &[u8]) -> Outcome {
        let value =
            |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let authority = shadow_authority(value(":authority").unwrap_or(&self.config.cluster.0));
        let mut callout = host
            .call(&self.config.cluster.0)
            .method(value(":method").unwrap_or("GET"))
            .path(value(":path").unwrap_or("/"))
            .authority(&authority)
            .header(MARK, &self.experiment);
        for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with(':')) {
            callout = callout.header(name, value);
        }
        if !body.is_empty() {
            callout = callout.body(body);
        }
        match callout.send(self.config.timeout.duration()).await {
            Ok(answer) if answer.status() < 500 => Outcome::Answered,
            Ok(_) | Err(_) => Outcome::Failed,
        }
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Failed => "failed",
            Outcome::TooLarge => "too_large",
            Outcome::Busy => "busy",
        }
    }
}

impl Loan {
    /// So many bytes more, if there are.
    fn take(&mut self, bytes: usize) -> bool {
        let held = self.held.get() + bytes;
        let fits = held <= MOST_HELD;
        if fits {
            self.held.set(held);
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.bytes);
    }
}

/// The host that a copy asks for, as in Envoy: with `-shadow` behind the name. An IPv6 address stays as it is, because
/// nothing can be put behind it.
fn shadow_authority(authority: &str) -> String {
    match authority.split_once(':') {
        _ if authority.starts_with('[') => authority.to_owned(),
        Some((host, port)) => format!("{host}-shadow:{port}"),
        None => format!("{authority}-shadow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_asks_for_the_shadow_of_its_host() {
        assert_eq!(shadow_authority("shop.test"), "shop.test-shadow");
        assert_eq!(shadow_authority("shop.test:8080"), "shop.test-shadow:8080");
        assert_eq!(shadow_authority("[::1]:8080"), "[::1]:8080");
    }

    #[test]
    fn what_is_held_is_given_back() {
        let held = Rc::new(Cell::new(0));
        let loan = || Loan { held: held.clone(), bytes: 0 };
        let mut first = loan();
        assert!(first.take(MOST_HELD - 1) && first.take(1));
        assert!(!loan().take(1));
        drop(first);
        assert_eq!(held.get(), 0);
        assert!(loan().take(1));
    }
}
