//! Checks mirrors.

use super::super::bounds;
use super::super::decode::{Field, OneOrMany};
use super::super::model::Mirror;
use super::super::raw;
use super::{Checker, Unique, items};

impl Checker<'_> {
    pub(super) fn mirrors(&self, field: Field<OneOrMany<raw::Mirror>>) -> Vec<Mirror> {
        let mut twice = Unique::new(self.log);
        let mut mirrors = Vec::new();
        let list = field.value().map_or_else(Vec::new, |OneOrMany(list)| list);
        if let Some(one) = list.get(bounds::MAX_MIRRORS).and_then(Field::span) {
            self.log.error(one, format!("a route has at most {} mirrors", bounds::MAX_MIRRORS));
        }
        for mirror in items(list) {
            let Some(cluster) = self.required(mirror.value.cluster, "cluster", mirror.span) else { continue };
            let Some(index) = self.cluster_index(&cluster) else { continue };
            twice.take(index, cluster.span, || format!("`{}` is a mirror twice", cluster.value));
            mirrors.push(Mirror {
                cluster: index,
                percent: self.number(mirror.value.percent, bounds::MIRROR_PERCENT),
                mark_host: mirror.value.mark_host.value().unwrap_or(true),
            });
        }
        mirrors
    }
}
