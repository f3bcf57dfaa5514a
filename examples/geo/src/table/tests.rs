//! Held against looking at every prefix.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn place<'t>(table: &'t Table, address: &str) -> Option<&'t str> {
    table.place(address.parse().unwrap())
}

#[test]
fn the_longest_prefix_counts() {
    let table = Table::read(
        "# somewhere\n10.0.0.0/8,A\n10.1.0.0/16,B\n10.1.2.0/24,C\n10.1.2.3/32,D\n\n255.255.255.255/32,E\n2001:db8::/32,F\n2001:db8:1::/48,G\n0.0.0.0/32,H",
    );
    let table = table.unwrap();
    for (address, wanted) in [
        ("10.0.0.0", Some("A")),
        ("10.1.0.0", Some("B")),
        ("10.1.1.255", Some("B")),
        ("10.1.2.2", Some("C")),
        ("10.1.2.3", Some("D")),
        ("10.1.2.4", Some("C")),
        ("10.1.3.0", Some("B")),
        ("10.2.0.0", Some("A")),
        ("10.255.255.255", Some("A")),
        ("11.0.0.0", None),
        ("9.255.255.255", None),
        ("255.255.255.255", Some("E")),
        ("0.0.0.0", Some("H")),
        ("0.0.0.1", None),
        ("::ffff:10.1.2.3", Some("D")),
        ("2001:db8::1", Some("F")),
        ("2001:db8:1:ffff::", Some("G")),
        ("2001:db9::", None),
    ] {
        assert_eq!(place(&table, address), wanted, "{address}");
    }
}

#[test]
fn everything_may_be_one_place_and_the_later_of_two_lines_counts() {
    let table = Table::read("0.0.0.0/0,A\n::/0,B\n10.0.0.0/8,X\n10.0.0.0/8,Y").unwrap();
    for (address, wanted) in [("255.255.255.255", "A"), ("::", "B"), ("ffff::", "B"), ("10.0.0.0", "Y")] {
        assert_eq!(place(&table, address), Some(wanted), "{address}");
    }
    assert_eq!(place(&Table::read("").unwrap(), "10.0.0.0"), None);
}

#[test]
fn a_line_that_says_nothing_is_refused_with_its_number() {
    for (text, why) in [
        ("10.0.0.0/8", "line 1: `10.0.0.0/8` is not PREFIX,PLACE"),
        ("\n10.0.0.0,A", "line 2: `10.0.0.0,A` has no `/`"),
        ("ten/8,A", "does not begin with an address"),
        ("10.0.0.0/x,A", "has no number after `/`"),
        ("10.0.0.0/33,A", "a length that is too large"),
        ("10.0.0.1/8,A", "has bits of its address behind its length"),
        ("::1/64,A", "has bits of its address behind its length"),
        ("10.0.0.0/8,", "has no place"),
        ("10.0.0.0/8,a\tb", "has no place"),
    ] {
        let error = Table::read(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_address_is_where_the_longest_of_its_prefixes_is(
        prefixes in prop::collection::vec((any::<u8>(), 0..=8u32, "[A-E]"), 0..24),
        is_v6: bool,
    ) {
        // Prefixes of the first byte alone, so that many lie within one another.
        let line = |(byte, length, place): &(u8, u32, String)| {
            let byte = (u16::from(*byte) & (0xff00 >> length)) as u8;
            let first = match is_v6 {
                true => IpAddr::from(Ipv6Addr::from(u128::from(byte) << 120)),
                false => IpAddr::from(Ipv4Addr::from(u32::from(byte) << 24)),
            };
            format!("{first}/{length},{place}\n")
        };
        let table = Table::read(&prefixes.iter().map(line).collect::<String>()).unwrap();
        for byte in 0..=255u8 {
            let has = |(first, length, _): &&(u8, u32, String)| (byte ^ first) as u16 & (0xff00 >> length) & 0xff == 0;
            // Of those that are as long the last.
            let longest = prefixes.iter().filter(has).max_by_key(|(_, length, _)| *length);
            for rest in [0, 1, u128::MAX >> 8] {
                let address = match is_v6 {
                    true => IpAddr::from(Ipv6Addr::from(u128::from(byte) << 120 | rest)),
                    false => IpAddr::from(Ipv4Addr::from(u32::from(byte) << 24 | (rest as u32) >> 8)),
                };
                // Of another family's addresses nothing is known.
                prop_assert_eq!(table.place(address), longest.map(|(_, _, place)| place.as_str()), "{}", address);
            }
        }
    }
}
