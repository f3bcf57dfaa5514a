//! How much the proxy has to do, and what it refused for it.

use std::fmt;

use super::page::Page;

/// What there is to say of it.
#[derive(Debug, Clone, Default)]
pub struct OverloadSample {
    /// The words of the stages, in order, and how often each began.
    pub stages: Vec<(&'static str, u64)>,
    /// The number of the stage of the moment.
    pub stage: u64,
    /// Memory in use and what may be, in bytes, where it is looked at.
    pub memory: Option<(u64, u64)>,
    /// What was refused, why, and how often.
    pub refused: Vec<(&'static str, &'static str, u64)>,
}

/// Writes it.
///
/// # Errors
/// Those of the page.
pub fn write_overload(page: &mut Page<'_>, sample: &OverloadSample) -> fmt::Result {
    page.gauge(
        "tidegate_overload_stage",
        "How far it has come with the memory: 0 normal, 1 relieving, 2 shedding, 3 refusing.",
    )?
    .sample(&[], sample.stage)?;
    let mut stages =
        page.counter("tidegate_overload_stages_total", "Times that a stage began, but for the normal one.")?;
    for (stage, count) in sample.stages.iter().skip(1).filter(|(_, count)| *count > 0) {
        stages.sample(&[("stage", stage)], *count)?;
    }
    if let Some((used, limit)) = sample.memory {
        page.gauge("tidegate_overload_memory_used_bytes", "Memory in use, as `overload.memory` counts it.")?
            .sample(&[], used)?;
        page.gauge(
            "tidegate_overload_memory_limit_bytes",
            "Memory that there is, as `overload.memory` counts it.",
        )?
        .sample(&[], limit)?;
    }
    let mut refused = page.counter(
        "tidegate_overload_refused_total",
        "Requests and connections refused because there was too much: memory, requests, connections, or lag.",
    )?;
    for (work, excess, count) in sample.refused.iter().filter(|(_, _, count)| *count > 0) {
        refused.sample(&[("work", work), ("excess", excess)], *count)?;
    }
    Ok(())
}
