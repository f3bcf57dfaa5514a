//! What a recording says of secrets: nothing, unless it was asked to.

use serde_json::json;

use super::{Recorded, Recording};
use crate::equipment::Map::RequestHeaders;
use crate::equipment::{
    Answer, Buffer, Guest, On, Proxy, Step, Upstream, When, base64, forwarding, in_listener,
};

/// What nobody else may read, and where it is sent.
const SECRETS: [&str; 14] = [
    "bearer-token-0001",
    "cookie-value-0002",
    "basic-password-0003",
    "x-api-key-value-0004",
    "query-token-0005",
    "json-password-0006",
    "form-secret-0007",
    "config-secret-0008",
    "configured-key-0009",
    "answered-token-0010",
    "response-cookie-0011",
    "callout-token-0012",
    "variable-secret-0013",
    "trailer-secret-0014",
];

/// Reads secrets in every way that there is, compares them, passes them on, and says them.
fn guest() -> Guest {
    let knows = When::Header(RequestHeaders, "x-api-key", "x-api-key-value-0004");
    Guest::logger()
        .on(On::Configure, [Step::buffer(Buffer::PluginConfig)])
        .on(
            On::RequestHeaders,
            [
                Step::Pairs(RequestHeaders),
                Step::get(RequestHeaders, "authorization"),
                Step::property("request.headers.cookie"),
                Step::property("request.path"),
                Step::If(knows, vec![Step::add(RequestHeaders, "x-known", "yes")]),
                Step::add(RequestHeaders, "x-secret-token", "callout-token-0012"),
                Step::callout("up", "/ask?access_token=callout-token-0012", 60_000),
                Step::Say(2, "the token is callout-token-0012".to_owned()),
            ],
        )
        .on(On::CalloutResponse, [Step::buffer(Buffer::CalloutBody)])
        .on(On::RequestBody, [Step::GetBuffer(Buffer::RequestBody, 0, 30), Step::buffer(Buffer::RequestBody)])
}

#[test]
fn no_secret_is_in_a_masked_recording_and_a_filter_that_passes_them_on_replays_the_same() {
    let upstream = Upstream::start(|_| {
        let body = json!({"id_token": "answered-token-0010"}).to_string();
        Answer::sized(
            200,
            &[("set-cookie", "sid=response-cookie-0011; Path=/"), ("content-type", "application/json")],
            &body,
        )
    });
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let settings = r#"{secret: config-secret-0008, api_keys: [configured-key-0009], other: plain}"#;
    let start = Proxy::with(&format!(
        "{config}filters: {{f: {{module: ./f.wasm, config: {settings}, env: {{CLIENT_SECRET: variable-secret-0013}}}}}}\n"
    ));
    let proxy = start.file("f.wasm", guest().build()).start();
    let masked = Recording::of(&proxy, "f", 4, &[]);
    let basic = base64("ann:basic-password-0003");
    let send = || {
        let mut client = proxy.client();
        let fields = [
            ("authorization", "Bearer bearer-token-0001"),
            ("cookie", "sid=cookie-value-0002; theme=dark"),
            ("x-api-key", "x-api-key-value-0004"),
        ];
        client.request("GET", "/a?user=ann&access_token=query-token-0005", &fields, "");
        let body = json!({"user": "ann", "password": "json-password-0006"}).to_string();
        client.request("POST", "/login", &[("authorization", &format!("Basic {basic}"))], &body);
        client.request("POST", "/form", &[], "user=ann&client_secret=form-secret-0007");
        client.send("POST /cut HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send("13\r\n{\"password\":\"json-p\r\n");
        client.send("d\r\nassword-0006\"\r\n0\r\nx-token: trailer-secret-0014\r\n\r\n");
        client.response();
    };
    send();
    let masked = masked.finish();
    let bytes = masked.bytes();
    let text = String::from_utf8_lossy(&bytes);
    for secret in SECRETS.iter().chain([&basic.as_str()]) {
        assert!(!text.contains(secret), "{secret} is in it");
        assert!(!text.contains(&base64(secret)), "{secret} is in it");
    }
    for plain in ["user=ann", "theme=", "\"plain", "/login"] {
        assert!(text.contains(plain.trim_matches('"')), "{plain} is no secret");
    }

    let kept = Recording::of(&proxy, "f", 4, &["--secrets", "keep"]);
    send();
    let kept = kept.finish();
    let text = String::from_utf8_lossy(&kept.bytes()).into_owned();
    for secret in ["bearer-token-0001", "config-secret-0008", "variable-secret-0013"] {
        assert!(text.contains(secret), "{secret} is not in it");
    }
    kept.exact_report(&guest().build()).is_identical("with its secrets", 4);
}

#[test]
fn a_filter_that_only_passes_secrets_on_replays_bit_for_bit_without_them_and_one_that_knows_them_is_told_so()
{
    let passes = Guest::logger().on(
        On::RequestHeaders,
        [
            Step::Pairs(RequestHeaders),
            Step::get(RequestHeaders, "authorization"),
            Step::property("request.path"),
        ],
    );
    let passes = passes.on(On::RequestBody, [Step::buffer(Buffer::RequestBody)]);
    let upstream = Upstream::ok("hello");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f, authz]"]);
    // The key is `open sesame`.
    let keys = "{api_keys: {keys: [{name: ci, sha256: 41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb}]}, \
                allow: [{match: {authenticated: true}}]}";
    let start = Proxy::with(&format!(
        "{config}filters: {{f: {{module: ./f.wasm}}, authz: {{module: \"builtin:authz\", config: {keys}}}}}\n"
    ));
    let proxy = start.file("f.wasm", passes.build()).start();
    let (f, authz) = (Recording::of(&proxy, "f", 2, &[]), Recording::of(&proxy, "authz", 2, &[]));
    let fields = [("authorization", "Digest abcdefghij"), ("cookie", "id=abcdefghij")];
    proxy.client().request("POST", "/?token=abcdefghijk", &fields, "client_secret=abcdefghijkl");
    assert_eq!(proxy.client().request("GET", "/", &[("x-api-key", "open sesame")], "").status(), 200);
    f.finish().exact_report(&passes.build()).is_identical("what passes them on", 2);
    let exit = authz.finish().replay("builtin:authz", &[]);
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    assert!(exit.stdout.contains("secrets are masked"), "{}", exit.stdout);
}

/// What `dev --record` writes, and the file with its secrets: shortened, and by hand.
#[test]
fn secrets_are_put_back_from_the_file_of_the_same_recording_alone() {
    let head =
        |id: &str| format!("{{\"recording\":{{\"format\":1,\"tidegate\":\"0.1.0\",\"masked\":true{id}}}}}\n");
    let of = |id: &str| format!("{{\"secrets_of\":\"{id}\"}}\n");
    let (one, word) = (head(",\"id\":\"0f1e\""), "[\"*0001*\",\"secret\"]\n");
    let replayed = |recording: &str, secrets: &str| {
        let recorded = Recorded::written(recording);
        let beside = recorded.file.with_extension("jsonl.secrets");
        std::fs::write(&beside, secrets).expect("a temporary file can be written");
        let by_itself = recorded.replay("builtin:fault", &[]);
        let named = recorded.replay("builtin:fault", &["--secrets", super::plain(&beside)]);
        assert_eq!((by_itself.code, &by_itself.stderr), (named.code, &named.stderr));
        by_itself
    };
    // A last line that was not written whole is none.
    for secrets in [of("0f1e") + word, of("0f1e") + word + "[\"*0002*\",\"an"] {
        let exit = replayed(&one, &secrets);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    }
    let exit = replayed(&head(""), word);
    assert_eq!(exit.code, Some(0), "the first versions named none: {}", exit.stderr);
    for (recording, secrets) in [(&one, of("9999") + word), (&one, word.to_owned()), (&head(""), of("0f1e"))]
    {
        let exit = replayed(recording, &secrets);
        assert_eq!(exit.code, Some(1), "{recording}{secrets}{}", exit.stdout);
        let says = "recording.jsonl.secrets has the secrets of another recording than ";
        assert!(exit.stderr.contains(says), "{}", exit.stderr);
        assert!(exit.stderr.contains("`--secrets FILE` names the one that belongs to it"), "{}", exit.stderr);
    }
}

/// What another filter has stored is copied for the one that is recorded, whether that asks for it or not.
#[test]
fn a_secret_that_another_filter_stores_is_in_no_masked_recording() {
    let stores = Guest::new().quiet().on(
        On::RequestHeaders,
        [
            Step::SetProperty(vec!["session_token".to_owned()], "stored-token-0015".to_owned()),
            Step::SetProperty(vec!["colour".to_owned()], "stored-colour-0016".to_owned()),
        ],
    );
    let looks = Guest::new().quiet().on(On::RequestHeaders, [Step::get(RequestHeaders, "host")]);
    let upstream = Upstream::ok("hello");
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [stores, looks]"]);
    let filters = "filters: {stores: {module: ./stores.wasm}, looks: {module: ./looks.wasm}}\n";
    let start = Proxy::with(&(config + filters)).file("stores.wasm", stores.build());
    let proxy = start.file("looks.wasm", looks.build()).start();
    let recording = Recording::of(&proxy, "looks", 1, &[]);
    proxy.client().get("/");
    let recorded = recording.finish();
    let text = String::from_utf8_lossy(&recorded.bytes()).into_owned();
    assert!(text.contains("stored-colour-0016"), "what is stored is recorded: {text}");
    assert!(!text.contains("stored-token-0015"), "{text}");
}

/// The words of more secrets would fill the proxy's memory; and what has no word cannot be told elsewhere.
#[test]
fn a_recording_ends_with_its_reason_before_there_are_more_secrets_than_can_be_masked() {
    const PIECE: usize = 1 << 20;
    let guest = Guest::new().quiet().on(On::RequestBody, [Step::GetBuffer(Buffer::RequestBody, 0, 1)]);
    let upstream = Upstream::start_forgetful(|_| Answer::ok("hello"));
    let config = in_listener(&forwarding(&[upstream.address()], ""), &["filters: [f]"]);
    let filters = "filters: {f: {module: ./f.wasm}}\n";
    let proxy = Proxy::with(&(config + filters)).file("f.wasm", guest.build()).start();
    let recording = Recording::of(&proxy, "f", 2, &[]);
    let mut client = proxy.client();
    let head = "{\"password\":\"";
    let size = head.len() + 40 * PIECE;
    client.send(&format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n{head}"));
    for piece in 0..40 {
        let digits = (0..PIECE / 16).map(|number| format!("{piece:0>4}{number:0>12}"));
        client.send(&digits.collect::<String>());
    }
    assert_eq!(client.response().text(), "hello");
    let (recorded, _) = recording.end();
    let reason = "it has more secrets than can be masked";
    let exit = recorded.replay("builtin:fault", &[]);
    assert!(exit.stdout.contains(reason), "{}{}", exit.stdout, exit.stderr);
    let last = recorded.lines().pop().expect("it has lines");
    assert_eq!(last["cut"]["reason"], reason);
    let text = String::from_utf8_lossy(&recorded.bytes()).into_owned();
    assert!(!text.contains("000000001"), "a secret is in it");
}
