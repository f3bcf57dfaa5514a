//! What a route does beside sending requests on, beside Envoy with the same policy: what the client reads, and what
//! upstreams get.

use std::net::SocketAddr;

use serde_json::{Value as Json, json};

use crate::equipment::compression::{decoded, encoded};
use crate::equipment::{
    Act, Answer, Client, Envoy, Head, Proxy, Received, Upstream, envoy_cluster, forwarding, http_bootstrap,
    in_listener,
};

/// The same policy in the words of both.
#[derive(Default)]
struct Policy {
    /// What tidegate's route matches in the place of everything.
    matches: &'static str,
    /// Fields of it.
    ours: String,
    /// Lines of its listener.
    listener: Vec<&'static str>,
    /// Envoy's filters.
    filters: Vec<Json>,
    /// Fields of Envoy's route.
    entry: Json,
    /// Fields of its action.
    action: Json,
    /// Fields of its connection manager.
    manager: Json,
}

/// Both proxies before the same upstreams, of which `copy` is reached by policies alone.
struct Sides {
    up: Upstream,
    copy: Upstream,
    proxy: Proxy,
    envoy: Envoy,
}

/// A request, and the header fields that are compared of what becomes of it.
struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    fields: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

impl<'a> Ask<'a> {
    fn get(path: &'a str, fields: &'a [(&'a str, &'a str)]) -> Ask<'a> {
        Ask { method: "GET", path, fields, body: b"" }
    }
}

/// What can be seen of one exchange.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
    up: Vec<Arrived>,
    copy: Vec<Arrived>,
}

/// What can be seen of one request that an upstream got.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    line: String,
    fields: Vec<(String, String)>,
    body: String,
}

impl Sides {
    /// `None` where there is no Envoy.
    fn start(up: Upstream, policy: Policy) -> Option<Sides> {
        if !Envoy::is_installed() {
            return None;
        }
        let copy = Upstream::ok("copied");
        let mut config = in_listener(&forwarding(&[up.address()], &policy.ours), &policy.listener);
        if !policy.matches.is_empty() {
            config = config.replace("{path: {prefix: /}}", policy.matches);
        }
        let config = format!("{config}  copy: {{endpoints: [\"{}\"]}}\n", copy.address());
        let mut action = json!({"cluster": "up"});
        merge(&mut action, policy.action);
        let mut route = json!({"match": {"prefix": "/"}, "route": action});
        merge(&mut route, policy.entry);
        let mut manager = json!({
            "use_remote_address": true,
            "http_filters": policy.filters,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        });
        merge(&mut manager, policy.manager);
        let clusters = [envoy_cluster("up", up.address()), envoy_cluster("copy", copy.address())];
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let envoy = Envoy::start(folder, &http_bootstrap(manager, &clusters));
        Some(Sides { proxy: Proxy::start(&config), envoy, up, copy })
    }

    /// What becomes of a request on both sides, ours first. `copies` are expected; of heads these fields are compared.
    fn seen(&self, ask: &Ask<'_>, copies: usize, compared: &[&str]) -> [Seen; 2] {
        [self.proxy.address("in"), self.envoy.address("in")].map(|at| self.seen_at(at, ask, copies, compared))
    }

    fn seen_at(&self, at: SocketAddr, ask: &Ask<'_>, copies: usize, compared: &[&str]) -> Seen {
        let before = [&self.up, &self.copy].map(|upstream| upstream.requests().len());
        let mut client = Client::connect(at);
        let fields: String = ask.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = ask.body.len();
        client.send(&format!(
            "{} {} HTTP/1.1\r\nhost: tide.test\r\ncontent-length: {length}\r\n{fields}\r\n",
            ask.method, ask.path
        ));
        client.send_bytes(ask.body);
        let response = client.response_to(ask.method);
        let coding = response.field("content-encoding").map(str::to_owned);
        let body = match coding {
            Some(coding) if !response.body.bytes.is_empty() => decoded(&coding, &response.body.bytes),
            _ => response.text(),
        };
        self.copy.wait_for(before[1] + copies);
        let arrived = |upstream: &Upstream, first| {
            upstream.requests_from(first).iter().map(|it| Arrived::new(it, compared)).collect()
        };
        Seen {
            status: response.status(),
            fields: only(&response.head, compared),
            body,
            up: arrived(&self.up, before[0]),
            copy: arrived(&self.copy, before[1]),
        }
    }
}

impl Arrived {
    fn new(request: &Received, compared: &[&str]) -> Arrived {
        let body = request.body.as_ref().map(|body| body.text()).unwrap_or_default();
        Arrived { line: request.head.line.clone(), fields: only(&request.head, compared), body }
    }
}

/// Those of a head's fields that are compared, by name.
fn only(head: &Head, compared: &[&str]) -> Vec<(String, String)> {
    let is_compared = |name: &str| {
        compared.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *wanted,
        })
    };
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in head.fields.iter().filter(|(name, _)| is_compared(name)) {
        match name.as_str() {
            // A list of names, which have no case.
            "vary" => fields.extend(value.split(',').map(|one| (name.clone(), one.trim().to_lowercase()))),
            _ => fields.push((name.clone(), value.clone())),
        }
    }
    fields.sort();
    fields
}

fn merge(into: &mut Json, more: Json) {
    if let (Some(into), Json::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// One of Envoy's HTTP filters.
fn filter(name: &str, kind: &str, mut config: Json) -> Json {
    config["@type"] = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}").into();
    json!({"name": format!("envoy.filters.http.{name}"), "typed_config": config})
}

#[test]
fn pages_of_other_origins_are_answered_as_envoy_does_it() {
    let own = ("access-control-allow-origin", "https://own.test");
    let up = Upstream::start(move |head| match head.target() {
        "/own" => Answer::sized(200, &[own, ("access-control-expose-headers", "x-theirs")], "hello"),
        _ => Answer::ok("hello"),
    });
    let policy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": "https://a.test"}, {"suffix": ".trusted.test"}],
        "allow_methods": "GET, PUT",
        "allow_headers": "x-own, content-type",
        "expose_headers": "x-seen",
        "max_age": "600",
        "allow_credentials": true,
        "allow_private_network_access": true,
    });
    let sides = Sides::start(up, Policy {
        ours: "cors: {allow_origin: [\"https://a.test\", {suffix: .trusted.test}], allow_methods: [GET, PUT], \
            allow_headers: [x-own, content-type], expose_headers: [x-seen], max_age: 10m, allow_credentials: true, \
            allow_private_network: true}"
            .to_owned(),
        filters: vec![filter("cors", "cors.v3.Cors", json!({}))],
        entry: json!({"typed_per_filter_config": {"envoy.filters.http.cors": policy}}),
        ..Policy::default()
    });
    let Some(sides) = sides else { return };
    let wants = ("access-control-request-method", "PUT");
    for origin in
        ["https://a.test", "http://b.trusted.test", "https://b.test", "null", "https://a.test.evil.test"]
    {
        let origin = ("origin", origin);
        for (method, path, fields) in [
            ("OPTIONS", "/", &[origin, wants][..]),
            ("OPTIONS", "/", &[origin, wants, ("access-control-request-private-network", "true")]),
            ("OPTIONS", "/", &[origin]),
            ("OPTIONS", "/", &[wants]),
            ("GET", "/", &[origin]),
            ("GET", "/", &[origin, wants]),
            ("GET", "/own", &[origin]),
            ("GET", "/own", &[]),
        ] {
            let ask = Ask { method, path, fields, body: b"" };
            let [ours, theirs] = sides.seen(&ask, 0, &["access-control-*"]);
            assert_eq!(ours, theirs, "{method} {path} {fields:?}");
        }
    }
}

fn codings(kind: &str) -> Vec<Json> {
    let library = |name: &str, message: &str| {
        json!({
            "name": name,
            "typed_config": {
                "@type": format!("type.googleapis.com/envoy.extensions.compression.{name}.{kind}.v3.{message}"),
            },
        })
    };
    vec![library("zstd", "Zstd"), library("brotli", "Brotli"), library("gzip", "Gzip")]
}

const TEXT: &str = "what is said more than once is said more than once is said more than once";

#[test]
fn responses_are_compressed_where_envoy_compresses_them() {
    let up = Upstream::start(|head| {
        let fields: &[(&str, &str)] = match head.target() {
            "/image" => &[("content-type", "image/png")],
            "/own" => &[("content-type", "text/plain"), ("content-encoding", "identity")],
            "/kept" => &[("content-type", "text/plain"), ("cache-control", "no-transform")],
            "/varies" => &[("content-type", "text/plain"), ("vary", "x-user")],
            "/parameter" => &[("content-type", "Application/JSON;charset=utf-8")],
            _ => &[("content-type", "text/plain")],
        };
        let text = TEXT.repeat(10);
        Answer::sized(200, fields, if head.target() == "/short" { "short" } else { &text })
    });
    let types = ["text/plain", "application/json"];
    let filters = codings("compressor").into_iter().map(|library| {
        let common = json!({"min_content_length": 100, "content_type": types});
        filter(
            "compressor",
            "compressor.v3.Compressor",
            json!({
                "response_direction_config": {"common_config": common},
                "compressor_library": library,
            }),
        )
    });
    let mut filters: Vec<Json> = filters.collect();
    for (at, filter) in filters.iter_mut().enumerate() {
        filter["name"] = format!("compressor-{at}").into();
    }
    let sides = Sides::start(up, Policy {
        ours: "compression: {algorithms: [gzip, br, zstd], min_length: 100, content_types: [text/plain, application/json]}"
            .to_owned(),
        filters,
        ..Policy::default()
    });
    let Some(sides) = sides else { return };
    let compared = ["content-encoding", "vary"];
    for accepted in
        ["gzip", "br", "zstd", "gzip;q=0.5, br", "br;q=0.5, zstd;q=0.1", "identity", "gzip;q=0", "unknown"]
    {
        let [ours, theirs] = sides.seen(&Ask::get("/", &[("accept-encoding", accepted)]), 0, &compared);
        assert_eq!(ours, theirs, "{accepted}");
    }
    let [ours, theirs] = sides.seen(&Ask::get("/", &[]), 0, &compared);
    assert_eq!(ours, theirs, "nothing is said of codings");
    // Codings have no case (RFC 9110, 8.4.1), which Envoy does not know.
    let [ours, theirs] = sides.seen(&Ask::get("/", &[("accept-encoding", "GZIP")]), 0, &["content-encoding"]);
    assert_eq!([ours.fields.len(), theirs.fields.len()], [1, 0]);
    for path in ["/image", "/own", "/kept", "/varies", "/parameter", "/short"] {
        let [ours, theirs] = sides.seen(&Ask::get(path, &[("accept-encoding", "gzip")]), 0, &compared);
        assert_eq!(ours, theirs, "{path}");
    }
}

#[test]
fn bodies_are_decompressed_as_envoy_does_it() {
    let compressed = encoded("gzip", TEXT);
    let answer = compressed.clone();
    let up = Upstream::start(move |head| match head.target() {
        "/compressed" => {
            let length = answer.len().to_string();
            let fields = [("content-encoding", "gzip"), ("content-length", &*length)];
            Answer::default().read_body().head(200, &fields).act(Act::Send(answer.clone()))
        }
        _ => Answer::ok("plain"),
    });
    let libraries = codings("decompressor").into_iter().enumerate().map(|(at, library)| {
        let mut filter = filter(
            "decompressor",
            "decompressor.v3.Decompressor",
            json!({
                "request_direction_config": {"advertise_accept_encoding": false, "common_config": {}},
                "response_direction_config": {"common_config": {}},
                "decompressor_library": library,
            }),
        );
        filter["name"] = format!("decompressor-{at}").into();
        filter
    });
    let sides = Sides::start(
        up,
        Policy {
            ours: "decompression: {requests: true, responses: true}".to_owned(),
            filters: libraries.collect(),
            ..Policy::default()
        },
    );
    let Some(sides) = sides else { return };
    let gzip = ("content-encoding", "gzip");
    for (path, fields, body) in [
        ("/", &[gzip][..], &*compressed),
        ("/", &[], TEXT.as_bytes()),
        ("/", &[("content-encoding", "identity")], TEXT.as_bytes()),
        ("/compressed", &[], b""),
        ("/compressed", &[gzip], &compressed),
    ] {
        let ask = Ask { method: "POST", path, fields, body };
        let [ours, theirs] = sides.seen(&ask, 0, &["content-encoding"]);
        assert_eq!(ours, theirs, "{path} {fields:?}");
    }
}

#[test]
fn a_mirror_gets_what_envoys_gets() {
    let sides = Sides::start(
        Upstream::ok("hello"),
        Policy {
            ours: "mirror: {cluster: copy}, rewrite: {prefix: /new/}".to_owned(),
            action: json!({"request_mirror_policies": [{"cluster": "copy"}], "prefix_rewrite": "/new/"}),
            ..Policy::default()
        },
    );
    let Some(sides) = sides else { return };
    for (method, path, body) in
        [("GET", "/a?b=c", ""), ("POST", "/", "some text"), ("HEAD", "/", ""), ("DELETE", "/x/", "")]
    {
        let ask = Ask { method, path, fields: &[("x-own", "1")], body: body.as_bytes() };
        let [ours, theirs] = sides.seen(&ask, 1, &["host", "x-own"]);
        assert_eq!(ours, theirs, "{method} {path}");
    }
}

#[test]
fn redirects_are_followed_where_envoy_follows_them() {
    let up = Upstream::start(|head| match head.target().split_once("?to=") {
        Some((status, location)) => {
            Answer::sized(status[1..].parse().expect("a status"), &[("location", location)], "elsewhere")
        }
        None => Answer::ok("here"),
    });
    let sides = Sides::start(
        up,
        Policy {
            ours: "follow_redirects: {codes: [301, 302, 303, 307], max: 2}".to_owned(),
            action: json!({"internal_redirect_policy": {
                "max_internal_redirects": 2,
                "redirect_response_codes": [301, 302, 303, 307],
            }}),
            ..Policy::default()
        },
    );
    let Some(sides) = sides else { return };
    for (method, path, body) in [
        ("GET", "/302?to=http://other.test:81/a?b", ""),
        ("GET", "/302?to=http://tide.test/a", ""),
        ("GET", "/301?to=http://tide.test/a", ""),
        ("GET", "/308?to=http://tide.test/a", ""),
        ("GET", "/307?to=http://a.test/307?to=http://b.test/a", ""),
        ("GET", "/307?to=http://a.test/307?to=http://b.test/307?to=http://c.test/a", ""),
        ("GET", "/302?to=https://other.test/", ""),
        ("DELETE", "/303?to=http://tide.test/a", ""),
        ("HEAD", "/303?to=http://tide.test/a", ""),
        ("POST", "/307?to=http://tide.test/a", "a body"),
        ("POST", "/303?to=http://tide.test/a", "a body"),
        ("GET", "/302?to=", ""),
        ("GET", "/302?to=http://", ""),
    ] {
        let ask = Ask { method, path, fields: &[], body: body.as_bytes() };
        let [ours, theirs] = sides.seen(&ask, 0, &["host", "x-envoy-original-url", "location"]);
        assert_eq!(ours, theirs, "{method} {path}");
    }
    // A path alone is where most services send their clients, and Envoy passes it on.
    let [ours, theirs] = sides.seen(&Ask::get("/302?to=/a", &[]), 0, &["location"]);
    assert_eq!((ours.status, &*ours.up[1].line), (200, "GET /a HTTP/1.1"));
    assert_eq!((theirs.status, theirs.up.len()), (302, 1));
}

#[test]
fn errors_have_the_pages_that_envoy_gives_them() {
    let page = "%RESPONSE_CODE%, 100%% %REQ(x-user?x-other)% %REQ(x-user):2% %PROTOCOL% %REQ(:METHOD)%";
    let mapper = |status: u16, to: u16| {
        json!({
            "filter": {"status_code_filter": {"comparison": {
                "op": "EQ", "value": {"default_value": status, "runtime_key": "none"},
            }}},
            "status_code": to,
            "headers_to_add": [
                {"header": {"key": "x-page", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            ],
            "body_format_override": {"text_format_source": {"inline_string": page}, "content_type": "text/x-page"},
        })
    };
    let sides = Sides::start(
        Upstream::start(|head| match head.target() {
            "/cut" => Answer::default().act(Act::Close),
            _ => Answer::sized(503, &[], "of the upstream"),
        }),
        Policy {
            listener: vec![
                "error_pages: [{statuses: 502, status: 500, content_type: text/x-page, headers: {x-page: \"1\"}, \
                 body: \"%RESPONSE_CODE%, 100%% %REQ(x-user?x-other)% %REQ(x-user):2% %PROTOCOL% %REQ(:METHOD)%\"}]",
            ],
            manager: json!({"local_reply_config": {"mappers": [mapper(503, 500)]}}),
            ..Policy::default()
        },
    );
    let Some(sides) = sides else { return };
    for path in ["/cut", "/busy"] {
        for fields in [&[][..], &[("x-user", "ann")], &[("x-other", "bob")]] {
            let [ours, theirs] = sides.seen(&Ask::get(path, fields), 0, &["x-page", "content-type"]);
            assert_eq!(ours, theirs, "{path} {fields:?}");
        }
    }
}

#[test]
fn header_fields_say_what_envoys_say() {
    let texts = [
        ("x-client", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("x-how", "%PROTOCOL% %REQ(:METHOD)% %REQ(:PATH)%"),
        ("x-who", "%REQ(x-user?x-other):3%"),
        ("x-none", "%REQ(x-missing)%"),
        ("x-some", "a %REQ(x-missing)% b"),
        ("x-share", "100%%"),
        ("x-encrypted", "%REQUESTED_SERVER_NAME%%DOWNSTREAM_TLS_VERSION%%DOWNSTREAM_PEER_SUBJECT%"),
        ("x-cluster", "%UPSTREAM_CLUSTER%"),
    ];
    let answered =
        [("x-status", "%RESPONSE_CODE%"), ("x-seen", "%REQ(x-user)%"), ("x-nothing", "%REQ(x-missing)%")];
    let ours = |texts: &[(&str, &str)]| {
        texts.iter().map(|(name, text)| format!("{name}: \"{text}\"")).collect::<Vec<_>>().join(", ")
    };
    let theirs = |texts: &[(&str, &str)]| -> Json {
        let option = |(name, text): &(&str, &str)| json!({"header": {"key": name, "value": text}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
        texts.iter().map(option).collect()
    };
    let sides = Sides::start(
        Upstream::start(|_| Answer::sized(404, &[], "none")),
        Policy {
            ours: format!(
                "headers: {{request: {{set: {{{}}}}}, response: {{set: {{{}}}}}}}",
                ours(&texts),
                ours(&answered)
            ),
            entry: json!({
                "request_headers_to_add": theirs(&texts),
                "response_headers_to_add": theirs(&answered),
            }),
            ..Policy::default()
        },
    );
    let Some(sides) = sides else { return };
    let mut compared: Vec<&str> = texts.iter().chain(&answered).map(|(name, _)| *name).collect();
    compared.push("x-missing");
    for fields in [&[][..], &[("x-user", "ann-marie")], &[("x-other", "\u{e9}t\u{e9}")]] {
        let [ours, theirs] = sides.seen(&Ask::get("/a?b", fields), 0, &compared);
        assert_eq!(ours, theirs, "{fields:?}");
    }
    // What only the proxy is to say a client cannot say either; in Envoy it can.
    let [ours, theirs] = sides.seen(&Ask::get("/", &[("x-none", "their own")]), 0, &["x-none"]);
    assert_eq!([ours.up[0].fields.len(), theirs.up[0].fields.len()], [0, 1]);
}

#[test]
fn paths_have_the_form_that_they_have_for_envoy_and_are_rewritten_alike() {
    let template = |kind: &str, name: &str, field: &str, text: &str| {
        let message = format!("type.googleapis.com/envoy.extensions.path.{kind}.uri_template.v3.{name}");
        json!({"name": format!("envoy.path.{kind}.uri_template"), "typed_config": {"@type": message, field: text}})
    };
    let matched = template("match", "UriTemplateMatchConfig", "path_template", "/users/{id}/files/{rest=**}");
    let rewritten =
        template("rewrite", "UriTemplateRewriteConfig", "path_template_rewrite", "/v2/{rest}/of/{id}.txt");
    let sides = Sides::start(
        Upstream::ok("hello"),
        Policy {
            matches: "{path: {template: \"/users/{id}/files/{rest=**}\"}}",
            ours: "rewrite: {template: \"/v2/{rest}/of/{id}.txt\"}".to_owned(),
            entry: json!({"match": {"path_match_policy": matched}}),
            action: json!({"path_rewrite_policy": rewritten}),
            ..Policy::default()
        },
    );
    let Some(sides) = sides else { return };
    for path in [
        "/users/7/files/a",
        "/users/7/files/a/b/c?x=y",
        "/users/7/files/",
        "/users/7/files",
        "/users//files/a",
        "/users/7/8/files/a",
        "/users/a-b_c~1/files/%C3%A9?q",
        "/other",
    ] {
        let [mut ours, mut theirs] = sides.seen(&Ask::get(path, &[]), 0, &[]);
        if ours.status == 404 {
            // Each says it in its own words.
            (ours.body, theirs.body) = Default::default();
        }
        assert_eq!(ours, theirs, "{path}");
    }
}

#[test]
fn a_host_is_what_a_field_says_as_in_envoy() {
    let sides = Sides::start(
        Upstream::ok("hello"),
        Policy {
            ours: "rewrite: {host: \"%REQ(x-host)%\"}".to_owned(),
            action: json!({"host_rewrite_header": "x-host"}),
            ..Policy::default()
        },
    );
    let Some(sides) = sides else { return };
    for fields in [&[][..], &[("x-host", "a.test")], &[("x-host", "a.test:81")], &[("x-host", "")]] {
        let [ours, theirs] = sides.seen(&Ask::get("/", fields), 0, &["host"]);
        assert_eq!(ours, theirs, "{fields:?}");
    }
}
