//! Guests that mean harm get a status or a contained fault.

use hostile::{Allocator, On, Script, run};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_guest_does_is_contained(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        run(&Script::read(&bytes));
    }
}

#[test]
fn every_allocator_is_borne_by_every_hostcall_that_gives_a_value() {
    for allocator in Allocator::ALL {
        for (name, arguments) in [
            ("proxy_get_header_map_pairs", &[0, 0x400, 0x404][..]),
            ("proxy_get_header_map_value", &[0, 0x20, 7, 0x400, 0x404]),
            ("proxy_get_buffer_bytes", &[7, 0, u64::from(u32::MAX), 0x400, 0x404]),
            ("proxy_get_property", &[0x60, 15, 0x400, 0x404]),
            ("proxy_get_status", &[0x408, 0x400, 0x404]),
        ] {
            run(&Script::new(allocator).call(On::RequestHeaders, name, arguments));
        }
    }
}

#[test]
fn a_storm_of_everything_has_an_end() {
    let script = |name: &str, arguments: &[u64]| {
        (0..60).fold(Script::new(Allocator::Bump), |script, _| {
            On::ALL.iter().fold(script, |script, on| script.call(*on, name, arguments))
        })
    };
    run(&script("proxy_log", &[5, 0, 0x1_0000]));
    run(&script("proxy_http_call", &[0x80, 3, 0xa0, 40, 0, 0x1_0000, 0, 0, 0, 0x400]));
    run(&script("proxy_send_local_response", &[403, 0, 0x1_0000, 0, 0x1_0000, 0x40, 16, 0]));
    run(&script("proxy_set_property", &[0x20, 7, 0, 0x2_0000]));
    run(&script("proxy_define_metric", &[0, 0x20, 7, 0x400]));
    run(&script("proxy_set_shared_data", &[0x20, 7, 0, 0x2_0000, 0]));
    run(&script("proxy_add_header_map_value", &[0, 0x20, 7, 0x20, 7]));
    run(&script("proxy_set_buffer_bytes", &[0, 0, 0, 0, 0x2_0000]));
    run(&script("proxy_set_tick_period_milliseconds", &[1]));
}
