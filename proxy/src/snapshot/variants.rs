//! Filters as routes configure them: each is tried as what it will be, another root in an instance of its filter.

use std::collections::BTreeMap;

use super::modules::{Modules, Proved};
use super::unusable::Unusable;
use crate::config::Finding;
use crate::config::model::{Config, Isolation, Variant};
use crate::origin::Obtained;
use crate::wasm::stream::Subject;
use crate::wasm::{Plugin, Proof};

/// What came of the variants of filters, by their indices in the configuration.
#[derive(Default)]
pub(super) struct Variants {
    proved: BTreeMap<usize, Proved>,
    /// What is wrong, each with the index of the filter.
    refused: Vec<(usize, Finding)>,
}

impl Modules<'_> {
    /// Tries what routes give the filter at `index`, which has been `proved` with this module.
    pub(super) fn vary(&mut self, index: usize, proved: &Proved, module: &Obtained) {
        let mut trial = Trial { base: proved, proof: None };
        for (at, variant) in variants_of(self.config(), index) {
            let outcome = match variant.filter.isolation {
                Isolation::Exchange => self.prove(&variant.filter, module.clone(), vec![Subject::Exchange]),
                Isolation::Worker => self.try_variant(&mut trial, variant),
            };
            match outcome {
                Ok(proved) => drop(self.variants.proved.insert(at, proved)),
                Err(why) => {
                    self.variants.refused.push((index, why.found_in_variant(at, &variant.filter)));
                }
            }
        }
    }

    /// Whether none of those was refused.
    pub(super) fn has_all_variants_of(&self, index: usize) -> bool {
        self.variants.refused.iter().all(|(of, _)| *of != index)
    }

    /// The same where the filter's module is missing: nothing can be tried, nor is it called.
    pub(super) fn vary_untried(&mut self, index: usize, proved: &Proved) {
        for (at, variant) in variants_of(self.config(), index) {
            let plugin = Plugin::new(variant.filter.clone(), proved.plugin.module().clone());
            self.variants.proved.insert(at, Proved { plugin, ..proved.clone() });
        }
    }

    fn try_variant(&self, trial: &mut Trial<'_>, variant: &Variant) -> Result<Proved, Unusable> {
        let base = trial.base;
        if let Some(former) = self.former_variant(variant)
            && former.plugin.module().is(base.plugin.module())
        {
            return Ok(former.clone());
        }
        let plugin = Plugin::new(variant.filter.clone(), base.plugin.module().clone());
        let fault = |fault| Unusable::Start { origin: base.origin.clone(), fault: Box::new(fault) };
        let proof = match &mut trial.proof {
            Some(proof) => proof,
            none => none.insert(base.plugin.prove(self.services()).map_err(fault)?),
        };
        if let Err(why) = proof.add(&plugin, self.services()) {
            trial.proof = None; // the next is tried in a new one
            return Err(fault(why));
        }
        Ok(Proved { plugin, ..base.clone() })
    }

    /// The variants that will do, by their indices, and what is wrong with the others.
    pub(super) fn into_variants(self) -> (BTreeMap<usize, Proved>, impl Iterator<Item = Finding>) {
        let Variants { proved, refused } = self.variants;
        (proved, refused.into_iter().map(|(_, finding)| finding))
    }
}

/// An instance in which variants of a filter are tried one after the other, made when the first is.
struct Trial<'a> {
    base: &'a Proved,
    proof: Option<Proof>,
}

fn variants_of(config: &Config, index: usize) -> impl Iterator<Item = (usize, &Variant)> {
    config.variants.iter().enumerate().filter(move |(_, variant)| variant.of == index)
}

/// `former` with those that were `found` in their places.
pub(super) fn among(former: &[Proved], mut found: BTreeMap<usize, Proved>) -> Vec<Proved> {
    let all = former.iter().enumerate();
    all.map(|(at, former)| found.remove(&at).unwrap_or_else(|| former.clone())).collect()
}
