//! How much a filter may run in all.

use std::time::Duration;

use tidegate_test::{Callback, Failure, Kit, Module, Outcome, Request, Seen, Setup};

/// The filter that spends, which may run so many instructions in a second.
fn spender(per_second: u64) -> Setup {
    let text = std::fs::read_to_string("tests/guests/spender.wat").expect("a guest can be read");
    let module = Module::bytes("spender", &wat::parse_str(text).expect("it is a module"));
    Kit::of(&module).limits(|limits| limits.instructions_per_second = Some(per_second))
}

/// What a request costs that goes through the filter.
fn price() -> u64 {
    spender(1_000_000_000).start().send(Request::get("/")).instructions()
}

fn get(kit: &Kit) -> Seen {
    kit.send(Request::get("/"))
}

fn lines(kit: &Kit, text: &str) -> usize {
    kit.logs().iter().filter(|line| line.text == text).count()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_filter_runs_as_much_as_its_rate_allows_and_what_begins_beyond_it_is_answered_503() {
    let kit = spender(price() * 3).start();
    for _ in 0..3 {
        assert_eq!(get(&kit).status(), 200);
    }
    let refused = get(&kit);
    assert_eq!((refused.status(), refused.outcome()), (503, Outcome::Failed(Failure::FilterOverRate)));
    assert_eq!((refused.details(), refused.instructions()), ("filter_over_rate", 0));
    assert!(!refused.was_forwarded() && kit.faults().is_empty());

    kit.advance(333 * MS); // a third of a second is a request's worth: it ran on the first instruction of it
    assert_eq!([get(&kit).status(), get(&kit).status()], [200, 503]);
    assert_eq!(lines(&kit, "end"), 4, "it logs what it took part in, and nothing else");
}

#[test]
fn under_the_open_policy_an_exchange_goes_on_without_a_filter_that_is_over_its_rate() {
    let kit = spender(price()).open_on_fault().start();
    assert_eq!(get(&kit).calls(Callback::RequestHeaders), 1);
    let without = get(&kit);
    assert_eq!((without.status(), without.outcome()), (200, Outcome::Answered));
    assert!(without.was_forwarded() && without.logs().is_empty(), "{:?}", without.logs());
    kit.advance(1000 * MS);
    assert_eq!(get(&kit).calls(Callback::RequestHeaders), 1, "it was not made anew, nor forgotten");
}

#[test]
fn an_exchange_that_a_filter_has_seen_the_beginning_of_is_not_kept_from_it() {
    let kit = spender(price() / 2).start();
    let mut first = kit.open(Request::post("/").open_ended());
    assert_eq!(get(&kit).status(), 503, "that was more than a second's worth");
    assert_eq!(lines(&kit, "response"), 0);
    first.end_request();
    let seen = first.finish();
    assert_eq!((seen.status(), lines(&kit, "response"), lines(&kit, "end")), (200, 1, 1));
}

#[test]
fn a_call_that_takes_more_than_there_is_is_paid_back_before_the_next() {
    let kit = spender(price() / 4).start();
    assert_eq!(get(&kit).status(), 200, "a rate that is less than a call is no reason not to begin");
    kit.advance(2900 * MS);
    assert_eq!(get(&kit).status(), 503);
    kit.advance(200 * MS);
    assert_eq!(get(&kit).status(), 200);
}

#[test]
fn ticks_that_come_while_a_filter_is_over_its_rate_are_left_out() {
    let kit = spender(price() / 4).start();
    get(&kit);
    kit.advance(3500 * MS);
    assert_eq!(lines(&kit, "tick"), 0, "three came while it owed");
    kit.advance(1000 * MS);
    assert_eq!(lines(&kit, "tick"), 1);
}

#[test]
fn items_of_a_queue_wait_while_a_filter_is_over_its_rate() {
    let kit = spender(price() / 4).start();
    get(&kit);
    kit.enqueue("jobs", "one");
    kit.advance(2900 * MS);
    assert_eq!(lines(&kit, "item"), 0);
    kit.advance(200 * MS);
    assert_eq!(lines(&kit, "item"), 1, "nothing has to come to wake it");
}

#[test]
fn each_worker_has_the_rate_for_itself() {
    let kit = spender(price()).workers(2).start();
    let status = |worker| kit.send(Request::get("/").on_worker(worker)).status();
    assert_eq!([status(0), status(0), status(1), status(1)], [200, 503, 200, 503]);
}
