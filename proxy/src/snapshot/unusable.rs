//! Why a filter cannot be served, and what to do about it.

use super::trust::Untrusted;
use crate::config::model::{Filter, ModuleSource};
use crate::config::{Finding, Part};
use crate::origin::Unobtainable;
use crate::wasm::stream::Subject;
use crate::wasm::{Fault, FaultKind, LoadError, NoImage};

/// Why a filter cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// Its module cannot be had.
    #[error(transparent)]
    Unobtainable(#[from] Unobtainable),
    /// Its module is not to be trusted.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Its module cannot be a filter.
    #[error("{origin}: {source}")]
    Load { origin: String, source: LoadError },
    /// It does not start, or refuses its configuration.
    #[error("{origin}: {}", .fault.message)]
    Start { origin: String, fault: Box<Fault> },
    /// No instances for single exchanges can be made of it.
    #[error("{origin}: {source}")]
    NoImage { origin: String, source: NoImage },
    /// It is to be allowed what its module asks for, and that does not say.
    #[error("{origin}: {reason}")]
    NoManifest { origin: String, reason: String },
    /// It is in a chain, and fails when it is to make a context for an exchange or a connection.
    #[error("{origin}: the filter makes no contexts for {}: {}", plural(*.subject), .fault.message)]
    NoContexts { origin: String, subject: Subject, fault: Box<Fault> },
}

fn plural(subject: Subject) -> &'static str {
    match subject {
        Subject::Exchange => "exchanges",
        Subject::Connection => "connections",
    }
}

impl Unusable {
    /// The finding for the filter at `index`.
    pub(super) fn found(self, index: usize, filter: &Filter) -> Finding {
        let part = match &self {
            Unusable::Start { fault, .. } if fault.kind == FaultKind::Configure => Part::FilterConfig(index),
            _ => Part::FilterModule(index),
        };
        Finding { part, message: format!("filter `{}`: {self}", filter.name), hint: Some(self.hint(filter)) }
    }

    /// The finding for what routes give a filter, which is `config.variants[variant]`.
    pub(super) fn found_in_variant(self, variant: usize, filter: &Filter) -> Finding {
        let message = format!("filter `{}` on this route: {self}", filter.name);
        Finding { part: Part::VariantConfig(variant), message, hint: Some(self.hint(filter)) }
    }

    /// Whether the module's bytes or its signatures are what is wrong, so that others would do.
    pub(super) fn is_of_the_module(&self) -> bool {
        match self {
            Unusable::Untrusted(_) | Unusable::Load { .. } | Unusable::NoManifest { .. } => true,
            Unusable::Unobtainable(_)
            | Unusable::Start { .. }
            | Unusable::NoImage { .. }
            | Unusable::NoContexts { .. } => false,
        }
    }

    fn hint(&self, filter: &Filter) -> String {
        let is_fetched = matches!(filter.module, ModuleSource::Remote(_));
        let hint = match self {
            Unusable::Unobtainable(why) => return why.hint(),
            Unusable::Untrusted(why) => why.hint(),
            Unusable::NoManifest { .. } => {
                "name what it may do in `capabilities`, or build the module with a manifest"
            }
            Unusable::Load { source: LoadError::Empty | LoadError::NotWasm(_), .. } if is_fetched => {
                "it was fetched, and is what the server answers: is the address right, and does it want `credentials`?"
            }
            Unusable::Load { .. } if is_fetched => {
                "it was fetched: download it, and `tidegate filter inspect FILE` says all that is wrong with it"
            }
            Unusable::Load { .. } => "`tidegate filter inspect FILE` says all that is wrong with a module",
            Unusable::NoImage { .. } => "`isolation: worker` takes any module",
            Unusable::Start { fault, .. } => match fault.kind {
                FaultKind::Configure => "the filter refuses its `config`",
                FaultKind::Memory => {
                    "the filter needs more than `limits.memory` to start: raise it, or have the linker give the module \
                     less, such as a smaller stack"
                }
                FaultKind::Instructions => {
                    "the filter needs more than `limits.instructions` to start: raise it"
                }
                FaultKind::WallClock => "the filter needs more than `limits.wall_clock` to start: raise it",
                _ => "the filter does not start; what it logged above may say why",
            },
            Unusable::NoContexts { fault, .. } => match fault.kind {
                FaultKind::Memory => "the filter needs more than `limits.memory` for a context: raise it",
                FaultKind::Instructions => {
                    "the filter needs more than `limits.instructions` for a context: raise it"
                }
                FaultKind::WallClock => {
                    "the filter needs more than `limits.wall_clock` for a context: raise it"
                }
                _ => {
                    "a filter of a chain has to make a context for each exchange (`create_http_context` and `get_type` \
                     in the Rust SDK); one for the background alone cannot be in a chain"
                }
            },
        };
        hint.to_owned()
    }
}
