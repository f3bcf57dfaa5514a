//! Experiments and canaries: each user gets a variant and keeps it, on every proxy and after every restart.
//!
//! ```json
//! {
//!   "experiments": [{
//!     "name": "checkout",
//!     "subject": ["header:x-user"],
//!     "variants": [{"name": "control", "weight": 90}, {"name": "blue", "weight": 10, "cluster": "api-blue"}]
//!   }],
//!   "cookie": {"max_age": "30d"}
//! }
//! ```
//!
//! A user is known by the experiment's `subject` (a header, a cookie, a certificate …), or by a cookie that it is given.
//! The variant's name is put into the request header `x-variant-NAME` and its cluster into `x-ab-cluster`, on which routes
//! match or which they have for their cluster; what a client sends there itself is removed. A variant may have its requests
//! copied to another cluster as well.
//!
//! Counters: `ab_route_exposures{experiment,variant}` (requests that got it by their share), `ab_route_forced` (that asked
//! for it, or by a rule), `ab_route_shadows{experiment,outcome}` (what became of copies).

mod assign;
mod config;
mod cookie;
mod experiment;
mod shadow;
mod shares;
mod visit;

use tidegate_sdk::{Background, Body, Counter, CounterFamily, Filter, Next, Request, Response, filter};

pub use crate::config::Config;
use crate::experiment::{Assigned, Experiment, Variant};
use crate::shadow::{Copying, Shadows};
use crate::visit::Visit;

filter!(AbRoute);

// Whose headers, and which clusters and properties, is for its configuration to say.
tidegate_sdk::manifest! {
    "clusters": ["*"],
    "headers": {"read": ["*"], "write": ["*"]},
    "body": "read",
    "properties": {"read": ["*"]},
    "metrics": ["ab_route_*"]
}

/// The filter.
pub struct AbRoute {
    config: Config,
    /// For each experiment, for each of its variants.
    exposures: Vec<Vec<Counter>>,
    forced: CounterFamily<2>,
    shadows: Shadows,
}

/// What one exchange got.
#[derive(Default)]
pub struct State {
    /// Experiments and their variants, by their places, where there is something to do to the response.
    announced: Vec<(usize, usize)>,
    /// The number for a client's new cookie.
    new_number: Option<String>,
    copying: Option<Box<Copying>>,
}

impl Filter for AbRoute {
    type Config = Config;
    type State = State;

    fn new(config: Config) -> Result<AbRoute, String> {
        let variants = config.experiments.iter().map(|experiment| experiment.variants.len()).sum();
        let labels = ["experiment", "variant"];
        let exposures = CounterFamily::new("ab_route_exposures", labels).at_most(variants);
        let of = |experiment: &Experiment| {
            let counter =
                |variant: &Variant| exposures.with([experiment.name.as_str(), variant.name.as_str()]);
            experiment.variants.iter().map(counter).collect()
        };
        Ok(AbRoute {
            exposures: config.experiments.iter().map(of).collect(),
            forced: CounterFamily::new("ab_route_forced", labels).at_most(variants),
            shadows: Shadows::new(),
            config,
        })
    }

    fn on_start(&self, background: &Background) {
        self.shadows.start(background);
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        let visit = Visit::new(&self.config, request);
        let mut cluster = None;
        for (index, experiment) in self.config.experiments.iter().enumerate() {
            match experiment.assign(&visit) {
                Some(assigned) => {
                    let variant = self.expose(state, &visit, index, assigned);
                    cluster = cluster.or(variant.cluster.as_deref());
                }
                None => experiment.owned.iter().for_each(|name| visit.unset(name.as_str())),
            }
        }
        match (self.config.cluster_header.as_str(), cluster) {
            (name, Some(cluster)) => visit.set(name, cluster),
            (name, None) => visit.unset(name),
        }
        if visit.has_changed() {
            request.clear_route_cache();
        }
        state.new_number = visit.new_number();
        if request.is_complete() {
            self.shadows.send(&mut state.copying);
        }
        let is_done = state.announced.is_empty() && state.new_number.is_none() && state.copying.is_none();
        if is_done { Next::Leave } else { Next::Continue }
    }

    fn on_request_body(&self, state: &mut State, _: &Request<'_>, body: &Body) -> Next {
        self.shadows.take_body(&mut state.copying, body);
        if body.is_last() {
            self.shadows.send(&mut state.copying);
        }
        Next::Continue
    }

    fn on_request_trailers(&self, state: &mut State, _: &Request<'_>) -> Next {
        self.shadows.send(&mut state.copying);
        Next::Continue
    }

    fn on_response_headers(&self, state: &mut State, response: &Response<'_>) -> Next {
        for (experiment, variant) in std::mem::take(&mut state.announced) {
            for (name, value) in &self.config.experiments[experiment].variants[variant].response_sets {
                response.set_header(name.as_str(), value);
            }
        }
        if let (Some(number), Some(cookie)) = (state.new_number.take(), &self.config.cookie) {
            response.add_header("set-cookie", cookie.set(&number));
        }
        if state.copying.is_none() { Next::Leave } else { Next::Continue }
    }
}

impl AbRoute {
    /// Shows a request the variant that it got.
    fn expose(&self, state: &mut State, visit: &Visit<'_>, index: usize, assigned: Assigned) -> &Variant {
        let experiment = &self.config.experiments[index];
        let variant = &experiment.variants[assigned.variant];
        variant.sets.iter().for_each(|(name, value)| visit.set(name.as_str(), value));
        variant.unsets.iter().for_each(|name| visit.unset(name.as_str()));
        if !variant.response_sets.is_empty() {
            state.announced.push((index, assigned.variant));
        }
        match assigned.forced {
            true => self.forced.with([experiment.name.as_str(), variant.name.as_str()]).increment(),
            false => self.exposures[index][assigned.variant].increment(),
        }
        if let Some(shadow) = &variant.shadow {
            self.shadows.begin(&mut state.copying, visit.request, experiment.name.as_str(), shadow);
        }
        variant
    }
}
