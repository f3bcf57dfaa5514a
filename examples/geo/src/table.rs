//! Which networks are where: a table of prefixes, and the longest that an address has.
//!
//! A prefix is a range of addresses, and ranges of prefixes lie within one another or apart. So the table is flat: the address at
//! which each stretch begins, in order, and the place of that stretch. Finding one is a binary search; IPv4 has its own table, of
//! six bytes a stretch, IPv6 one of eighteen.

use std::net::IpAddr;

/// The most places, `nowhere` counted in.
const MOST_PLACES: usize = 1 << 16;

/// Where networks are.
#[derive(Debug, Default)]
pub(crate) struct Table {
    v4: Stretches<u32>,
    v6: Stretches<u128>,
    /// Names of places, once each; the first is nowhere.
    places: Vec<Box<str>>,
}

/// Where each stretch begins, and its place.
#[derive(Debug, Default)]
struct Stretches<A> {
    begins: Vec<A>,
    places: Vec<u16>,
}

/// A prefix: its first address and its last, and its place.
type Range<A> = (A, A, u16);

/// An address as a number.
trait Address: Copy + Ord + Default {
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    fn next(self) -> Option<u32> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    fn next(self) -> Option<u128> {
        self.checked_add(1)
    }
}

impl Table {
    /// Reads lines of a prefix and a place with a comma between them, such as `192.0.2.0/24,DE`. Empty lines and those that begin
    /// with `#` say nothing. Of two lines with the same prefix the later counts.
    pub(crate) fn read(text: &str) -> Result<Table, String> {
        let mut table = Table { places: vec!["".into()], ..Table::default() };
        let mut known = std::collections::HashMap::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = |why: &str| format!("line {}: `{}` {why}", index + 1, line.escape_debug());
            let (prefix, place) = line.split_once(',').ok_or_else(|| at("is not PREFIX,PLACE"))?;
            let (address, length) =
                prefix.trim().split_once('/').ok_or_else(|| at("has no `/` in its prefix"))?;
            let address: IpAddr = address.parse().map_err(|_| at("does not begin with an address"))?;
            let length: u32 = length.parse().map_err(|_| at("has no number after `/`"))?;
            let place = place.trim();
            if place.is_empty() || !place.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return Err(at("has no place of letters, digits and dashes"));
            }
            let number = *known.entry(place).or_insert_with(|| {
                table.places.push(place.into());
                table.places.len() - 1
            });
            let number =
                u16::try_from(number).map_err(|_| at(&format!("is a place too many: {MOST_PLACES}")))?;
            let outside = || at("has bits of its address behind its length, or a length that is too large");
            match address {
                IpAddr::V4(address) => {
                    let (first, rest) = (u32::from(address), rest_of(length, 32).ok_or_else(outside)? as u32);
                    v4.push((first, first | rest, number));
                    (first & rest == 0).then_some(()).ok_or_else(outside)?;
                }
                IpAddr::V6(address) => {
                    let (first, rest) = (u128::from(address), rest_of(length, 128).ok_or_else(outside)?);
                    v6.push((first, first | rest, number));
                    (first & rest == 0).then_some(()).ok_or_else(outside)?;
                }
            }
        }
        (table.v4, table.v6) = (Stretches::of(v4), Stretches::of(v6));
        Ok(table)
    }

    /// The place of the longest prefix that an address has; `None` for nowhere.
    pub(crate) fn place(&self, address: IpAddr) -> Option<&str> {
        // An IPv4 address may be written as one of IPv6.
        let place = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.place(u32::from(address)),
            IpAddr::V6(address) => self.v6.place(u128::from(address)),
        };
        self.places.get(usize::from(place)).map(|place| &**place).filter(|place| !place.is_empty())
    }

    /// How many stretches there are.
    pub(crate) fn len(&self) -> usize {
        self.v4.begins.len() + self.v6.begins.len()
    }
}

/// The bits behind a prefix of this length, all set.
fn rest_of(length: u32, bits: u32) -> Option<u128> {
    match bits.checked_sub(length)? {
        128 => Some(u128::MAX),
        rest => Some((1 << rest) - 1),
    }
}

impl<A: Address> Stretches<A> {
    fn of(mut ranges: Vec<Range<A>>) -> Stretches<A> {
        // Each behind those that it lies in; the later of two that are the same counts, because sorting keeps their order.
        ranges.sort_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
        let mut stretches = Stretches { begins: Vec::new(), places: Vec::new() };
        stretches.begin(A::default(), 0);
        // The prefixes that the place lies in, the longest last.
        let mut open: Vec<Range<A>> = Vec::new();
        for range in ranges {
            stretches.close(&mut open, Some(range.0));
            stretches.begin(range.0, range.2);
            open.push(range);
        }
        stretches.close(&mut open, None);
        stretches
    }

    /// Ends the prefixes that end before an address; all of them where there is none.
    fn close(&mut self, open: &mut Vec<Range<A>>, before: Option<A>) {
        while let Some((_, last, _)) = open.pop_if(|(_, last, _)| before.is_none_or(|before| *last < before))
        {
            if let Some(next) = last.next() {
                self.begin(next, open.last().map_or(0, |(_, _, place)| *place));
            }
        }
    }

    fn begin(&mut self, at: A, place: u16) {
        if self.begins.last() == Some(&at) {
            self.begins.pop();
            self.places.pop();
        }
        if self.places.last() != Some(&place) {
            self.begins.push(at);
            self.places.push(place);
        }
    }

    fn place(&self, address: A) -> u16 {
        let behind = self.begins.partition_point(|begin| *begin <= address);
        behind.checked_sub(1).map_or(0, |index| self.places[index])
    }
}

#[cfg(test)]
mod tests;
