//! What another build does otherwise is listed exactly.

use super::{Recorded, Recording, Report};
use crate::equipment::Map::{RequestHeaders, ResponseHeaders};
use crate::equipment::{
    Answer, Buffer, Flow, Guest, On, Proxy, Step, Upstream, When, forwarding, in_listener,
};

/// What the recorded build and its successors do.
#[derive(Clone)]
struct Build {
    header: &'static str,
    answer: i32,
    body: &'static str,
    says: &'static str,
    counts: i64,
    asks: &'static str,
    spins: u32,
    looks: bool,
    fails: Option<Step>,
}

const FIRST: Build = Build {
    header: "one",
    answer: 0,
    body: "HELLO",
    says: "it was asked",
    counts: 1,
    asks: "/ask",
    spins: 10,
    looks: false,
    fails: None,
};

impl Build {
    fn module(&self) -> Vec<u8> {
        let looks = self.looks.then(|| Step::get(RequestHeaders, "x-nothing"));
        let request = [
            Step::Say(2, self.says.to_owned()),
            Step::add(RequestHeaders, "x-build", self.header),
            Step::IncrementMetric(0, self.counts),
            Step::callout("up", self.asks, 1000),
            Step::Spin(self.spins),
        ];
        let fails =
            self.fails.clone().map(|step| Step::If(When::Header(RequestHeaders, "x-fail", "1"), vec![step]));
        let request = request.into_iter().chain(looks).chain(fails).chain([Step::Return(self.answer)]);
        Guest::new()
            .on(On::Configure, [Step::DefineMetric(0, "asked".to_owned(), 0)])
            .on(On::RequestHeaders, request)
            .on(On::ResponseHeaders, [Step::remove(ResponseHeaders, "content-length")])
            .on(On::ResponseBody, [Step::set_buffer(Buffer::ResponseBody, 0, 5, self.body)])
            .quiet()
            .build()
    }
}

/// What each build but the first does otherwise, once.
fn compare(recorded: &Recorded, build: Build) -> Report {
    recorded.report(&build.module())
}

fn record(build: &Build, fields: &[&[(&str, &str)]]) -> Recorded {
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let start = Proxy::with(&(config + "filters: {f: {module: ./f.wasm, limits: {instructions: 100k}}}\n"));
    let proxy = start.file("f.wasm", build.module()).start();
    let recording = Recording::of(&proxy, "f", fields.len(), &[]);
    for fields in fields {
        proxy.client().request("GET", "/a?b", fields, "");
    }
    recording.finish()
}

#[test]
fn what_a_build_does_otherwise_is_listed_once_and_nothing_else_is() {
    let recorded = record(&FIRST, &[&[]]);
    recorded.exact_report(&FIRST.module()).is_identical("the same build", 1);
    let callout = |path| {
        format!("http_call(\"up\", [:method: GET, :path: {path}, :authority: callout.test], \"\", [], 1000)")
    };
    let (asks, asks_else) = (callout("/ask"), callout("/other"));
    let request = "request headers";
    let cases: [(Build, [&str; 4]); 6] = [
        (Build { answer: 1, ..FIRST }, [request, "decision", "continue", "stop_all_iteration_and_watermark"]),
        (Build { header: "two", ..FIRST }, [request, "request header x-build", "one", "two"]),
        (
            Build { body: "HELLo", ..FIRST },
            [
                "response body",
                "response body",
                "5 bytes, around byte 4: \"HELLO\"",
                "5 bytes, around byte 4: \"HELLo\"",
            ],
        ),
        (Build { says: "who is it", ..FIRST }, [request, "log", "info: it was asked", "info: who is it"]),
        (
            Build { counts: 2, ..FIRST },
            [request, "effect", "increment_metric(4, 1)", "increment_metric(4, 2)"],
        ),
        (Build { asks: "/other", ..FIRST }, [request, "effect", &asks, &asks_else]),
    ];
    for (build, expected) in cases {
        let report = compare(&recorded, build);
        assert_eq!(report.differences(), [expected.map(str::to_owned)], "{:#}", report.json);
        let counts = ["different", "different_exchanges", "same_effect"].map(|field| report.number(field));
        assert_eq!((counts[0], counts[1], report.code), (1, 1, Some(1)), "{:#}", report.json);
        assert_eq!(report.json["differences"][0]["exchange"], 1);
        assert_eq!(report.json["differences"][0]["request"], "GET /a?b");
    }
}

#[test]
fn a_build_that_asks_more_or_takes_longer_does_the_same() {
    let recorded = record(&FIRST, &[&[]]);
    let callback = "proxy_on_request_headers";
    for build in [Build { spins: 11, ..FIRST }, Build { looks: true, ..FIRST }] {
        let report = compare(&recorded, build.clone());
        assert_eq!(report.differences(), [] as [[String; 4]; 0], "{:#}", report.json);
        assert_eq!((report.number("same_effect"), report.code), (1, Some(0)), "{:#}", report.json);
        let cost = &report.json["instructions"][callback];
        assert!(cost["replayed"].as_u64() > cost["recorded"].as_u64(), "{cost}");
        assert_eq!((&cost["replayed_calls"], &cost["recorded_calls"]), (&1.into(), &1.into()));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("build.wasm");
        std::fs::write(&file, build.module()).expect("a temporary file can be written");
        let exit = recorded.replay(super::plain(&file), &["--exact"]);
        assert_eq!(exit.code, Some(1), "{}", exit.stdout);
        assert!(exit.stdout.contains("\ninstructions\n  proxy_on_request_headers  "), "{}", exit.stdout);
    }
}

#[test]
fn a_build_that_fails_where_the_recorded_one_did_not_is_told_and_so_is_one_that_no_longer_does() {
    let recorded = record(&FIRST, &[&[], &[("x-fail", "1")], &[]]);
    for (step, kind) in [(Step::Trap, "trap fault"), (Step::Loop, "instructions fault")] {
        let report = compare(&recorded, Build { fails: Some(step.clone()), ..FIRST });
        let [difference] = &report.differences()[..] else { panic!("{:#}", report.json) };
        assert_eq!(&difference[..3], ["request headers", "decision", "continue"], "{:#}", report.json);
        assert!(difference[3].starts_with(kind), "{difference:?}");
        // Its instance is lost, and what it would have been called for with it.
        assert!(report.number("not_played") > 0, "{:#}", report.json);
        assert_eq!((report.json["differences"][0]["exchange"].as_u64(), report.code), (Some(2), Some(1)));

        let failing = Build { fails: Some(step), ..FIRST };
        let recorded = record(&failing, &[&[], &[("x-fail", "1")]]);
        recorded.exact_report(&failing.module()).is_identical(kind, 2);
        let mended = compare(&recorded, FIRST);
        let [difference] = &mended.differences()[..] else { panic!("{:#}", mended.json) };
        assert!(difference[2].starts_with(kind) && difference[3] == "continue", "{difference:?}");
    }
}

/// Nothing has failed there: what the recording has for it answers a question that is not asked any more.
#[test]
fn an_answer_to_a_callout_that_a_build_no_longer_makes_is_told_as_that() {
    const PAUSE: i32 = 1;
    let asks = Guest::new()
        .quiet()
        .on(On::RequestHeaders, [Step::callout("up", "/ask", 60_000), Step::Return(PAUSE)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Request)]);
    let upstream = Upstream::start(|_| Answer::ok("hello"));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let start = Proxy::with(&(config + "filters: {f: {module: ./f.wasm}}\n"));
    let proxy = start.file("f.wasm", asks.build()).start();
    let recording = Recording::of(&proxy, "f", 2, &[]);
    (0..2).for_each(|_| drop(proxy.client().get("/")));
    let recorded = recording.finish();
    recorded.exact_report(&asks.build()).is_identical("the same build", 2);

    let asks_no_more = Guest::new().quiet().on(On::RequestHeaders, [Step::Return(0)]);
    let report = recorded.report(&asks_no_more.build());
    let counts = ["not_asked", "not_played", "different"].map(|field| report.number(field));
    assert_eq!((counts, report.code), ([2, 0, 2], Some(1)), "{:#}", report.json);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("build.wasm");
    std::fs::write(&file, asks_no_more.build()).expect("a temporary file can be written");
    let exit = recorded.replay(super::plain(&file), &[]);
    let says = "in 2 exchanges; 2 answers came to a callout that it did not make";
    assert!(exit.stdout.contains(says), "{}", exit.stdout);
    assert!(!exit.stdout.contains("failure"), "{}", exit.stdout);
}
