//! What filters keep beside their instances, and what it takes.

use std::fmt;

use super::page::{Described, Page};

/// What the cells of one `vm_id` take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CellsSample {
    /// Whose.
    pub vm_id: String,
    /// How many there are.
    pub cells: u64,
    /// What they count for against `limits.cells`, in bytes.
    pub bytes: u64,
    /// How many went for want of room since the process began.
    pub evicted: u64,
}

/// Writes what cells take.
///
/// # Errors
/// Those of the page.
pub fn write_cells(page: &mut Page<'_>, samples: &[CellsSample]) -> fmt::Result {
    let levels: [Described<CellsSample, u64>; 2] = [
        ("tidegate_cells", "Cells of a vm_id: buckets, counters and values of filters.", |sample| {
            sample.cells
        }),
        ("tidegate_cells_bytes", "What the cells of a vm_id count for against limits.cells.", |sample| {
            sample.bytes
        }),
    ];
    for (name, help, value) in levels {
        let mut family = page.gauge(name, help)?;
        for sample in samples {
            family.sample(&[("vm_id", &sample.vm_id)], value(sample))?;
        }
    }
    let mut evicted = page.counter(
        "tidegate_cells_evicted_total",
        "Cells that went for want of room, expired ones among them.",
    )?;
    for sample in samples {
        evicted.sample(&[("vm_id", &sample.vm_id)], sample.evicted)?;
    }
    Ok(())
}
