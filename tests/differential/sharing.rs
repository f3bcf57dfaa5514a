//! Filters that share one VM, because they name one `vm_id` and run the same code.

use crate::equipment::Map::{CalloutHeaders, RequestHeaders};
use crate::equipment::{Answer, Buffer, Flow, Guest, Head, On, Step, When};

use super::Case;

/// A case with two filters that run the same module in one VM: it has one name in the log, the first filter's.
fn one_vm(name: &'static str, guest: &Guest) -> Case {
    let module = guest.clone().named("one").build();
    let shared = |config: &'static str| {
        let module = module.clone();
        move |mut filter: super::Filter| {
            filter.module = module;
            filter.vm_id = "shared".to_owned();
            filter.config = config.to_owned();
            filter.sees_ends = false;
            filter
        }
    };
    Case::new(name).filter_with("one", guest, shared("first")).filter_with("two", guest, shared("second"))
}

#[test]
fn two_filters_in_one_vm_have_a_root_each() {
    let read = || [Step::buffer(Buffer::PluginConfig), Step::property("plugin_name")];
    let guest =
        Guest::logger().on(On::Configure, read()).on(On::RequestHeaders, [Step::property("plugin_name")]);
    one_vm("two roots", &guest).run(|stage| {
        stage.request("POST", "/", &[], "body");
        stage.wait_for_guest_times("delete ctx", 2);
        stage.get("/again");
        stage.wait_for_guest_times("delete ctx", 4);
    });
}

#[test]
fn a_callout_is_answered_to_the_root_of_the_filter_that_made_it() {
    let guest = Guest::logger()
        .on(
            On::RequestHeaders,
            [Step::If(
                When::Header(RequestHeaders, "x-from", "one"),
                vec![Step::callout("side", "/two", 0), Step::Return(1)],
            )],
        )
        .on(On::RequestHeaders, [Step::add(RequestHeaders, "x-from", "one")])
        .on(
            On::CalloutResponse,
            [
                Step::get(CalloutHeaders, ":status"),
                Step::EffectiveStream,
                Step::property("plugin_name"),
                Step::Resume(Flow::Request),
            ],
        );
    let side = |_: &Head| Answer::ok("side");
    one_vm("callout of the second root", &guest).cluster("side", side).run(|stage| {
        stage.get("/");
        stage.wait_for_guest_times("delete ctx", 2);
    });
}

#[test]
fn a_filter_reads_what_another_root_of_its_vm_was_given() {
    let text = |text: &str| text.to_owned();
    let guest = Guest::logger()
        .on(On::Configure, [Step::SharedSet(text("last"), text("configured"), None)])
        .on(
            On::RequestHeaders,
            [Step::SharedGet(text("last")), Step::EffectiveContext(1), Step::property("plugin_name")],
        )
        .on(
            On::RequestHeaders,
            [Step::EffectiveContext(2), Step::property("plugin_name"), Step::EffectiveContext(77)],
        );
    one_vm("acting for another root", &guest).run(|stage| {
        stage.get("/");
        stage.wait_for_guest_times("delete ctx", 2);
    });
}
