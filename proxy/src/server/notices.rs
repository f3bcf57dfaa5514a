//! What the log says of a configuration that is served now and may not do what was meant by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::standing::Standing;
use crate::inspect::Permissions;
use crate::snapshot::Snapshot;

/// Says it, and remembers what was said where once is enough.
pub(super) struct Notices {
    standing: Arc<Standing>,
    /// For each filter what it asks for and is not granted.
    withheld: BTreeMap<String, String>,
}

impl Notices {
    /// Nothing was said yet.
    pub(super) fn new(standing: Arc<Standing>) -> Notices {
        Notices { standing, withheld: BTreeMap::new() }
    }

    /// Says what there is to say of what is served from now on.
    pub(super) fn tell(&mut self, snapshot: &Snapshot) {
        self.warn_of_what_stays(snapshot);
        self.warn_of_what_is_withheld(snapshot);
    }

    /// Some things are made once, when the process starts: for as long as the file says something else, each
    /// configuration that is read leaves them as they are.
    fn warn_of_what_stays(&self, snapshot: &Snapshot) {
        for deviation in self.standing.deviations(snapshot.config()) {
            tracing::warn!(
                field = deviation.field,
                runs = deviation.runs,
                wanted = deviation.wanted,
                "a change of this takes a restart: it stays as it was"
            );
        }
    }

    /// A filter that is denied what it looks at may let through what it is there to refuse. Said when it comes, and
    /// when it is another: what stays as it was reported is not said with each change of something else.
    fn warn_of_what_is_withheld(&mut self, snapshot: &Snapshot) {
        let all = snapshot.plugins().map(Permissions::of);
        let withheld: BTreeMap<String, String> =
            all.filter_map(|it| Some((it.filter().to_owned(), it.withheld()?))).collect();
        for (filter, what) in &withheld {
            if self.withheld.get(filter) != Some(what) {
                tracing::warn!(
                    filter,
                    withheld = what,
                    "the filter's `capabilities` do not grant all that its manifest asks for: it may not do what it is for"
                );
            }
        }
        self.withheld = withheld;
    }
}
