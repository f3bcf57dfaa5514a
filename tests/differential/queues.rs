//! Shared queues.

use crate::equipment::{Guest, On, Step, When};

use super::{Case, Filter};

fn text(text: &str) -> String {
    text.to_owned()
}

fn register(name: &str) -> Step {
    Step::RegisterQueue(text(name), 0)
}

fn resolve(vm: &str, name: &str) -> Step {
    Step::ResolveQueue(text(vm), text(name), 1)
}

fn vm(id: &'static str) -> impl Fn(Filter) -> Filter {
    move |mut filter| {
        filter.vm_id = id.to_owned();
        filter
    }
}

#[test]
fn each_item_is_told_of_once_and_taken_out_in_order() {
    let guest = Guest::logger()
        .on(On::Configure, [resolve("", "jobs"), register("jobs"), resolve("", "jobs"), Step::Dequeue(0)])
        .on(
            On::RequestHeaders,
            [
                resolve("", "no such queue"),
                resolve("no such vm", "jobs"),
                Step::Enqueue(0, text("one")),
                Step::Enqueue(1, text("two")),
                Step::Enqueue(0, text("")),
                Step::Enqueue(9, text("to nobody")),
                Step::Dequeue(9),
            ],
        )
        .on(On::QueueReady, [Step::Dequeue(0), Step::If(When::Call(3), vec![Step::Dequeue(0)])]);
    Case::new("queue").filter_with("queue", &guest, vm("queues")).run(|stage| {
        stage.get("/");
        stage.wait_for_guest_times("queue_ready", 3);
    });
}

#[test]
fn an_item_that_is_gone_is_told_of_all_the_same() {
    let guest = Guest::logger()
        .on(On::Configure, [register("jobs")])
        .on(On::RequestHeaders, [Step::Enqueue(0, text("taken at once")), Step::Dequeue(0)])
        .on(On::QueueReady, [Step::Dequeue(0)]);
    Case::new("queue empty").filter("queue", &guest).run(|stage| {
        stage.get("/");
        stage.wait_for_guest("queue_ready");
    });
}

#[test]
fn queues_are_their_vms_own_and_found_by_others_under_its_name() {
    let registrant = Guest::logger().on(On::Configure, [register("jobs")]);
    let registrant = registrant.on(On::QueueReady, [Step::Dequeue(0)]);
    let stranger = Guest::logger().on(
        On::RequestHeaders,
        [resolve("", "jobs"), resolve("one", "jobs"), Step::Enqueue(1, text("from another vm"))],
    );
    Case::new("queue across vms")
        .filter_with("registrant", &registrant, vm("one"))
        .filter_with("stranger", &stranger, vm("two"))
        .run(|stage| {
            stage.get("/");
            stage.wait_for_guest("queue_ready");
        });
}

#[test]
fn a_queue_that_is_registered_again_keeps_its_items_and_tells_the_newest() {
    let first = Guest::logger()
        .on(On::Configure, [register("jobs")])
        .on(On::RequestHeaders, [Step::Enqueue(0, text("kept"))]);
    let second = Guest::logger()
        .on(On::RequestHeaders, [register("jobs"), Step::Enqueue(0, text("more"))])
        .on(On::QueueReady, [Step::Dequeue(0), Step::Dequeue(0)]);
    Case::new("queue registered again")
        .filter_with("first", &first, vm("one"))
        .filter_with("second", &second, vm("one"))
        .run(|stage| {
            stage.get("/");
            stage.wait_for_guest_times("queue_ready", 2);
        });
}
