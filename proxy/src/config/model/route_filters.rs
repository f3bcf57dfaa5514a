//! What routes say of filters.

use std::sync::Arc;

use super::Filter;

/// Which filters a route's requests pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RouteFilters {
    /// The listener's chain, as it is.
    #[default]
    Inherited,
    /// The listener's chain, of which these are different, each at most once and in the chain's order.
    Changed(Vec<Changed>),
    /// These, in the place of the listener's chain.
    Chain(Vec<Link>),
}

/// A filter of a listener's chain that is different for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Its place in the chain.
    pub stage: usize,
    /// What it is instead, an index into [`Config::variants`](super::Config::variants); `None` where it is left out.
    pub variant: Option<usize>,
}

/// A filter of a route's own chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Which, an index into [`Config::filters`](super::Config::filters).
    pub filter: usize,
    /// What it is instead, if it is configured for the route.
    pub variant: Option<usize>,
}

/// A filter with the configuration that routes give it. Routes that give it the same have one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Which filter, an index into [`Config::filters`](super::Config::filters).
    pub of: usize,
    /// That filter, with the routes' configuration.
    pub filter: Arc<Filter>,
}
