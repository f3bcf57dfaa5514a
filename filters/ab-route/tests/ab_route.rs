//! The built filter on the real host: what requests get, what is sent to the shadow, and what it costs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test::{Answer, Callback, Kit, Module, Outcome, Request, Response, Seen, Setup};

fn filter(config: Value) -> Setup {
    Kit::of(&Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter")).config(config)
}

/// One experiment by `x-user`, half and half; `more` are fields of it.
fn halves(more: Value) -> Value {
    let mut experiment = json!({
        "name": "checkout",
        "subject": ["header:x-user"],
        "variants": [{"name": "control", "weight": 1}, {"name": "blue", "weight": 1, "cluster": "api-blue"}],
    });
    let fields = experiment.as_object_mut().expect("it is an object");
    fields.extend(more.as_object().expect("fields").clone());
    json!({"experiments": [experiment]})
}

fn user(name: impl ToString) -> Request {
    Request::get("/").header("x-user", name.to_string())
}

/// The variant that the upstream was told.
fn variant(seen: &Seen) -> Option<&str> {
    seen.forwarded().header("x-variant-checkout")
}

/// The first user that gets this variant in halves.
fn someone_with(wanted: &str) -> String {
    let kit = filter(halves(json!({}))).start();
    let gets = |name: &String| variant(&kit.send(user(name))) == Some(wanted);
    (0..100).map(|number| number.to_string()).find(gets).expect("half of all users get it")
}

#[test]
fn a_variant_is_told_to_routes_and_upstream_and_counted() {
    let kit = filter(halves(json!({}))).start();
    let mut counts = BTreeMap::from([("control", 0), ("blue", 0)]);
    for number in 0..40 {
        let seen = kit.send(user(number));
        let variant = variant(&seen).expect("it takes part").to_owned();
        let cluster = (variant == "blue").then_some("api-blue");
        assert_eq!(seen.forwarded().header("x-ab-cluster"), cluster);
        assert!(seen.was_rerouted());
        *counts.get_mut(variant.as_str()).expect("one of the two") += 1;
    }
    for (variant, count) in counts {
        let name = format!("ab_route_exposures{{experiment=\"checkout\",variant=\"{variant}\"}}");
        assert_eq!(kit.counter(&name), count, "{variant}");
        assert!(count > 5, "{count} of 40 users got {variant}");
    }
}

#[test]
fn every_proxy_gives_a_user_the_same_variant() {
    let (one, other) =
        (filter(halves(json!({}))).workers(2).start(), filter(halves(json!({}))).seed(7).start());
    for number in 0..100 {
        let first = one.send(user(number));
        assert_eq!(variant(&first), variant(&one.send(user(number).on_worker(1))), "another worker");
        assert_eq!(variant(&first), variant(&other.send(user(number))), "another proxy");
    }
}

#[test]
fn nobody_takes_part_who_has_no_subject_and_gets_no_cookie() {
    let kit = filter(halves(json!({}))).start();
    let seen = kit.send(Request::get("/"));
    assert_eq!(variant(&seen), None);
    assert!(!seen.was_rerouted() && seen.header("set-cookie").is_none());
    assert_eq!(kit.counter("ab_route_exposures{experiment=\"checkout\",variant=\"control\"}"), 0);
}

#[test]
fn a_cohort_is_written_in_the_words_of_all_filters() {
    let cohort = json!([{"match": {"headers": {"x-country": {"glob": "{de,at}", "ignore_case": true}}}}]);
    let kit = filter(halves(json!({"cohort": cohort}))).start();
    let from = |country: &str| kit.send(user("ann").header("x-country", country));
    assert!(variant(&from("DE")).is_some());
    assert_eq!(variant(&from("fr")), None);
}

#[test]
fn what_clients_say_about_variants_and_clusters_is_not_believed() {
    let kit = filter(halves(json!({"cohort": [{"match": {"path": {"prefix": "/shop"}}}]}))).start();
    let spoofed = |target| {
        let request = Request::get(target).header("x-user", someone_with("control"));
        request.header("x-variant-checkout", "blue").header("x-ab-cluster", "api-admin")
    };
    let outside = kit.send(spoofed("/"));
    assert_eq!((variant(&outside), outside.forwarded().header("x-ab-cluster")), (None, None));
    assert!(outside.was_rerouted(), "the route was chosen for what it is not");
    let inside = kit.send(spoofed("/shop"));
    assert_eq!((variant(&inside), inside.forwarded().header("x-ab-cluster")), (Some("control"), None));
    let values = inside.forwarded().headers().get_all("x-variant-checkout").iter().count();
    assert_eq!(values, 1);
}

#[test]
fn a_stranger_gets_a_cookie_by_which_it_keeps_its_variant() {
    let mut config = halves(json!({}));
    config["cookie"] = json!({"name": "who", "max_age": "30d"});
    let kit = filter(config).workers(2).start();
    let mut met = BTreeMap::new();
    for _ in 0..20 {
        let first = kit.send(Request::get("/"));
        let set = first.header("set-cookie").expect("it has none").to_owned();
        let (pair, attributes) = set.split_once("; ").expect("attributes follow");
        assert_eq!(attributes, "Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Lax");
        assert!(met.insert(pair.to_owned(), ()).is_none(), "{pair} was given before");
        let second = kit.send(Request::get("/").header("cookie", format!("a=b; {pair}")).on_worker(1));
        assert_eq!(second.header("set-cookie"), None);
        assert_eq!(variant(&second), variant(&first));
    }
}

#[test]
fn a_known_user_gets_no_cookie() {
    let mut config = halves(json!({}));
    config["cookie"] = json!({});
    let kit = filter(config).start();
    assert_eq!(kit.send(user("ann")).header("set-cookie"), None);
}

#[test]
fn chance_decides_for_each_request_where_that_is_wanted() {
    let kit = filter(halves(json!({"subject": [], "without_subject": "chance"}))).start();
    let blue = (0..2000).filter(|_| variant(&kit.send(Request::get("/"))) == Some("blue")).count();
    assert!(blue.abs_diff(1000) < 150, "{blue} of 2000 got half");
}

#[test]
fn a_variant_is_forced_only_by_those_who_may() {
    let mut config = halves(json!({}));
    config["force"] =
        json!({"match": {"client": ["10.0.0.0/8"], "headers": {"x-tester": {"present": true}}}});
    let kit = filter(config).start();
    let wish = |wish: &str| {
        Request::get("/")
            .header("x-user", someone_with("control"))
            .header("x-ab-force", wish)
            .header("x-tester", "1")
    };
    let may = kit.send(wish("search=new, checkout = blue").client("10.1.2.3:1"));
    assert_eq!((variant(&may), may.forwarded().header("x-ab-cluster")), (Some("blue"), Some("api-blue")));
    assert_eq!(kit.counter("ab_route_forced{experiment=\"checkout\",variant=\"blue\"}"), 1);
    assert_eq!(kit.counter("ab_route_exposures{experiment=\"checkout\",variant=\"blue\"}"), 0);
    let may_not = kit.send(wish("checkout=blue").client("192.0.2.1:1"));
    assert_eq!((variant(&may_not), may_not.forwarded().header("x-ab-force")), (Some("control"), None));
    let unknown = kit.send(wish("checkout=green").client("10.1.2.3:1"));
    assert_eq!(variant(&unknown), Some("control"), "there is no such variant");
}

#[test]
fn nobody_forces_a_variant_where_that_is_not_configured() {
    let kit = filter(halves(json!({}))).start();
    let seen = kit.send(user(someone_with("control")).header("x-ab-force", "checkout=blue"));
    assert_eq!(variant(&seen), Some("control"));
}

#[test]
fn the_response_says_the_variant_where_that_is_wanted() {
    let kit = filter(halves(json!({
        "response_header": "x-variant",
        "variants": [{"name": "control", "weight": 1, "response_headers": {"x-extra": "1"}}],
    })))
    .start();
    let seen = kit.send(user("ann"));
    assert_eq!((seen.header("x-variant"), seen.header("x-extra")), (Some("control"), Some("1")));
    assert_eq!(kit.send(Request::get("/")).header("x-variant"), None);
}

#[test]
fn experiments_are_independent_and_the_first_that_picks_a_cluster_does() {
    let experiment = |name: &str| {
        let variants =
            json!([{"name": "a", "weight": 1}, {"name": "b", "weight": 1, "cluster": format!("{name}-b")}]);
        json!({"name": name, "subject": ["header:x-user"], "variants": variants})
    };
    let kit = filter(json!({"experiments": [experiment("one"), experiment("two")]})).start();
    let mut table = BTreeMap::new();
    for number in 0..400 {
        let seen = kit.send(user(number));
        let told = |name| seen.forwarded().header(name).expect("it takes part").to_owned();
        let both = (told("x-variant-one"), told("x-variant-two"));
        let cluster = match (both.0.as_str(), both.1.as_str()) {
            ("b", _) => Some("one-b"),
            (_, "b") => Some("two-b"),
            _ => None,
        };
        assert_eq!(seen.forwarded().header("x-ab-cluster"), cluster);
        *table.entry(both).or_insert(0_usize) += 1;
    }
    assert!(table.len() == 4 && table.values().all(|count| count.abs_diff(100) < 35), "{table:?}");
}

/// One variant whose requests are copied; `more` are fields of its shadow.
fn shadowed(more: Value) -> Value {
    let mut shadow = json!({"cluster": "next"});
    shadow.as_object_mut().expect("it is an object").extend(more.as_object().expect("fields").clone());
    halves(json!({"variants": [{"name": "control", "weight": 1, "shadow": shadow}]}))
}

fn shadows(kit: &Kit, outcome: &str) -> u64 {
    kit.counter(&format!("ab_route_shadows{{experiment=\"checkout\",outcome=\"{outcome}\"}}"))
}

#[test]
fn a_copy_is_what_the_upstream_gets_marked_and_with_its_body() {
    let kit = filter(shadowed(json!({}))).cluster("next", |_| Response::new(404)).start();
    let request = Request::post("/buy?x=1")
        .header("x-user", "ann")
        .header("host", "shop.test:80")
        .chunks(["two ", "apples"]);
    let seen = kit.send(request);
    assert_eq!((seen.status(), seen.forwarded().body().as_ref()), (200, &b"two apples"[..]));
    kit.advance(Duration::from_millis(10));
    let calls = kit.callouts();
    let [copy] = &calls[..] else { panic!("one copy: {calls:?}") };
    assert_eq!(
        (copy.method.as_str(), copy.target.as_str(), &copy.body[..]),
        ("POST", "/buy?x=1", &b"two apples"[..])
    );
    let told =
        ["host", "x-user", "x-variant-checkout", "x-shadow"].map(|name| copy.header(name).unwrap_or("none"));
    assert_eq!(told, ["shop.test-shadow:80", "ann", "control", "checkout"]);
    assert_eq!(shadows(&kit, "answered"), 1);
}

#[test]
fn a_copy_of_a_request_without_a_body_goes_out_at_once_and_one_with_trailers_in_the_end() {
    let kit = filter(shadowed(json!({}))).cluster("next", |_| Response::new(200)).start();
    let exchange = kit.open(user("ann"));
    kit.advance(Duration::from_millis(10));
    assert_eq!(kit.callouts().len(), 1, "the upstream has not answered");
    exchange.finish();
    kit.send(Request::post("/").header("x-user", "ann").chunks(["body"]).trailer("x-end", "1"));
    kit.advance(Duration::from_millis(10));
    assert_eq!(kit.callouts()[1].body, "body");
}

#[test]
fn a_copy_is_whole_where_the_response_came_before_the_end_of_the_request() {
    let kit = filter(shadowed(json!({}))).cluster("next", |_| Response::new(200)).start();
    let mut exchange = kit.open(Request::post("/").header("x-user", "ann").chunks(["two "]).open_ended());
    exchange.respond(Response::new(200).open_ended());
    exchange.request_body("apples");
    exchange.end_request();
    assert_eq!(exchange.finish().status(), 200);
    kit.advance(Duration::from_millis(10));
    let copies: Vec<_> = kit.callouts().into_iter().map(|copy| copy.body).collect();
    assert_eq!(copies, ["two apples"]);
}

#[test]
fn the_client_does_not_wait_for_a_shadow_nor_see_that_it_fails() {
    for answer in
        [|_: &tidegate_test::Call| Answer::never(), |_: &tidegate_test::Call| Answer::unavailable("down")]
    {
        let kit = filter(shadowed(json!({"timeout": "2s"}))).cluster("next", answer).start();
        let seen = kit.send(user("ann"));
        assert_eq!(
            (seen.outcome(), seen.status(), seen.duration()),
            (Outcome::Answered, 200, Duration::ZERO)
        );
        kit.advance(Duration::from_secs(3));
        assert_eq!((kit.callouts().len(), shadows(&kit, "failed")), (1, 1));
        assert!(kit.faults().is_empty());
    }
    let nowhere = filter(shadowed(json!({}))).start();
    assert_eq!(nowhere.send(user("ann")).status(), 200);
    nowhere.advance(Duration::from_millis(10));
    assert_eq!(shadows(&nowhere, "failed"), 1);
}

#[test]
fn a_copy_goes_on_when_the_client_has_left() {
    let kit = filter(shadowed(json!({})))
        .cluster("next", |_| Response::new(200).after(Duration::from_secs(1)))
        .start();
    kit.open(user("ann")).cut();
    kit.advance(Duration::from_secs(2));
    assert_eq!(shadows(&kit, "answered"), 1);
}

#[test]
fn a_large_body_is_not_copied_and_is_counted() {
    let kit = filter(shadowed(json!({"max_body": 8}))).cluster("next", |_| Response::new(200)).start();
    let post = || Request::post("/").header("x-user", "ann");
    for request in [post().body("123456789"), post().chunks(["12345", "6789"])] {
        assert_eq!(kit.send(request).forwarded().body(), "123456789");
    }
    kit.send(post().chunks(["1234", "5678"]));
    kit.advance(Duration::from_millis(10));
    assert_eq!((kit.callouts().len(), shadows(&kit, "too_large"), shadows(&kit, "answered")), (1, 2, 1));
}

#[test]
fn copies_do_not_take_more_memory_than_they_may() {
    let config = shadowed(json!({"max_body": "1MiB", "timeout": "10s"}));
    let kit = filter(config).buffer_limit(8 << 20).cluster("next", |_| Answer::never()).start();
    for _ in 0..6 {
        kit.send(Request::post("/").header("x-user", "ann").body(vec![b'x'; 1 << 20]));
    }
    assert_eq!(shadows(&kit, "busy"), 3);
    kit.advance(Duration::from_secs(11));
    kit.send(Request::post("/").header("x-user", "ann").body(vec![b'x'; 1 << 20]));
    kit.advance(Duration::from_millis(10));
    assert_eq!((kit.callouts().len(), shadows(&kit, "busy")), (4, 3), "what was held was given back");
    assert!(kit.faults().is_empty());
}

#[test]
fn only_the_share_that_is_wanted_is_copied_and_never_a_copy() {
    let kit = filter(shadowed(json!({"percent": 25}))).cluster("next", |_| Response::new(200)).start();
    for _ in 0..400 {
        kit.send(user("ann"));
        kit.advance(Duration::from_millis(2)); // no more at once than the host sends
    }
    let copies = kit.callouts().len();
    assert!(copies.abs_diff(100) < 40, "{copies} of 400 for a quarter");
    let all = filter(shadowed(json!({}))).cluster("next", |_| Response::new(200)).start();
    all.send(user("ann").header("x-shadow", "checkout"));
    all.advance(Duration::from_millis(10));
    assert!(all.callouts().is_empty());
}

#[test]
fn how_bodies_are_divided_is_not_seen() {
    let request = Request::post("/").header("x-user", "ann").body("apples");
    for config in [halves(json!({})), shadowed(json!({})), shadowed(json!({"max_body": 3}))] {
        let setup = filter(config).cluster("next", |_| Response::new(200));
        setup.assert_chunking_is_invisible(&request, &Response::new(200).body("answer"));
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_field_and_what_was_expected() {
    let refused = filter(halves(json!({"control": "green"}))).try_start().expect_err("it is wrong");
    assert!(
        refused.logged("experiments[0].control: `green`; expected one of `control`, `blue`"),
        "{refused}"
    );
}

#[test]
fn the_largest_configuration_starts_within_the_usual_limits() {
    let weights: serde_json::Map<_, _> = (0..32).map(|n| (format!("v{n}"), json!(n + 1))).collect();
    let variants: Vec<_> =
        weights.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect();
    let experiment = json!({
        "name": "checkout", "subject": ["header:x-user"], "variants": variants, "earlier_weights": vec![weights; 31],
    });
    let kit = filter(json!({"experiments": [experiment]})).start();
    assert!(variant(&kit.send(user("ann"))).is_some());
}

/// The instructions of the second exchange, which sets nothing up any more: all, and in the request's headers.
fn cost(config: Value, request: impl Fn() -> Request) -> (u64, u64) {
    let kit = filter(config).start();
    kit.send(request());
    let seen = kit.send(request());
    (seen.instructions(), seen.instructions_in(Callback::RequestHeaders))
}

#[test]
fn a_sticky_variant_costs_a_few_thousand_instructions() {
    let by_cookie = halves(json!({"subject": ["cookie:session"], "variants": [
        {"name": "control", "weight": 50},
        {"name": "blue", "weight": 30, "cluster": "api-blue"},
        {"name": "green", "weight": 20, "cluster": "api-green"},
    ]}));
    let request = || Request::get("/").header("cookie", "theme=dark; session=0123456789abcdef; lang=en");
    let (all, headers) = cost(by_cookie, request);
    assert!(all <= 3_050, "{all} instructions for an exchange, {headers} of them in its request's headers");
}

#[test]
fn who_takes_no_part_costs_next_to_nothing() {
    let (all, headers) = cost(halves(json!({})), || Request::get("/"));
    assert!(all <= 1_100, "{all} instructions for an exchange, {headers} of them in its request's headers");
}
