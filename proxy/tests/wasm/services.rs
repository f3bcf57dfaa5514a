//! Shared data, metrics, time, logs, foreign functions, and the hostcalls that are there in name only.

use std::time::Duration;

use tidegate::wasm::Effect;
use tidegate::wasm::metrics::MetricValue;
use tidegate::wasm::stream::Direction;

use crate::bench::{Bench, ROOT, WALL_SECONDS, get, logged};
use crate::guest::{Dump, Guest, OUT};

const ON: &str = "proxy_on_request_headers";

#[test]
fn shared_data_is_written_if_nobody_wrote_in_between() {
    let mut guest = Guest::new();
    let (key, one, two) = (guest.text("key"), guest.text("one"), guest.text("two"));
    let mut set = |value: (i64, i64), cas| {
        guest.call(ON, "proxy_set_shared_data", &[key.0, key.1, value.0, value.1, cas])
    };
    let first = set(one, 0);
    let wrong = set(two, 999_999);
    let read = guest.call(ON, "proxy_get_shared_data", &[key.0, key.1, OUT, OUT + 4, OUT + 8]);
    let missing = guest.call(ON, "proxy_get_shared_data", &[key.0, 1, OUT + 16, OUT + 20, OUT + 24]);
    let bad = guest.call(ON, "proxy_get_shared_data", &[key.0, key.1, OUT + 16, OUT + 20, 0xffff_fff0]);
    let bench = Bench::new();
    let (_vm, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses([first, wrong, read, missing, bad]), [0, 8, 0, 1, 6]);
    assert_eq!(dump.value(OUT), b"one");
    assert_ne!(dump.word(OUT + 8), 0);

    let mut reader = Guest::new();
    let key = reader.text("key");
    let read = reader.call(ON, "proxy_get_shared_data", &[key.0, key.1, OUT, OUT + 4, OUT + 8]);
    let (_, _, seen) = bench.on_request_headers(&reader);
    assert_eq!(
        (seen.status(read), seen.value(OUT)),
        (0, &b"one"[..]),
        "another instance of that vm_id sees it"
    );
}

#[test]
fn shared_data_has_a_quota() {
    let mut bench = Bench::new();
    bench.filter.limits.shared_data = 100;
    let mut guest = Guest::new();
    let slot = guest.call(ON, "proxy_set_shared_data", &[0, 3, 0, 200, 0]);
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.status(slot), 10);
}

#[test]
fn each_metric_does_what_its_type_can() {
    let mut guest = Guest::new();
    let names = [guest.text("c"), guest.text("g"), guest.text("h")];
    for (kind, name) in names.iter().enumerate() {
        let kind = kind as i64;
        guest.call("proxy_on_configure", "proxy_define_metric", &[kind, name.0, name.1, OUT + 4 * kind]);
    }
    let (counter, gauge, histogram) = (4, 5, 6);
    let mut call = |name, args: &[i64]| guest.call(ON, name, args);
    let slots = [
        call("proxy_increment_metric", &[counter, 2]),
        call("proxy_increment_metric", &[counter, 0]),
        call("proxy_increment_metric", &[counter, -1]),
        call("proxy_record_metric", &[counter, 3]),
        call("proxy_increment_metric", &[gauge, 7]),
        call("proxy_increment_metric", &[gauge, -2]),
        call("proxy_get_metric", &[gauge, OUT + 24]),
        call("proxy_increment_metric", &[gauge, i64::MIN]),
        call("proxy_increment_metric", &[histogram, 1]),
        call("proxy_record_metric", &[histogram, 30]),
        call("proxy_get_metric", &[histogram, OUT + 16]),
        call("proxy_get_metric", &[counter, OUT + 16]),
        call("proxy_get_metric", &[0, OUT + 16]),
        call("proxy_get_metric", &[8, OUT + 16]),
        call("proxy_get_metric", &[7, OUT + 16]),
        call("proxy_record_metric", &[0xffff_ffff, 1]),
        call("proxy_increment_metric", &[0xffff_fffc, 1]),
        call("proxy_get_metric", &[counter, 0x1_fffc]),
        call("proxy_define_metric", &[3, 16, 4, OUT + 32]),
        call("proxy_define_metric", &[0, 16, 0, OUT + 32]),
        call("proxy_define_metric", &[0, 16, 4, 0xffff_fff0]),
    ];
    let bench = Bench::new();
    let (_, _, dump) = bench.on_request_headers(&guest);
    let expected = [0, 2, 2, 0, 0, 0, 0, 0, 2, 0, 2, 0, 1, 1, 1, 1, 1, 6, 2, 2, 6];
    assert_eq!(dump.statuses(slots), expected);
    assert_eq!([OUT, OUT + 4, OUT + 8].map(|at| dump.word(at)), [4, 5, 6]);
    assert_eq!((dump.double_word(OUT + 16), dump.double_word(OUT + 24)), (5, 5));
    let values: Vec<_> =
        bench.services.metrics.collect().iter().map(|stat| (stat.name().to_owned(), stat.value())).collect();
    assert_eq!(values[0], ("c".to_owned(), MetricValue::Counter(5)));
    assert_eq!(values[1], ("g".to_owned(), MetricValue::Gauge(0)), "it does not go below 0");
    assert!(matches!(values[2].1, MetricValue::Histogram { sum: 30, .. }));
}

#[test]
fn a_metric_that_is_defined_again_is_the_same_and_there_is_a_quota() {
    let mut bench = Bench::new();
    bench.filter.limits.metrics = 1;
    let mut guest = Guest::new();
    let (one, two) = (guest.text("one"), guest.text("two"));
    let slots = [
        guest.call(ON, "proxy_define_metric", &[0, one.0, one.1, OUT]),
        guest.call(ON, "proxy_define_metric", &[0, one.0, one.1, OUT + 4]),
        guest.call(ON, "proxy_define_metric", &[0, two.0, two.1, OUT + 8]),
    ];
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 0, 10]);
    assert_eq!(dump.word(OUT), dump.word(OUT + 4));
}

#[test]
fn the_last_tick_period_counts_and_0_stops() {
    let mut guest = Guest::new();
    guest.call("proxy_on_configure", "proxy_set_tick_period_milliseconds", &[5]);
    guest.call("proxy_on_configure", "proxy_set_tick_period_milliseconds", &[70]);
    guest.call("proxy_on_tick", "proxy_set_tick_period_milliseconds", &[0]);
    let mut vm = Bench::new().start(&guest);
    let first = vm.take_effects();
    assert!(
        matches!(first[..], [(ROOT, Effect::SetTick(Some(period)))] if period == Duration::from_millis(70))
    );
    vm.on_tick(ROOT).expect("nothing fails");
    assert!(matches!(vm.take_effects()[..], [(ROOT, Effect::SetTick(None))]));
}

#[test]
fn the_time_is_the_clocks() {
    let bench = Bench::new();
    bench.clock.advance(Duration::from_nanos(3));
    let mut guest = Guest::new();
    guest.call(ON, "proxy_get_current_time_nanoseconds", &[OUT]);
    let bad = guest.call(ON, "proxy_get_current_time_nanoseconds", &[0x1_fffc]);
    let (_, _, dump) = bench.on_request_headers(&guest);
    assert_eq!(dump.double_word(OUT), WALL_SECONDS * 1_000_000_000 + 3);
    assert_eq!(dump.status(bad), 6);
}

#[test]
fn a_line_is_logged_whole_with_its_level_and_the_filters_name() {
    let mut guest = Guest::new();
    let line = guest.text("quote \" and \u{e4} tail");
    for level in 0..=6 {
        guest.call(ON, "proxy_log", &[level, line.0, line.1]);
    }
    let broken = guest.text(b"a\xffb");
    guest.call(ON, "proxy_log", &[2, broken.0, broken.1]);
    let lines = logged(|| drop(Bench::new().on_request_headers(&guest)));
    let text = "tidegate::guest: quote \" and \u{e4} tail filter=\"tested\"";
    let mut expected: Vec<String> =
        ["DEBUG", "INFO", "WARN", "ERROR", "ERROR"].map(|level| format!("{level} {text}")).into();
    expected.push("INFO tidegate::guest: a\u{fffd}b filter=\"tested\"".to_owned());
    assert_eq!(lines, expected, "`trace` is off, and 6 is no level");
}

#[test]
fn a_filter_that_logs_too_much_is_cut_and_the_cut_is_counted() {
    let mut bench = Bench::new();
    bench.filter.limits.log_bytes = 10;
    let mut guest = Guest::new();
    let line = guest.text("12345");
    for _ in 0..5 {
        guest.call(ON, "proxy_log", &[2, line.0, line.1]);
    }
    let mut vm = bench.start(&guest);
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    let first = logged(|| drop(vm.on_headers(context, Direction::Request, true)));
    assert_eq!((first.len(), bench.services.usage.log_lines_dropped()), (2, 3));
    bench.clock.advance(Duration::from_secs(1));
    let second = logged(|| drop(vm.on_headers(context, Direction::Request, true)));
    assert_eq!(second.len(), 3, "two lines, and one that says how many were dropped: {second:?}");
    assert!(second[0].contains("lines=3"), "{second:?}");
}

#[test]
fn an_unknown_foreign_function_is_not_found() {
    let mut guest = Guest::new();
    let (known, clear, unknown) =
        (guest.text("get_log_level"), guest.text("clear_route_cache"), guest.text("nope"));
    let call = "proxy_call_foreign_function";
    let slots = [
        guest.call(ON, call, &[known.0, known.1, 0, 0, OUT, OUT + 4]),
        guest.call(ON, call, &[known.0, known.1, 0, 0, 0, 0]),
        guest.call(ON, call, &[clear.0, clear.1, 0, 0, 0, 0]),
        guest.call(ON, call, &[unknown.0, unknown.1, 0, 0, 0, 0]),
        guest.call(ON, "proxy_get_log_level", &[OUT + 8]),
    ];
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0, 0, 0, 1, 0]);
    assert_eq!(dump.value(OUT).len(), 4);
    assert!(dump.word(OUT + 8) <= 5);
    assert!(stream.borrow().route_stale);
}

#[test]
fn what_has_nothing_to_do_answers_what_sdks_can_name() {
    let mut guest = Guest::new();
    let slots = [guest.call(ON, "proxy_done", &[]), guest.call(ON, "pthread_equal", &[3, 3])];
    guest.call(ON, "emscripten_notify_memory_growth", &[0]);
    let (_, stream, _) = Bench::new().on_request_headers(&guest);
    assert_eq!(Dump::of(&stream).statuses(slots), [1, 1]);
}

/// Calls a foreign function, and says where its answer goes.
fn foreign(guest: &mut Guest, name: &str, arguments: &[u8], out: i64) -> usize {
    let (name, arguments) = (guest.text(name), guest.text(arguments));
    guest.call(ON, "proxy_call_foreign_function", &[name.0, name.1, arguments.0, arguments.1, out, out + 4])
}

#[test]
fn a_timeout_is_extended_by_what_guests_ask_for_together_up_to_an_hour() {
    let extended = |asked: &[Duration]| {
        let mut guest = Guest::new();
        for by in asked {
            let nanoseconds = by.as_nanos() as u64;
            foreign(&mut guest, "tidegate.timeout.extend", &nanoseconds.to_le_bytes(), OUT);
        }
        let (_, stream, _) = Bench::new().on_request_headers(&guest);
        stream.borrow().timeout_extension
    };
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    assert_eq!(extended(&[minutes(10), minutes(20)]), minutes(30));
    assert_eq!(extended(&[minutes(50), minutes(20)]), minutes(60));
    assert_eq!(extended(&[Duration::from_nanos(u64::MAX), minutes(1)]), minutes(60));

    let mut guest = Guest::new();
    let slot = foreign(&mut guest, "tidegate.timeout.extend", b"short", OUT);
    let (_, stream, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!((dump.statuses([slot]), stream.borrow().timeout_extension), ([2], Duration::ZERO));
}

/// The arguments of a bucket of two tokens, one for each 2^30 nanoseconds.
fn bucket(cost: u32) -> Vec<u8> {
    let numbers = [cost, 2, 1].map(u32::to_le_bytes).concat();
    [&numbers[..], &(1u64 << 30).to_le_bytes(), b"client"].concat()
}

#[test]
fn a_bucket_is_shared_by_workers_and_fills_with_time() {
    let mut guest = Guest::new();
    foreign(&mut guest, "tidegate.bucket.take", &bucket(1), OUT);
    let bench = Bench::new();
    let mut workers = [bench.start(&guest), bench.start(&guest)];
    let mut take = |worker: usize| {
        let stream = get("/");
        let context = workers[worker].open(ROOT, &stream, 0).expect("nothing fails");
        workers[worker].on_headers(context, Direction::Request, true).expect("nothing fails");
        let dump = Dump::of(&stream);
        let answer = dump.value(OUT);
        let number = |range: std::ops::Range<usize>| {
            answer[range].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        (number(0..8), number(8..16), number(16..20))
    };
    let each = 1 << 30;
    assert_eq!(take(0), (0, each, 1));
    assert_eq!(take(1), (0, 2 * each, 0));
    assert_eq!(take(0), (each, 2 * each, 0));
    bench.clock.advance(Duration::from_nanos(each));
    assert_eq!(take(1), (0, 2 * each, 0));
    assert_eq!(take(0), (each, 2 * each, 0));
}

#[test]
fn counters_and_values_answer_in_numbers_and_bytes() {
    let ttl = 1u64 << 30;
    let add = |delta: u64| [&delta.to_le_bytes()[..], &ttl.to_le_bytes(), b"count"].concat();
    let set = [&ttl.to_le_bytes()[..], &3u32.to_le_bytes(), b"keyvalue"].concat();
    let mut guest = Guest::new();
    let slots = [
        foreign(&mut guest, "tidegate.counter.add", &add(5), OUT),
        foreign(&mut guest, "tidegate.counter.add", &add(2), OUT + 8),
        foreign(&mut guest, "tidegate.kv.get", b"key", OUT + 16),
        foreign(&mut guest, "tidegate.kv.set", &set, OUT + 24),
        foreign(&mut guest, "tidegate.kv.get", b"key", OUT + 32),
        foreign(&mut guest, "tidegate.kv.delete", b"key", OUT + 40),
        foreign(&mut guest, "tidegate.kv.delete", b"key", OUT + 48),
    ];
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [0; 7]);
    let expires = ttl.to_le_bytes();
    assert_eq!(dump.value(OUT), [&5u64.to_le_bytes()[..], &expires].concat());
    assert_eq!(dump.value(OUT + 8), [&7u64.to_le_bytes()[..], &expires].concat());
    assert_eq!((dump.word(OUT + 16), dump.word(OUT + 20)), (0, 0), "there is none yet");
    assert_eq!(dump.value(OUT + 32), b"\x01value");
    assert_eq!((dump.value(OUT + 40), dump.value(OUT + 48)), (&[1][..], &[0][..]));
}

#[test]
fn arguments_of_no_use_are_refused_before_anything_is_done() {
    let mut guest = Guest::new();
    let no_tokens = [0u32.to_le_bytes(), [2, 0, 0, 0], [0; 4], [1, 0, 0, 0], [0; 4]].concat();
    let long_key = [&[0; 8][..], &9u32.to_le_bytes(), b"key"].concat();
    let other_kind = [&[1][..], &[0; 15], b"client"].concat();
    let slots = [
        foreign(&mut guest, "tidegate.bucket.take", &bucket(1)[..19], OUT),
        foreign(&mut guest, "tidegate.bucket.take", &no_tokens, OUT),
        foreign(&mut guest, "tidegate.counter.add", &[0; 15], OUT),
        foreign(&mut guest, "tidegate.kv.set", &long_key, OUT),
        foreign(&mut guest, "tidegate.bucket.take", &bucket(2), 0xffff_fff0),
        foreign(&mut guest, "tidegate.bucket.take", &bucket(2), OUT),
        foreign(&mut guest, "tidegate.counter.add", &other_kind, OUT + 8),
        foreign(&mut guest, "tidegate.bucket.retake", &bucket(2), OUT),
    ];
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    assert_eq!(dump.statuses(slots), [2, 2, 2, 2, 6, 0, 2, 1]);
    assert_eq!(dump.value(OUT)[..8], [0; 8], "the call before, whose answer had no place, took nothing");
}

#[test]
fn cells_have_a_limit_and_a_filter_that_may_have_none_finds_none() {
    for (limit, status) in [(0, 1), (1, 10)] {
        let mut bench = Bench::new();
        bench.filter.limits.cells = limit;
        let mut guest = Guest::new();
        let slot = foreign(&mut guest, "tidegate.bucket.take", &bucket(1), OUT);
        let (_, _, dump) = bench.on_request_headers(&guest);
        assert_eq!(dump.status(slot), status, "{limit} bytes");
    }
}

#[test]
fn what_higress_has_beside_the_abi_links_and_redis_says_that_it_is_not_offered() {
    let mut guest = Guest::new();
    guest.marker = "proxy_abi_version_0_2_100";
    let (pointer, len) = guest.text("redis.local");
    let text = [pointer, len];
    let statuses = [
        guest.call(ON, "proxy_redis_init", &[&text[..], &text, &text, &[1000]].concat()),
        guest.call(ON, "proxy_redis_call", &[&text[..], &text, &[OUT]].concat()),
        guest.call(ON, "proxy_inject_encoded_data_to_filter_chain", &[&text[..], &[1]].concat()),
        guest.call(ON, "proxy_get_upstream_hosts", &[OUT, OUT + 4]),
        guest.call(ON, "proxy_set_upstream_override_host", &text),
        guest.call(ON, "proxy_redis_call", &[&text[..], &text, &[0xffff_fffc]].concat()),
    ];
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    // The exchange has no response yet, and no cluster; a name is no endpoint.
    assert_eq!(dump.statuses(statuses), [10, 10, 2, 1, 2, 6]);
}
