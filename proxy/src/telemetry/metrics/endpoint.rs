//! How clusters' endpoints are.

use std::fmt;

use super::page::Page;

/// A cluster's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointsSample {
    /// The cluster.
    pub cluster: String,
    /// How many are how. Levels.
    pub counts: [(&'static str, u64); 3],
}

/// Writes how endpoints are.
///
/// # Errors
/// Those of the page.
pub fn write_endpoints(page: &mut Page<'_>, samples: &[EndpointsSample]) -> fmt::Result {
    let mut endpoints =
        page.gauge("tidegate_upstream_endpoints", "Endpoints of a cluster, by how they are.")?;
    for EndpointsSample { cluster, counts } in samples {
        for (health, count) in counts {
            endpoints.sample(&[("cluster", cluster), ("health", health)], *count)?;
        }
    }
    Ok(())
}
