//! What the filters cost as plain lines.

use super::column::{FILTER_COLUMNS, name, number, pad, percent, widths};
use super::costs::Costs;
use super::source::Source;
use crate::telemetry::metrics::Overview;

/// The head and a line for each filter, those that take the most time first.
pub(super) fn page(source: &Source, overview: &Overview, costs: &Costs) -> String {
    let mut filters = costs.filters.clone();
    filters
        .sort_by(|one, other| (FILTER_COLUMNS[1].order)(one, other).then_with(|| one.name.cmp(&other.name)));
    let widths = widths(&FILTER_COLUMNS, &filters, usize::MAX);
    let line = |texts: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> =
            texts.zip(&widths).enumerate().map(|(place, (text, width))| pad(&text, *width, place)).collect();
        format!("{}\n", cells.join(" ").trim_end())
    };
    let mut page = format!("{}\n{}\n\n", title(source, overview), traffic(overview, costs));
    if filters.is_empty() {
        page.push_str("no filters are in use\n");
        return page;
    }
    page.push_str(&line(&mut FILTER_COLUMNS.iter().map(|column| column.title.to_owned())));
    for filter in &filters {
        page.push_str(&line(&mut FILTER_COLUMNS.iter().map(|column| (column.text)(filter))));
    }
    page
}

/// Which proxy this is.
pub(super) fn title(source: &Source, overview: &Overview) -> String {
    let reload = if overview.config_last_reload_successful { "" } else { " (the last reload failed)" };
    format!(
        "tidegate {} at {}, up {}, generation {}{reload}",
        name(&overview.version),
        source.address(),
        span(overview.uptime_seconds),
        overview.config_generation,
    )
}

/// What it does.
pub(super) fn traffic(overview: &Overview, costs: &Costs) -> String {
    let filters = costs.filters.iter().fold(0.0, |sum, filter| sum + filter.total.cpu);
    let plural = |is_one: bool| if is_one { "" } else { "s" };
    format!(
        "{} worker{}, {} requests/s, {} in flight, {} connection{}, filters take {}% of a core",
        overview.workers,
        plural(overview.workers == 1),
        number(costs.requests_per_second),
        costs.active_requests,
        costs.active_connections,
        plural(costs.active_connections == 1),
        percent(filters),
    )
}

/// A time in its two largest units.
fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days}d {hours}h"),
        (0, 1.., _) => format!("{hours}h {minutes}m"),
        (0, 0, 1..) => format!("{minutes}m {}s", seconds % 60),
        (0, 0, 0) => format!("{seconds}s"),
    }
}
