//! The built filter on the real host: where clients are, whom it believes, and what it costs.

use serde_json::{Value, json};
use tidegate_test::{Kit, Module, Outcome, Request, Setup};

const DATA: &str = include_str!("../networks.csv");

fn filter(config: Value) -> Setup {
    let module = Module::build_with(env!("CARGO_MANIFEST_DIR"), "filter");
    Kit::of(&module).config(config).as_its_manifest_asks()
}

fn config() -> Value {
    json!({"data": DATA, "regions": {"eu": ["DE", "FR"], "us": ["US"]}, "default": "us", "blocked": ["XX"]})
}

#[test]
fn a_client_is_where_its_address_is_and_not_where_it_says() {
    let kit = filter(config()).start();
    for (client, country, region) in [
        ("192.0.2.7:1", "DE", "eu"),
        ("192.0.2.200:1", "FR", "eu"),
        ("[2001:db8:1::1]:1", "US", "us"),
        ("203.0.113.1:1", "JP", "us"),
        ("10.0.0.1:1", "unknown", "us"),
    ] {
        let request =
            Request::get("/").client(client).header("x-geo-country", "CH").header("x-geo-region", "eu");
        let seen = kit.send(request.header("x-forwarded-for", "192.0.2.7"));
        let said = |name| seen.forwarded().headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(said("x-geo-country"), [country], "{client}");
        assert_eq!(said("x-geo-region"), [region], "{client}");
        assert!(seen.was_rerouted());
    }
    assert_eq!(kit.counter(r#"geo_requests{country="DE",region="eu"}"#), 1);
}

#[test]
fn who_is_in_a_blocked_country_gets_451() {
    let kit = filter(config()).start();
    let seen = kit.send(Request::get("/").client("198.51.100.9:1"));
    assert_eq!((seen.outcome(), seen.status(), seen.details()), (Outcome::Replied, 451, "geo_blocked:XX"));
    assert!(!seen.was_forwarded());
}

#[test]
fn a_header_that_is_trusted_is_read_from_its_end() {
    let mut config = config();
    config["trusted_header"] = json!("x-forwarded-for");
    let kit = filter(config).start();
    let country = |request: Request| kit.send(request).forwarded().header("x-geo-country").map(str::to_owned);
    let get = || Request::get("/").client("203.0.113.1:1");
    let both =
        get().header("x-forwarded-for", "198.51.100.9, 203.0.113.5").header("x-forwarded-for", "192.0.2.7");
    assert_eq!(country(both).as_deref(), Some("DE"));
    assert_eq!(country(get()).as_deref(), Some("unknown"), "nobody said so");
    assert_eq!(country(get().header("x-forwarded-for", "unknown")).as_deref(), Some("unknown"));
}

#[test]
fn without_a_default_other_regions_are_unknown() {
    let kit = filter(json!({"data": DATA, "regions": {"eu": ["DE"]}})).start();
    let seen = kit.send(Request::get("/").client("203.0.113.1:1"));
    assert_eq!(seen.forwarded().header("x-geo-region"), Some("unknown"));
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_the_fields_name_or_the_line() {
    for (config, why) in [
        (
            json!({"data": "192.0.2.0/24,DE\n192.0.2.0/24\n"}),
            "data: line 2: `192.0.2.0/24` is not PREFIX,PLACE",
        ),
        (json!({"data": "", "default": "eu"}), "default: `eu` is none of the regions"),
        (json!({"data": "", "regions": {"a": ["DE"], "b": ["DE"]}}), "regions: `DE` is in `b` and in `a`"),
        (json!({}), "missing field `data`"),
    ] {
        let refused = filter(config.clone()).try_start().expect_err("it is wrong");
        assert!(refused.logged(why), "{config}: {refused}");
    }
}

#[test]
fn forty_thousand_networks_fit_and_are_found_as_fast_as_ten() {
    let line = |number: u32| {
        format!("{}.{}.{}.0/24,C{}\n", 1 + number / 65536, number / 256 % 256, number % 256, number % 250)
    };
    let large: String = (0..40_000).map(line).collect();
    assert!(large.len() < 1 << 20, "it fits into a file of the configuration");
    let cost = |data: &str| {
        let kit = filter(json!({"data": data})).limits(|limits| limits.instructions = 5_000_000).start();
        kit.send(Request::get("/").client("1.2.3.4:1"));
        let seen = kit.send(Request::get("/").client("1.2.3.4:1"));
        (
            seen.instructions(),
            seen.forwarded().header("x-geo-country").map(str::to_owned),
            kit.instructions(),
            kit.memory(0),
        )
    };
    let (small, large) = (cost(DATA), cost(&large));
    println!(
        "a request: {} of few, {} of many; to read many: {}, {} bytes",
        small.0, large.0, large.2, large.3
    );
    assert_eq!(large.1.as_deref(), Some("C15"));
    assert!(large.0 < 6_000 && large.0 < small.0 + 1_000, "{} and {}", small.0, large.0);
    assert!(
        large.2 < 250_000_000,
        "a start may take fifty times `limits.instructions`, and took {}",
        large.2
    );
}
