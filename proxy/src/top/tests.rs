//! What is shown, drawn on a terminal that is a grid of letters.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::column::{bytes, name, number};
use super::costs::{Costs, State};
use super::screen::Screen;
use super::source::Source;
use super::text;
use crate::telemetry::metrics::{CallbackOverview, FilterOverview, Overview};

fn source() -> Source {
    Source::new("127.0.0.1:9901")
}

/// So many requests, each of which cost the filter the same, in a callback of each direction.
fn filter(requests: u64, microseconds: u64) -> FilterOverview {
    let callback = |share: f64| CallbackOverview {
        calls: requests,
        instructions: (requests as f64 * 4000.0 * share) as u64,
        time_seconds: (requests * microseconds) as f64 * share / 1e6,
        hostcalls: requests * 3,
        bytes_in: requests * 100,
        bytes_out: requests * 20,
    };
    FilterOverview {
        workers: 2,
        instances: 2,
        memory_bytes: 5 << 20,
        callbacks: [("on_request_headers".to_owned(), callback(0.75)), ("on_log".to_owned(), callback(0.25))]
            .into(),
        ..FilterOverview::default()
    }
}

/// A proxy that has run for so long.
fn proxy(uptime_seconds: f64, filters: &[(&str, FilterOverview)]) -> Overview {
    Overview {
        version: "1.2.3".to_owned(),
        start_time_seconds: 1.7e9,
        uptime_seconds,
        workers: 2,
        config_generation: 3,
        config_last_reload_successful: true,
        requests: (uptime_seconds * 1000.0) as u64,
        active_requests: 7,
        active_connections: 40,
        filters: filters.iter().map(|(name, filter)| ((*name).to_owned(), filter.clone())).collect(),
    }
}

#[test]
fn the_page_of_costs_names_every_field_that_is_printed_as_json() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/costs.md");
    let page = std::fs::read_to_string(page).expect("there is a page");
    let (page, _) = page.split_once("## The page /filters").expect("it has both parts");
    let shown = serde_json::to_value(Costs::between(&earlier(), &now())).expect("it is JSON");
    let filter = &shown["filters"][0];
    let objects = [&shown, filter, &filter["callbacks"]["on_log"]];
    for (field, _) in objects.into_iter().flat_map(|object| object.as_object().expect("it is one")) {
        assert!(page.contains(&format!("| `{field}` |")), "the page does not say what `{field}` is");
    }
}

#[test]
fn one_of_a_kind_is_not_many() {
    let alone = Overview { workers: 1, active_connections: 1, ..now() };
    let said = text::traffic(&alone, &Costs::between(&earlier(), &alone));
    assert!(said.starts_with("1 worker, ") && said.contains(", 1 connection, "), "{said}");
}

fn earlier() -> Overview {
    proxy(90.0, &[("auth", filter(1000, 10)), ("limits", filter(1000, 40)), ("gone", filter(9, 1))])
}

fn now() -> Overview {
    let failing = FilterOverview { faults: [("trap".to_owned(), 2)].into(), ..filter(3000, 10) };
    let limited = FilterOverview { rate_limited: [("exchange".to_owned(), 1500)].into(), ..filter(2000, 40) };
    let gone = FilterOverview { workers: 0, instances: 0, memory_bytes: 0, ..filter(9, 1) };
    proxy(92.0, &[("auth", failing), ("limits", limited), ("gone", gone)])
}

fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("letters can be drawn");
    terminal.draw(|frame| screen.draw(frame)).expect("letters can be drawn");
    let buffer = terminal.backend().buffer();
    let line =
        |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

fn check(screen: &mut Screen, width: u16, height: u16, expected: Expect) {
    expected.assert_eq(&drawn(screen, width, height));
}

fn press(screen: &mut Screen, keys: &[KeyCode]) -> bool {
    keys.iter().any(|key| screen.press(KeyEvent::new(*key, KeyModifiers::NONE)))
}

fn seeing() -> Screen {
    let mut screen = Screen::new(source());
    screen.see(earlier());
    screen.see(now());
    screen
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let costs = Costs::between(&earlier(), &now());
    assert_eq!((costs.seconds, costs.requests_per_second, costs.restarted), (2.0, 1000.0, false));
    let [auth, limits] = &costs.filters[..] else { panic!("one is gone: {:?}", costs.filters) };
    assert_eq!(
        (auth.state, auth.faults, limits.state, limits.rate_limited),
        (State::Failing, 2, State::RateLimited, 1500)
    );
    assert_eq!(auth.exchanges_per_second, 1000.0);
    assert!(auth.microseconds_per_exchange.is_some_and(|each| (each - 10.0).abs() < 1e-9));
    assert!((auth.total.cpu - 0.01).abs() < 1e-9 && (limits.total.cpu - 0.02).abs() < 1e-9);
    assert_eq!(auth.total.instructions_per_second, 4_000_000.0);
    assert_eq!(auth.callbacks["on_log"].instructions_per_second, 1_000_000.0);
    assert_eq!((auth.total.hostcalls_per_second, auth.total.bytes_per_second()), (6000.0, 240_000.0));
}

#[test]
fn a_filters_state_is_the_worst_that_is_so() {
    let of = |change: fn(&mut FilterOverview)| {
        let mut now = filter(2000, 10);
        change(&mut now);
        let (before, now) = (proxy(90.0, &[("f", filter(1000, 10))]), proxy(92.0, &[("f", now)]));
        Costs::between(&before, &now).filters[0].state
    };
    let failed = |now: &mut FilterOverview| now.faults = [("trap".to_owned(), 1)].into();
    assert_eq!(of(|_| ()), State::Ok);
    assert_eq!(of(|now| now.workers = 0), State::Ok, "a proxy that does not say how many workers");
    assert_eq!(of(|now| (now.workers, now.instances) = (0, 0)), State::Gone);
    assert_eq!(of(|now| now.rate_limited = [("exchange".to_owned(), 1)].into()), State::RateLimited);
    assert_eq!(of(failed), State::Failing);
    assert_eq!(of(|now| now.instances = 0), State::Failing, "it has none since it failed");
    assert_eq!(of(|now| now.instances = 1), State::Ok, "another worker has one");
    assert_eq!(of(|now| (now.breakers_open, now.instances) = (1, 0)), State::BreakerOpen);
    assert_eq!(of(|now| (now.breakers_open, now.module_missing) = (1, true)), State::Missing);
}

#[test]
fn a_proxy_that_was_started_again_is_measured_from_its_beginning() {
    let again = Overview { start_time_seconds: 1.8e9, ..proxy(4.0, &[("auth", filter(2000, 10))]) };
    let costs = Costs::between(&now(), &again);
    assert!(costs.restarted);
    assert_eq!((costs.seconds, costs.filters[0].exchanges_per_second), (4.0, 500.0));
}

#[test]
fn a_filter_that_came_with_a_reload_is_measured_from_nothing_and_counts_never_go_back() {
    let came = proxy(92.0, &[("new", filter(100, 10))]);
    assert_eq!(Costs::between(&earlier(), &came).filters[0].exchanges_per_second, 50.0);
    let costs = Costs::between(&now(), &proxy(94.0, &[("auth", filter(1, 1))]));
    assert_eq!(costs.filters[0].total.cpu, 0.0);
    let at_once = Costs::between(&now(), &now());
    assert_eq!((at_once.requests_per_second, at_once.filters[0].total.cpu), (0.0, 0.0), "{at_once:?}");
}

#[test]
fn a_page_of_another_version_is_read_as_far_as_it_is_known() {
    let page = r#"{"uptime_seconds": 5, "new": {"a": 1}, "filters": {"f": {"callbacks": {"on_tick": {"calls": 2, "x": 1}}}}}"#;
    let overview: Overview = serde_json::from_str(page).expect("what is not there is zero");
    assert_eq!(overview.filters["f"].callbacks["on_tick"].calls, 2);
}

#[test]
fn the_filters_that_take_the_most_time_come_first() {
    check(
        &mut seeing(),
        100,
        8,
        expect![[r#"
            tidegate 1.2.3 at 127.0.0.1:9901, up 1m 32s, generation 3
            2 workers, 1.0k requests/s, 7 in flight, 40 connections, filters take 3.0% of a core

            FILTER   CPU%  µs/EXCH  EXCH/S  INSTR/S    STATE   MEMORY  FAULTS  LIMITED  HOST/S  COPIED/S
            limits    2.0       40     500     2.0M  limited     5.0M       0     1.5k    3.0k    117.2K
            auth      1.0     10.0    1.0k     4.0M  failing     5.0M       2        0    6.0k    234.4K

            q quit  ↑↓ pick  Enter callbacks  ←→ sort  r reverse  Space stop  ? keys
        "#]],
    );
}

#[test]
fn where_there_is_little_room_the_last_columns_are_left_out() {
    let mut screen = seeing();
    check(
        &mut screen,
        30,
        6,
        expect![[r#"
        tidegate 1.2.3 at 127.0.0.1:99
        2 workers, 1.0k requests/s, 7

        FILTER   CPU%  µs/EXCH  EXCH/S
        limits    2.0       40     500
        q quit  ↑↓ pick  Enter callbac
    "#]],
    );
    for (width, height) in [(1, 1), (5, 3), (20, 2), (300, 1)] {
        drawn(&mut screen, width, height);
        press(&mut screen, &[KeyCode::Char('?')]);
        drawn(&mut screen, width, height);
    }
}

#[test]
fn keys_sort_and_pick_and_open() {
    let mut screen = seeing();
    let first = |screen: &mut Screen| drawn(screen, 60, 8).lines().nth(4).unwrap_or_default().to_owned();
    assert!(first(&mut screen).starts_with("limits"));
    press(&mut screen, &[KeyCode::Char('r')]);
    assert!(first(&mut screen).starts_with("auth"));
    press(&mut screen, &[KeyCode::Char('N'), KeyCode::Char('P')]);
    assert!(first(&mut screen).starts_with("limits"), "the order is not reversed any more");
    press(&mut screen, &[KeyCode::Right, KeyCode::Right]); // exchanges a second
    assert!(first(&mut screen).starts_with("auth"));
    press(&mut screen, &[KeyCode::Left; 9]);
    assert!(first(&mut screen).starts_with("auth"), "by name, and no further");
    press(&mut screen, &[KeyCode::Down, KeyCode::Down, KeyCode::Down]);
    drawn(&mut screen, 60, 8);
    press(&mut screen, &[KeyCode::Enter]);
    check(
        &mut screen,
        80,
        11,
        expect![[r#"
        tidegate 1.2.3 at 127.0.0.1:9901, up 1m 32s, generation 3
        2 workers, 1.0k requests/s, 7 in flight, 40 connections, filters take 3.0% of a

        filter limits
        faults: none; made anew: 0; log lines dropped: 0
        kept from it over its rate: 1500 exchange

        CALLBACK             CPU%  µs/CALL  CALLS/S  INSTR/S  HOST/S     IN/S    OUT/S
        on_request_headers    1.5       30      500     1.5M    1.5k    48.8K     9.8K
        on_log                0.5       10      500   500.0k    1.5k    48.8K     9.8K
        q quit  Esc back  ←→ sort  r reverse  Space stop  ? keys
    "#]],
    );
    press(&mut screen, &[KeyCode::Esc]);
    assert!(first(&mut screen).starts_with("auth"));
    assert!(press(&mut screen, &[KeyCode::Char('q')]));
    assert!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    assert!(!press(&mut screen, &[KeyCode::Char('c'), KeyCode::Char('x')]));
}

#[test]
fn a_filter_that_is_not_called_is_said_to_be_and_why() {
    let looks = |change: fn(&mut FilterOverview)| {
        let mut now = filter(2000, 10);
        change(&mut now);
        let mut screen = Screen::new(source());
        screen.see(proxy(90.0, &[("f", filter(1000, 10))]));
        screen.see(proxy(92.0, &[("f", now)]));
        let listed = drawn(&mut screen, 60, 8);
        press(&mut screen, &[KeyCode::Enter]);
        (listed, drawn(&mut screen, 60, 8))
    };
    let (listed, opened) = looks(|now| now.breakers_open = 1);
    assert!(listed.contains(" breaker"), "{listed}");
    assert!(opened.contains("filter f: left alone by 1 of 2 workers\n"), "{opened}");
    let (listed, opened) = looks(|now| now.module_missing = true);
    assert!(listed.contains(" missing"), "{listed}");
    assert!(opened.contains("filter f: its module is missing\n"), "{opened}");
    assert!(looks(|_| ()).1.contains("filter f\n"));
}

#[test]
fn the_list_of_keys_goes_with_the_next_key() {
    let mut screen = seeing();
    press(&mut screen, &[KeyCode::Char('?')]);
    check(
        &mut screen,
        60,
        14,
        expect![[r#"
        tidegate 1.2.3 at 127.0.0.1:9901, up 1m 32s, generation 3
        2 workers, 1.0k requests/s, 7 in flight, 40 connections, fil
               ┌ keys ──────────────────────────────────────┐
        FILTER │ q  Ctrl-C   quit                           │MORY
        limits │ ↑ ↓  k j    pick a filter                  │5.0M
        auth   │ Enter       its callbacks; Esc goes back   │5.0M
               │ ← →  < >    sort by another column         │
               │ P  M  N     sort by time, memory, name     │
               │ r           reverse the order              │
               │ Space       stop the picture, and go on    │
               │ ?  h        this list                      │
               └────────────────────────────────────────────┘

        q quit  ↑↓ pick  Enter callbacks  ←→ sort  r reverse  Space
    "#]],
    );
    press(&mut screen, &[KeyCode::Down]);
    assert!(!drawn(&mut screen, 60, 14).contains("Ctrl-C"));
}

#[test]
fn a_proxy_that_does_not_answer_is_said_to_and_its_last_numbers_stay() {
    let mut screen = seeing();
    screen.miss("no admin listener answers at 127.0.0.1:9901: connection refused");
    let gone = drawn(&mut screen, 100, 8);
    assert!(gone.contains("connection refused; asking again") && gone.contains("limits"), "{gone}");
    screen.see(now());
    assert!(!drawn(&mut screen, 100, 8).contains("refused"));

    let mut never = Screen::new(source());
    assert!(drawn(&mut never, 100, 8).contains("measuring"));
    never.miss("nobody");
    assert!(drawn(&mut never, 100, 8).contains("nobody; asking again"));
}

#[test]
fn a_picture_that_is_stopped_does_not_change() {
    let mut screen = seeing();
    press(&mut screen, &[KeyCode::Char(' ')]);
    let stopped = drawn(&mut screen, 100, 8);
    assert!(stopped.contains("STOPPED"));
    screen.see(proxy(100.0, &[]));
    assert_eq!(drawn(&mut screen, 100, 8), stopped);
    press(&mut screen, &[KeyCode::Char(' ')]);
    screen.see(proxy(101.0, &[]));
    assert!(drawn(&mut screen, 100, 8).contains("no filters are in use"));
}

#[test]
fn plain_lines_say_the_same() {
    let (before, now) = (earlier(), now());
    expect![[r#"
        tidegate 1.2.3 at 127.0.0.1:9901, up 1m 32s, generation 3
        2 workers, 1.0k requests/s, 7 in flight, 40 connections, filters take 3.0% of a core

        FILTER   CPU%  µs/EXCH  EXCH/S  INSTR/S    STATE   MEMORY  FAULTS  LIMITED  HOST/S  COPIED/S
        limits    2.0       40     500     2.0M  limited     5.0M       0     1.5k    3.0k    117.2K
        auth      1.0     10.0    1.0k     4.0M  failing     5.0M       2        0    6.0k    234.4K
    "#]]
    .assert_eq(&text::page(&source(), &now, &Costs::between(&before, &now)));
    let none = Overview { config_last_reload_successful: false, workers: 1, ..proxy(90_061.0, &[]) };
    expect![[r#"
        tidegate 1.2.3 at 127.0.0.1:9901, up 1d 1h, generation 3 (the last reload failed)
        1 worker, 0 requests/s, 7 in flight, 40 connections, filters take 0.0% of a core

        no filters are in use
    "#]]
    .assert_eq(&text::page(&source(), &none, &Costs::between(&none, &none)));
}

#[test]
fn numbers_have_five_letters_at_most() {
    let shown =
        [0.0, 0.25, 7.0, 99.94, 99.96, 950.0, 999.9, 1000.0, 12_345.0, 999_960.0, 4e6, 3e12].map(number);
    assert_eq!(
        shown,
        ["0", "0.2", "7", "99.9", "100", "950", "1.0k", "1.0k", "12.3k", "1.0M", "4.0M", "3.0T"]
    );
    assert_eq!([1023.0, 1024.0, 16_777_216.0].map(bytes), ["1023", "1.0K", "16.0M"]);
}

#[test]
fn a_name_cannot_move_the_cursor_nor_take_the_whole_line() {
    assert_eq!(name("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    assert_eq!(name(&"n".repeat(600)).chars().count(), 40);
    let odd: BTreeMap<_, _> = [("\u{1b}[2J".to_owned(), filter(1, 1))].into();
    let mut screen = Screen::new(source());
    screen.see(Overview { filters: odd.clone(), ..earlier() });
    screen.see(Overview { filters: odd, ..now() });
    assert!(!drawn(&mut screen, 100, 8).contains('\u{1b}'));
}
