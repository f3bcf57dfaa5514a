//! What Higress has beside the ABI: bytes that a filter puts into a response, and the endpoint that it picks.

use super::filters::{with_filters, with_filters_before, with_filters_in};
use crate::equipment::{Answer, Flow, Framing, Gate, Guest, On, Proxy, Step, Upstream, When, eventually};

const STOP_ITERATION: i32 = 1;
const STOP_ALL: i32 = 4;
const KEEP_NOTHING: i32 = 3;

/// The host's statuses.
const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const INTERNAL_FAILURE: u32 = 10;

fn guest() -> Guest {
    Guest::logger().abi("0_2_100")
}

/// What a filter logged of a call.
fn said(proxy: &Proxy, filter: &str, call: &str) -> Vec<String> {
    let begin = format!("  {call} -> ");
    let lines = proxy.guest_log().into_iter().filter(|(name, _)| name == filter);
    lines.filter_map(|(_, line)| line.strip_prefix(&begin).map(str::to_owned)).collect()
}

fn statuses(proxy: &Proxy, filter: &str, call: &str) -> Vec<u32> {
    let status = |line: String| line.split(' ').next().and_then(|word| word.parse().ok());
    said(proxy, filter, call).into_iter().map(|line| status(line.clone()).expect(&line)).collect()
}

/// Its callout, which [`asked_at`] answers when the gate opens.
fn asking() -> Step {
    Step::callout("up", "/callout", 60_000)
}

fn asked_at(gate: &Gate, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |head| match head.target() {
        "/callout" => Answer::default().read_body().wait(&gate).head(200, &[("content-length", "0")]),
        _ => answer(),
    })
}

#[test]
fn a_response_without_a_body_gets_one() {
    // As Higress' own example does it, by the name of a foreign function and by the hostcall.
    let message = b"\x0a\x05hello\x10\x01";
    for (name, step) in [
        ("foreign", Step::foreign("inject_encoded_data_to_filter_chain_on_header", message)),
        ("hostcall", Step::inject("hello", true)),
    ] {
        for answer in [STOP_ITERATION, STOP_ALL] {
            let guest = guest().on(On::ResponseHeaders, [step.clone(), Step::Return(answer)]);
            let upstream = Upstream::start(|_| Answer::sized(200, &[("x-own", "1")], ""));
            let proxy = with_filters(&upstream, &[(name, &guest, "")]);
            let mut client = proxy.client();
            for _ in 0..2 {
                let response = client.get("/");
                assert_eq!(response.text(), "hello", "{name}, {answer}");
                assert_eq!(response.body.framing, Framing::Sized(5), "{name}, {answer}");
                assert_eq!(response.field("x-own"), Some("1"));
            }
        }
    }
}

#[test]
fn what_is_injected_replaces_a_body_that_its_filter_keeps_back() {
    let gate = Gate::new();
    let guest =
        guest().on(On::RequestHeaders, [asking()]).on(On::ResponseBody, [Step::Return(KEEP_NOTHING)]).on(
            On::CalloutResponse,
            [Step::EffectiveStream, Step::inject("one ", false), Step::inject("two", true)],
        );
    let upstream = asked_at(&gate, || Answer::chunked(200, &[], &["never", " shown"], &[]));
    let proxy = with_filters(&upstream, &[("judge", &guest, "")]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the whole body was judged", || {
        let shown =
            proxy.guest_log().iter().any(|(_, line)| line.ends_with("eos=1") && line.contains("_body"));
        shown.then_some(())
    });
    gate.open();
    assert_eq!(client.response().text(), "one two");
    assert_eq!(client.get("/callout").status(), 200, "the connection is in order");
}

#[test]
fn it_comes_between_the_pieces_of_a_body_that_goes_on() {
    let (callout, rest) = (Gate::new(), Gate::new());
    let guest = guest().on(On::RequestHeaders, [asking()]).on(
        On::CalloutResponse,
        [Step::EffectiveStream, Step::inject("-between-", false), Step::inject("them-", false)],
    );
    let held = rest.clone();
    let upstream = asked_at(&callout, move || {
        Answer::default()
            .read_body()
            .head(200, &[("transfer-encoding", "chunked")])
            .chunk("one")
            .wait(&held)
            .chunk("two")
            .last_chunk(&[("x-end", "1")])
    });
    let proxy = with_filters(&upstream, &[("between", &guest, "")]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status(), 200);
    assert_eq!(client.exactly("3\r\none\r\n".len()), "3\r\none\r\n");
    callout.open();
    assert_eq!(client.exactly("E\r\n-between-them-\r\n".len()), "E\r\n-between-them-\r\n");
    rest.open();
    assert_eq!(client.exactly("3\r\ntwo\r\n0\r\n".len()), "3\r\ntwo\r\n0\r\n");
}

#[test]
fn what_its_filter_holds_follows_it_once_it_is_resumed() {
    const CONTINUE: i32 = 0;
    const STOP_AND_BUFFER: i32 = 1;
    let upstream = Upstream::start(|head| match head.target() {
        "/empty" => Answer::sized(200, &[], ""),
        _ => Answer::chunked(200, &[], &["he", "ld"], &[]),
    });
    let ask = || Step::callout("up", "/empty", 60_000);
    let ask_at_end = || Step::If(When::EndOfStream, vec![ask()]);
    let cases = [
        (
            "the body is held",
            [ask_at_end(), Step::If(When::MoreToCome, vec![Step::Return(CONTINUE)])],
            "injected held",
        ),
        ("the head is held", [ask_at_end(), Step::Return(STOP_ITERATION)], "injected held"),
        ("everything is stopped", [ask(), Step::Return(STOP_ALL)], "injected injected held"),
    ];
    for (case, at_headers, expected) in cases {
        let guest = guest()
            .on(On::ResponseHeaders, at_headers)
            .on(On::ResponseHeaders, [Step::Return(STOP_ITERATION)])
            .on(On::ResponseBody, [ask_at_end(), Step::Return(STOP_AND_BUFFER)])
            .on(
                On::CalloutResponse,
                [Step::EffectiveStream, Step::inject("injected ", false), Step::Resume(Flow::Response)],
            );
        let proxy = with_filters(&upstream, &[("holding", &guest, "")]);
        let mut client = proxy.client();
        assert_eq!(client.get("/empty").text(), "injected ", "{case}");
        assert_eq!(client.get("/").text(), expected, "{case}");
    }
}

#[test]
fn the_filters_behind_it_see_it_and_those_before_it_do_not() {
    let injecting = guest().on(On::ResponseHeaders, [Step::inject("more", false)]);
    let upstream = Upstream::start(|_| Answer::chunked(200, &[], &["body"], &[]));
    let chain = [("behind", &guest(), ""), ("injecting", &injecting, ""), ("before", &guest(), "")];
    let proxy = with_filters(&upstream, &chain);
    assert_eq!(proxy.client().get("/").text(), "morebody");
    proxy.settle();
    let seen = |filter: &str| -> Vec<String> {
        let lines = proxy
            .guest_log()
            .into_iter()
            .filter(|(name, line)| name == filter && line.contains("response_body"));
        lines.map(|(_, line)| line.split(" size=").nth(1).unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(seen("before"), ["4 eos=0", "0 eos=1"]);
    assert_eq!(seen("injecting"), ["4 eos=0", "0 eos=1"]);
    assert_eq!(seen("behind"), ["4 eos=0", "4 eos=0", "0 eos=1"]);
}

#[test]
fn an_end_ends_the_response_though_the_upstream_goes_on() {
    let rest = Gate::new();
    let held = rest.clone();
    let upstream = Upstream::start(move |_| {
        Answer::default().read_body().head(200, &[("content-length", "1000")]).send("one").wait(&held)
    });
    let guest = guest().on(On::ResponseBody, [Step::inject("-the end", true)]);
    let proxy = with_filters(&upstream, &[("ending", &guest, "")]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "one-the end");
    upstream.pardon();
    rest.open();
    eventually("the upstream's connection is closed", || (upstream.open_connections() == 0).then_some(()));
    proxy.settle();
    assert_eq!(proxy.metrics().sum("tidegate_filter_faults_total", &[]), 0.0);
}

#[test]
fn nothing_follows_an_end_that_a_filter_behind_it_holds() {
    const STOP_AND_BUFFER: i32 = 1;
    let (rest, behind_may) = (Gate::new(), Gate::new());
    let (held, resume) = (rest.clone(), behind_may.clone());
    let upstream = Upstream::start(move |head| match head.target() {
        "/late" => Answer::sized(200, &[], ""),
        "/behind" => Answer::default().read_body().wait(&resume).head(200, &[("content-length", "0")]),
        _ => {
            let answer = Answer::default().read_body().head(200, &[("content-length", "6")]);
            answer.send("one").wait(&held).send("two")
        }
    });
    let ending = guest()
        .on(On::ResponseBody, [Step::inject("-the end", true), Step::callout("up", "/late", 60_000)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::inject("late", false)]);
    let ask = Step::callout("up", "/behind", 60_000);
    let behind = guest()
        .on(On::ResponseBody, [Step::If(When::EndOfStream, vec![ask]), Step::Return(STOP_AND_BUFFER)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Response)]);
    let proxy = with_filters(&upstream, &[("behind", &behind, ""), ("ending", &ending, "")]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("more was injected", || (statuses(&proxy, "ending", "inject late") == [OK]).then_some(()));
    rest.open();
    upstream.pardon();
    eventually("only the callouts' connections are open", || {
        (upstream.open_connections() <= 2).then_some(())
    });
    behind_may.open();
    assert_eq!(client.response().text(), "one-the end");
    proxy.settle();
    let seen = proxy.guest_log().into_iter();
    let seen = seen.filter(|(name, line)| name == "ending" && line.contains("response_body"));
    assert_eq!(seen.count(), 1, "what was sent after the end was not shown");
}

#[test]
fn it_waits_for_a_head_that_a_filter_before_it_holds() {
    let gate = Gate::new();
    let holding = guest()
        .on(On::ResponseHeaders, [Step::callout("up", "/held", 60_000), Step::Return(STOP_ALL)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::Resume(Flow::Response)]);
    let injecting = guest()
        .on(On::RequestHeaders, [Step::callout("up", "/asked", 60_000)])
        .on(On::CalloutResponse, [Step::EffectiveStream, Step::inject("first ", false)]);
    let (asked, held) = (gate.clone(), Gate::new());
    let resume = held.clone();
    let upstream = Upstream::start(move |head| match head.target() {
        "/asked" => Answer::default().read_body().wait(&asked).head(200, &[("content-length", "0")]),
        "/held" => Answer::default().read_body().wait(&resume).head(200, &[("content-length", "0")]),
        _ => Answer::ok("second"),
    });
    let proxy = with_filters(&upstream, &[("injecting", &injecting, ""), ("holding", &holding, "")]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream
        .wait_until("the head is held", |seen| seen.iter().any(|request| request.head.target() == "/held"));
    gate.open();
    eventually("it was injected", || (statuses(&proxy, "injecting", "inject first ") == [OK]).then_some(()));
    held.open();
    assert_eq!(client.response().text(), "first second");
}

#[test]
fn a_response_that_may_have_no_body_gets_none() {
    let guest = guest().on(On::ResponseHeaders, [Step::inject("hello", true), Step::Return(STOP_ITERATION)]);
    let upstream = Upstream::start(|head| match head.method() {
        "HEAD" => Answer::default().read_body().head(200, &[("content-length", "6")]),
        _ => Answer::default().read_body().head(204, &[]),
    });
    let proxy = with_filters(&upstream, &[("filling", &guest, "")]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").status(), 200);
        let response = client.get("/");
        assert_eq!((response.status(), response.text().as_str()), (204, ""));
    }
}

#[test]
fn an_answer_instead_of_the_response_has_nothing_of_it() {
    let denying = || [Step::inject("hello", false), Step::reply(403, "denied", &[])];
    let at_once = guest().on(On::ResponseHeaders, denying());
    let later = guest()
        .on(On::ResponseHeaders, [Step::callout("up", "/", 60_000), Step::Return(STOP_ALL)])
        .on(On::CalloutResponse, [Step::EffectiveStream])
        .on(On::CalloutResponse, denying());
    for (when, guest) in [("at once", at_once), ("later", later)] {
        let proxy = with_filters(&Upstream::ok("hello"), &[("denying", &guest, "")]);
        let mut client = proxy.client();
        for _ in 0..2 {
            let response = client.get("/");
            assert_eq!((response.status(), response.text().as_str()), (403, "denied"), "{when}");
        }
    }
}

#[test]
fn it_has_a_limit_and_a_time() {
    let guest = guest()
        .on(On::Configure, [Step::inject("root", false)])
        .on(On::RequestHeaders, [Step::inject("early", false)])
        .on(On::ResponseHeaders, [Step::inject(&"x".repeat(1000), false), Step::inject("y", false)])
        .on(On::Log, [Step::inject("late", false)]);
    let upstream = Upstream::ok("hello");
    let proxy = with_filters_in(&upstream, &["buffer_limit: 1000B"], &[("filling", &guest, "")]);
    assert_eq!(proxy.client().get("/").text(), "x".repeat(1000) + "hello");
    proxy.settle();
    for (data, status) in
        [("root", NOT_FOUND), ("early", BAD_ARGUMENT), ("y", INTERNAL_FAILURE), ("late", BAD_ARGUMENT)]
    {
        let said = statuses(&proxy, "filling", &format!("inject {data}"));
        assert!(!said.is_empty() && said.iter().all(|one| *one == status), "{data}: {said:?}");
    }
}

#[test]
fn a_filter_sees_the_endpoints_and_picks_one() {
    let upstreams = [Upstream::ok("one"), Upstream::ok("two")];
    let [one, two] = upstreams.each_ref().map(|upstream| upstream.address().to_string());
    let guest = guest().on(On::RequestHeaders, [Step::UpstreamHosts, Step::PreferHost(two.clone())]);
    let proxy = with_filters_before(&upstreams.each_ref(), &[], &[("picking", &guest, "")]);
    let mut client = proxy.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "two");
    }
    proxy.settle();
    let log = proxy.guest_log();
    for host in [one, two] {
        let line = format!("{host}: {{\"health_status\":\"Healthy\"}}");
        assert_eq!(log.iter().filter(|(_, said)| said.contains(&line)).count(), 4, "{line}: {log:#?}");
    }
}

#[test]
fn an_endpoint_that_the_cluster_has_not_is_not_picked() {
    let upstreams = [Upstream::ok("one"), Upstream::ok("two")];
    // Its root speaks twice: once when the configuration is proved.
    let guest = guest()
        .on(On::Configure, [Step::UpstreamHosts, Step::PreferHost("192.0.2.1:80".to_owned())])
        .on(
            On::RequestHeaders,
            [Step::PreferHost("192.0.2.1:80".to_owned()), Step::PreferHost("one".to_owned())],
        )
        .on(On::ResponseHeaders, [Step::PreferHost("192.0.2.1:81".to_owned())]);
    let proxy = with_filters_before(&upstreams.each_ref(), &[], &[("picking", &guest, "")]);
    let mut client = proxy.client();
    let mut answers = [client.get("/").text(), client.get("/").text()];
    answers.sort();
    assert_eq!(answers, ["one", "two"]);
    proxy.settle();
    assert_eq!(statuses(&proxy, "picking", "prefer 192.0.2.1:80"), [NOT_FOUND, NOT_FOUND, OK, OK]);
    assert_eq!(statuses(&proxy, "picking", "prefer one"), [BAD_ARGUMENT; 2]);
    assert_eq!(statuses(&proxy, "picking", "prefer 192.0.2.1:81"), [BAD_ARGUMENT; 2]);
    assert_eq!(statuses(&proxy, "picking", "upstream-hosts"), [NOT_FOUND; 2]);
}
