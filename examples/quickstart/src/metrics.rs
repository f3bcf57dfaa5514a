//! The proxy's `/metrics` page as numbers, and what changed between two looks at it.

use std::collections::BTreeMap;

/// A page, by what identifies a sample: its name and its labels as they are written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page(BTreeMap<String, f64>);

impl Page {
    pub(crate) fn parse(text: &str) -> Page {
        let sample = |line: &str| {
            let (id, value) = line.rsplit_once(' ')?;
            Some((id.to_owned(), value.parse().ok()?))
        };
        Page(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum of a metric's samples that have all of these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name).filter(|(id, _)| has_labels(id, labels)).map(|(_, value)| value).sum()
    }

    /// The lines of some metrics, as the page has them.
    pub(crate) fn lines(&self, names: &[&str]) -> Vec<String> {
        let lines = names.iter().flat_map(|name| self.samples(name));
        lines.map(|(id, value)| format!("{id} {value}")).collect()
    }

    /// What was counted since `earlier`. Samples that did not change are left out.
    pub(crate) fn since(&self, earlier: &Page) -> Page {
        let change = |(id, value): (&String, &f64)| {
            let change = value - earlier.0.get(id).copied().unwrap_or(0.0);
            (change != 0.0).then(|| (id.clone(), change))
        };
        Page(self.0.iter().filter_map(change).collect())
    }

    fn samples(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let samples = self.0.iter().map(|(id, value)| (id.as_str(), *value));
        samples.filter(move |(id, _)| id.split('{').next() == Some(name))
    }
}

fn has_labels(id: &str, labels: &[(&str, &str)]) -> bool {
    labels.iter().all(|(label, value)| value_of(id, label) == Some(value))
}

/// A label's value. Nothing in the demonstration's labels needs an escape.
fn value_of<'a>(id: &'a str, label: &str) -> Option<&'a str> {
    let labels = id.split_once('{')?.1.strip_suffix('}')?;
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(found, _)| *found == label).map(|(_, value)| value.trim_matches('"')).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP calls_total Calls.\n# TYPE calls_total counter\n\
        calls_total{filter=\"a\",callback=\"x\"} 2\ncalls_total{filter=\"b\",callback=\"x\"} 3\n\
        calls_total_more{filter=\"a\"} 9\nup 1\n";

    #[test]
    fn samples_are_summed_by_their_labels() {
        let page = Page::parse(TEXT);
        assert_eq!(page.sum("calls_total", &[]), 5.0);
        assert_eq!(page.sum("calls_total", &[("filter", "b")]), 3.0);
        assert_eq!(page.sum("up", &[]), 1.0);
    }

    #[test]
    fn a_difference_has_only_what_changed() {
        let later = Page::parse(&TEXT.replace("} 2", "} 4"));
        let change = later.since(&Page::parse(TEXT));
        assert_eq!(change.lines(&["calls_total", "up"]), ["calls_total{filter=\"a\",callback=\"x\"} 2"]);
    }
}
