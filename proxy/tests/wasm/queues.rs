//! Shared queues: who finds them, who is told, what they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};

use tidegate::wasm::stream::Direction;
use tidegate::wasm::{Effect, Inbox, Vm};

use crate::bench::{Bench, ROOT, get, logged};
use crate::guest::{Allocator, Dump, Guest, OUT};

const ON: &str = "proxy_on_request_headers";
const REGISTER: &str = "proxy_register_shared_queue";
const RESOLVE: &str = "proxy_resolve_shared_queue";
const ENQUEUE: &str = "proxy_enqueue_shared_queue";
const DEQUEUE: &str = "proxy_dequeue_shared_queue";

/// The first queue's id.
const JOBS: i64 = 1;

/// A guest that registers `jobs` when it is configured and logs each notification.
fn registrant() -> Guest {
    let mut guest = Guest::new();
    let (jobs, told) = (guest.text("jobs"), guest.text("told"));
    guest.call("proxy_on_configure", REGISTER, &[jobs.0, jobs.1, OUT]);
    guest.call("proxy_on_queue_ready", "proxy_log", &[2, told.0, told.1]);
    guest
}

/// A guest that puts an item in on each request.
fn producer() -> Guest {
    let mut guest = Guest::new();
    let item = guest.text("item");
    guest.call(ON, ENQUEUE, &[JOBS, item.0, item.1]);
    guest
}

/// Sends a request through a guest, and says what its calls answered.
fn request(vm: &mut Vm) -> Dump {
    let stream = get("/");
    let context = vm.open(ROOT, &stream, 0).expect("nothing fails");
    vm.on_headers(context, Direction::Request, true).expect("nothing fails");
    Dump::of(&stream)
}

fn inbox(vm: &mut Vm) -> Arc<Inbox> {
    match vm.take_effects().as_slice() {
        [(ROOT, Effect::WatchQueues(inbox))] => inbox.clone(),
        other => panic!("a watch over its queues is asked for once: {other:?}"),
    }
}

/// How often a guest is told of an item until there is nothing more.
fn tell(vm: &mut Vm) -> usize {
    std::iter::repeat_with(|| vm.on_queue_ready(ROOT).expect("nothing fails"))
        .take_while(|told| *told)
        .count()
}

#[test]
fn every_call_answers_what_the_sdks_know() {
    let mut guest = Guest::new();
    let (jobs, other, vm, bytes) =
        (guest.text("jobs"), guest.text("other"), guest.text("the-vm"), guest.text(b"\xff"));
    let mut call = |name, args: &[i64]| guest.call(ON, name, args);
    let slots = [
        call(RESOLVE, &[0, 0, jobs.0, jobs.1, OUT]),
        call(REGISTER, &[jobs.0, jobs.1, 0xffff_fff0]),
        call(REGISTER, &[jobs.0, jobs.1, OUT]),
        call(REGISTER, &[other.0, other.1, OUT + 4]),
        call(REGISTER, &[jobs.0, jobs.1, OUT + 8]),
        call(RESOLVE, &[0, 0, other.0, other.1, OUT + 12]),
        call(RESOLVE, &[vm.0, vm.1, jobs.0, jobs.1, OUT + 16]),
        call(RESOLVE, &[bytes.0, bytes.1, jobs.0, jobs.1, OUT + 20]),
        call(RESOLVE, &[0, 0, jobs.0, jobs.1, 0x1_fffd]),
        call(DEQUEUE, &[JOBS, OUT + 24, OUT + 28]),
        call(ENQUEUE, &[JOBS, other.0, other.1]),
        call(ENQUEUE, &[JOBS, 0, 0]),
        call(ENQUEUE, &[JOBS, 0x1_fff0, 0x20]),
        call(ENQUEUE, &[0, other.0, other.1]),
        call(ENQUEUE, &[3, other.0, other.1]),
        call(DEQUEUE, &[3, OUT + 24, OUT + 28]),
        call(DEQUEUE, &[JOBS, 0x1_fffd, OUT + 28]),
        call(DEQUEUE, &[JOBS, OUT + 24, OUT + 28]),
        call(DEQUEUE, &[JOBS, OUT + 32, OUT + 36]),
        call(DEQUEUE, &[JOBS, OUT + 40, OUT + 44]),
    ];
    let (_, _, dump) = Bench::new().on_request_headers(&guest);
    let expected = [1, 6, 0, 0, 0, 0, 0, 1, 6, 7, 0, 0, 6, 1, 1, 1, 6, 0, 0, 7];
    assert_eq!(dump.statuses(slots), expected);
    assert_eq!([0, 4, 8, 12, 16].map(|at| dump.word(OUT + at)), [1, 2, 1, 2, 1]);
    assert_eq!(dump.value(OUT + 24), b"other");
    assert_eq!((dump.word(OUT + 32), dump.word(OUT + 36)), (0, 0), "an empty item needs no block");
}

#[test]
fn an_item_that_the_guest_has_no_room_for_stays_where_it_is() {
    let bench = Bench::new();
    let mut registrant = bench.start(&registrant());
    request(&mut bench.start(&producer()));
    for allocator in [Allocator::Fixed(0), Allocator::Fixed(0xffff_0000), Allocator::Bump] {
        let mut guest = Guest::new();
        guest.allocator = allocator;
        let slot = guest.call(ON, DEQUEUE, &[JOBS, OUT, OUT + 4]);
        let dump = request(&mut bench.start(&guest));
        match allocator {
            Allocator::Bump => assert_eq!((dump.status(slot), dump.value(OUT)), (0, &b"item"[..])),
            _ => assert_eq!(dump.status(slot), 6),
        }
    }
    assert_eq!(tell(&mut registrant), 1);
}

#[test]
fn the_instance_that_registered_last_is_told_once_for_each_item_and_after_its_own_call() {
    let bench = Bench::new();
    let mut guest = registrant();
    let item = guest.text("item");
    guest.call(ON, ENQUEUE, &[JOBS, item.0, item.1]);
    let (mut first, mut second) = (bench.start(&guest), bench.start(&guest));
    let inboxes = [inbox(&mut first), inbox(&mut second)];
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut is_ready = |at: usize| inboxes[at].poll_ready(&mut context).is_ready();
    assert_eq!([is_ready(0), is_ready(1)], [false, false]);
    let lines = logged(|| {
        request(&mut first);
        request(&mut second);
    });
    assert_eq!(lines, [""; 0], "no guest is called within a call");
    assert_eq!([is_ready(0), is_ready(1)], [false, true]);
    let lines = logged(|| {
        assert_eq!((tell(&mut first), tell(&mut second)), (0, 2));
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(!is_ready(1));
}

#[test]
fn a_queue_outlives_its_registrant_and_goes_with_the_last_instance_of_its_vm_id() {
    let bench = Bench::new();
    let registering = registrant();
    let mut registrant = bench.start(&registering);
    let inbox = inbox(&mut registrant);
    let mut producing = bench.start(&producer());
    drop(registrant);
    assert_eq!(request(&mut producing).status(0), 0);
    assert!(
        inbox.poll_ready(&mut Context::from_waker(std::task::Waker::noop())).is_ready(),
        "while it is held"
    );
    drop(inbox);
    assert_eq!(request(&mut producing).status(0), 0, "with nobody to tell");
    let mut next = bench.start(&registering);
    assert_eq!(tell(&mut next), 0);
    request(&mut producing);
    assert_eq!(tell(&mut next), 1);

    drop((next, producing));
    assert_eq!(request(&mut bench.start(&producer())).status(0), 1, "its id names nothing any more");
}

#[test]
fn a_stranger_finds_a_queue_by_its_vm_id_and_its_items_are_told_of() {
    let mut bench = Bench::new();
    let mut registrant = bench.start(&registrant());
    bench.filter.vm_id = "another".to_owned();
    let mut stranger = producer();
    let (vm, jobs) = (stranger.text("the-vm"), stranger.text("jobs"));
    let own = stranger.call(ON, RESOLVE, &[0, 0, jobs.0, jobs.1, OUT]);
    let found = stranger.call(ON, RESOLVE, &[vm.0, vm.1, jobs.0, jobs.1, OUT]);
    let (_vm, _, dump) = bench.on_request_headers(&stranger);
    assert_eq!((dump.statuses([own, found]), dump.word(OUT)), ([1, 0], JOBS as u32));
    assert_eq!(tell(&mut registrant), 1);
}

#[test]
fn a_queue_holds_what_its_registrant_lets_it_and_the_log_says_when_it_is_full() {
    let mut bench = Bench::new();
    bench.filter.limits.queue = 2 * (64 + 4);
    let _registrant = bench.start(&registrant());
    bench.filter.limits.queue = 1 << 20;
    let mut producing = bench.start(&producer());
    assert_eq!([0; 2].map(|_| request(&mut producing).status(0)), [0, 0]);
    let lines = logged(|| assert_eq!(request(&mut producing).status(0), 10));
    assert!(lines[0].contains("WARN tidegate::guest: the shared queue 1 is full (limits.queue"), "{lines:?}");
}

#[test]
fn a_proof_registers_nothing() {
    let bench = Bench::new();
    // It keeps whatever is registered in its `vm_id`.
    let mut producing = bench.start(&producer());
    bench.plugin(&registrant()).prove(&bench.services).expect("nothing fails");
    assert_eq!(request(&mut producing).status(0), 1);
}

struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn whoever_waits_is_woken_from_any_thread_and_no_item_is_lost_or_told_of_twice() {
    const ITEMS: usize = 200;
    let bench = Bench::new();
    let mut registrant = bench.start(&registrant());
    let inbox = inbox(&mut registrant);
    let alarm = Arc::new(Alarm(AtomicUsize::new(0)));
    let waker = alarm.clone().into();
    assert_eq!(inbox.poll_ready(&mut Context::from_waker(&waker)), Poll::Pending);
    let plugin = bench.plugin(&producer());
    let mut told = 0;
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut vm = plugin.start(bench.services.clone()).expect("nothing fails");
                    (0..ITEMS).for_each(|_| assert_eq!(request(&mut vm).status(0), 0));
                })
            })
            .collect();
        while producers.iter().any(|producer| !producer.is_finished()) {
            told += tell(&mut registrant);
        }
    });
    told += tell(&mut registrant);
    assert_eq!(told, 2 * ITEMS);
    assert_eq!(alarm.0.load(Ordering::SeqCst), 1, "once for each time that somebody waited");
}
