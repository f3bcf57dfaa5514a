//! Shared queues across workers.

use crate::equipment::{Guest, On, Proxy, Step, Upstream, When, eventually, forwarding, in_listener};

/// How many lines of the guests are this one.
fn count(proxy: &Proxy, what: &str) -> usize {
    proxy.guest_log().iter().filter(|(_, line)| line.starts_with(what)).count()
}

#[test]
fn what_one_worker_puts_in_wakes_the_registrant_on_the_other_once_for_each_item() {
    let upstream = Upstream::ok("hello");
    // Each worker has an instance, so `first` is said by as many as have served.
    let first = |what: &str| Step::If(When::Call(1), vec![Step::say(what)]);
    let guest = Guest::logger()
        .on(On::Configure, [Step::RegisterQueue("jobs".to_owned(), 0)])
        .on(On::RequestHeaders, [first("serves"), Step::Enqueue(0, "item".to_owned())])
        .on(On::QueueReady, [first("is told"), Step::Dequeue(0)]);
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [queue]"]);
    let proxy = Proxy::with(&format!("{config}filters:\n  queue: {{module: ./queue.wasm}}\n"))
        .file("queue.wasm", guest.build())
        .workers(2)
        .start();
    let mut requests = 0;
    eventually("a request on each worker", || {
        requests += 1;
        assert_eq!(proxy.client().get("/").text(), "hello");
        (count(&proxy, "serves") == 2 && requests >= 20).then_some(())
    });
    eventually("the registrant to be told", || (count(&proxy, "queue_ready") >= requests).then_some(()));
    proxy.settle();
    assert_eq!(count(&proxy, "  enqueue 0 item -> 0"), requests);
    assert_eq!(count(&proxy, "queue_ready"), requests, "once for each item");
    assert_eq!(count(&proxy, "  dequeue 0 -> 0 item"), requests, "and each is there");
    assert_eq!(count(&proxy, "is told"), 1, "nobody is told but the newest registrant");
}

#[test]
fn a_registrant_that_failed_is_not_told_and_its_items_are_kept_for_the_next() {
    let upstream = Upstream::ok("hello");
    let worker = Guest::logger()
        .on(On::Configure, [Step::RegisterQueue("jobs".to_owned(), 0), Step::Dequeue(0)])
        .on(On::QueueReady, [Step::Trap]);
    let producer = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::ResolveQueue(String::new(), "jobs".to_owned(), 0),
            Step::Enqueue(0, "first".to_owned()),
            Step::Enqueue(0, "second".to_owned()),
        ],
    );
    let chain = [("producer", &producer, ""), ("worker", &worker, ", on_fault: open")];
    let proxy = super::filters::with_filters(&upstream, &chain);
    assert_eq!(proxy.client().get("/").text(), "hello");
    proxy.wait_for_metric("tidegate_filter_faults_total", &[("filter", "worker"), ("kind", "trap")], 1.0);
    eventually("the filter to be made anew", || {
        proxy.client().get("/");
        (count(&proxy, "  dequeue 0 -> 0 first") == 1).then_some(())
    });
}
