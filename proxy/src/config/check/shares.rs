//! Checks which clusters requests and connections are shared out to.

use std::collections::BTreeMap;

use super::super::bounds;
use super::super::decode::{Field, Located, Map, Short};
use super::super::model::{MetadataMatch, Share};
use super::super::raw;
use super::super::scalar::{Count, Text};
use super::super::source::Span;
use super::{Checker, entries, items};

/// What there is to say of a share: its weight, and the metadata of the endpoints that it is for.
type Said = (Option<Located<Text<Count>>>, Field<Map<String, String>>);

impl Checker<'_> {
    /// The clusters of a TCP listener by index and what each gets.
    pub(super) fn shares(
        &self,
        one: Field<String>,
        several: Field<Map<String, Text<Count>>>,
    ) -> Vec<(usize, u32)> {
        if let Some(one) = one.given() {
            return self.cluster_index(&one).map(|index| (index, 1)).into_iter().collect();
        }
        let Some(several) = several.given() else { return Vec::new() };
        let span = several.span;
        self.refuse_none(several.value.0.is_empty(), span);
        let mut shares = Vec::new();
        for (name, weight) in entries(Field::Given(several)) {
            let index = self.cluster_index(&name);
            let weight = weight.given().map(|weight| self.in_range(weight, bounds::WEIGHT));
            if let (Some(index), Some(Count(weight))) = (index, weight) {
                shares.push((index, u32::try_from(weight).unwrap_or(u32::MAX)));
            }
        }
        self.check_sum(shares.iter().map(|&(_, weight)| weight), span);
        shares
    }

    /// The clusters of a route, and what each gets. `wanted` is what the route says of their endpoints.
    pub(super) fn shares_of_route(
        &self,
        one: Field<String>,
        several: Field<raw::Shares>,
        wanted: &BTreeMap<String, String>,
    ) -> Vec<Share> {
        if let Some(one) = one.given() {
            let metadata_match = (!wanted.is_empty()).then(|| MetadataMatch::new(wanted));
            let cluster = self.cluster_index(&one);
            return cluster.map(|cluster| Share { cluster, weight: 1, metadata_match }).into_iter().collect();
        }
        let Some(Located { value: several, span }) = several.given() else { return Vec::new() };
        let mut shares = Vec::new();
        for (name, (weight, metadata)) in self.said(several, span) {
            let cluster = self.cluster_index(&name);
            let weight = weight.map(|weight| self.in_range(weight, bounds::WEIGHT));
            let mut all = wanted.clone();
            all.extend(self.metadata(metadata));
            let metadata_match = (!all.is_empty()).then(|| MetadataMatch::new(&all));
            if let (Some(cluster), Some(Count(weight))) = (cluster, weight) {
                shares.push(Share {
                    cluster,
                    weight: u32::try_from(weight).unwrap_or(u32::MAX),
                    metadata_match,
                });
            }
        }
        self.check_sum(shares.iter().map(|share| share.weight), span);
        shares
    }

    fn said(&self, shares: raw::Shares, span: Span) -> Vec<(Located<String>, Said)> {
        match shares {
            raw::Shares::Map(map) => {
                self.refuse_none(map.0.is_empty(), span);
                let all = entries(Field::Given(Located { value: map, span })).into_iter();
                let share = |(name, share): (Located<String>, Field<Short<Count, raw::Share>>)| {
                    // What is wrong with it was recorded; its name may be wrong too.
                    let Some(Located { value, span }) = share.given() else {
                        return (name, (None, Field::Absent));
                    };
                    let said = match value {
                        Short::Scalar(weight) => (Some(Located { value: Text(weight), span }), Field::Absent),
                        Short::Fields(share) => {
                            (self.required(share.weight, "weight", span), share.metadata_match)
                        }
                    };
                    (name, said)
                };
                all.map(share).collect()
            }
            raw::Shares::List(list) => {
                self.refuse_none(list.is_empty(), span);
                let share = |Located { value: share, span }: Located<raw::NamedShare>| {
                    let name = self.required(share.cluster, "cluster", span);
                    let weight = self.required(share.weight, "weight", span);
                    Some((name?, (weight, share.metadata_match)))
                };
                items(list).filter_map(share).collect()
            }
        }
    }

    fn refuse_none(&self, is_empty: bool, span: Span) {
        if is_empty {
            self.log.error(span, "`clusters` names no cluster");
        }
    }

    fn check_sum(&self, weights: impl Iterator<Item = u32>, span: Span) {
        let sum: u64 = weights.map(u64::from).sum();
        if sum > u64::from(u32::MAX) {
            self.log.error_with_hint(
                span,
                "the weights are too large together",
                "their sum is less than 2^32",
            );
        }
    }
}
