//! Where responses are: in cells, which all workers share, which expire, and of which those go that were not used lately
//! when there is no room.
//!
//! An address has a cell that says which request headers its responses differ by (`vary`), and each variant one with the
//! response. The first also has a number that is in the name of the others: where it goes, they are found no more.

use std::time::Duration;

use tidegate_sdk::log::warn;
use tidegate_sdk::{Block, CellError, Cells};

use crate::entry::Entry;

/// The longest name of a cell, in bytes.
const LONGEST_NAME: usize = 4096;
/// How much longer an address is known than its responses.
const A_DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct Store {
    cells: Cells,
}

/// What there is for a request.
pub(crate) enum Found {
    Nothing,
    /// Responses to requests with other headers.
    OtherVariant,
    Entry(Entry, Vec<u8>),
}

/// Which request headers make a difference, under a number of its own.
struct Variants {
    number: String,
    names: Vec<String>,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store { cells: Cells::of_this_filter() }
    }

    pub(crate) fn find(&self, address: &str, request: &Block) -> Found {
        let Some(variants) = self.variants(address) else { return Found::Nothing };
        let cell = self.get(&variants.name_of(address, request));
        match cell.as_deref().and_then(Entry::read) {
            Some((entry, body)) => Found::Entry(entry, body.to_vec()),
            None => Found::OtherVariant,
        }
    }

    /// Stores a response for so long. Whether there was room for it, and it may be.
    pub(crate) fn keep(
        &self,
        address: &str,
        request: &Block,
        entry: &Entry,
        body: &[u8],
        time: Duration,
    ) -> bool {
        let vary =
            entry.fields.iter().filter(|(name, _)| name == "vary").flat_map(|(_, names)| names.split(','));
        let mut names: Vec<String> = vary.map(|name| name.trim().to_ascii_lowercase()).collect();
        names.retain(|name| !name.is_empty());
        names.sort();
        names.dedup();
        if names.iter().any(|name| name == "*") {
            return false;
        }
        let known = self.variants(address).filter(|known| known.names == names);
        let variants = known
            .unwrap_or_else(|| Variants { number: tidegate_sdk::random(0..u64::MAX).to_string(), names });
        let name = variants.name_of(address, request);
        if name.len() > LONGEST_NAME {
            return false;
        }
        let stored = self.cells.set(&name, &entry.write(body), Some(time)).and_then(|()| {
            let text = [&[variants.number][..], &variants.names[..]].concat().join("\n");
            self.cells.set(address_cell(address), text.as_bytes(), Some(time + A_DAY))
        });
        stored.inspect_err(|error| report(*error)).is_ok()
    }

    /// Nothing that is stored for an address is found any more.
    pub(crate) fn forget(&self, address: &str) {
        if let Err(error) = self.cells.delete(address_cell(address)) {
            report(error);
        }
    }

    /// Whether this is the one to renew an address: the others leave it at that for so long.
    pub(crate) fn may_renew(&self, address: &str, time: Duration) -> bool {
        self.cells.add(renewal_cell(address), 1, Some(time)).is_ok_and(|renewals| renewals.count == 1)
    }

    /// The next may.
    pub(crate) fn end_renewal(&self, address: &str) {
        if let Err(error) = self.cells.delete(renewal_cell(address)) {
            report(error);
        }
    }

    fn variants(&self, address: &str) -> Option<Variants> {
        let text = String::from_utf8(self.get(&address_cell(address))?).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some(Variants { number: lines.next()?, names: lines.collect() })
    }

    fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.cells.get(name).inspect_err(|error| report(*error)).ok()?
    }
}

impl Variants {
    /// The name of the cell with the response to such a request. Values are in it whole: a hash might be that of others.
    fn name_of(&self, address: &str, request: &Block) -> Vec<u8> {
        let mut name = format!("response\0{address}\0{}", self.number).into_bytes();
        for field in &self.names {
            name.push(0);
            for value in request.values(field) {
                name.extend_from_slice(value);
                name.push(b'\n');
            }
        }
        name
    }
}

fn address_cell(address: &str) -> Vec<u8> {
    format!("address\0{address}").into_bytes()
}

fn renewal_cell(address: &str) -> Vec<u8> {
    format!("renewal\0{address}").into_bytes()
}

fn report(error: CellError) {
    warn!("not cached: {error}");
}
