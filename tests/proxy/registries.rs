//! Modules from registries: every layout that they are shipped in, by tag and by digest, with and without a door.

use crate::equipment::{ANN, Answer, Layout, Proxy, Registry, Upstream, base64, digest};

use super::fetching::{bytes, filtering, folder, keeping, marking, refused};

/// The fields of a filter whose module is this image.
fn image(registry: &Registry, name: &str, more: &str) -> String {
    format!("module: {{oci: \"{}/{name}\", plain_http: true, retries: 0{more}}}", registry.address())
}

fn version(proxy: &Proxy) -> Option<String> {
    proxy.client().get("/").field("x-version").map(str::to_owned)
}

#[test]
fn a_module_is_found_in_every_layout() {
    if !Registry::is_installed() {
        return;
    }
    let registry = Registry::start();
    let upstream = Upstream::ok("hello");
    let layouts = [Layout::Module, Layout::Artifact, Layout::Content, Layout::Compat, Layout::CompatDocker];
    let names = ["module", "artifact", "content", "compat", "docker"];
    let filters = layouts.iter().zip(names).map(|(layout, name)| {
        registry.push(&format!("filters/{name}"), "1.0", &marking(name), *layout);
        (name, image(&registry, &format!("filters/{name}:1.0"), ""))
    });
    let filters: Vec<_> = filters.collect();
    let filters: Vec<_> = filters.iter().map(|(name, fields)| (*name, &**fields)).collect();
    let cache = folder();
    let proxy = keeping(&filtering(&upstream, &filters), &cache).start();
    let mut seen: Vec<_> =
        proxy.client().get("/").head.all("x-version").into_iter().map(str::to_owned).collect();
    seen.reverse();
    assert_eq!(seen, names);
}

#[test]
fn an_image_without_one_module_is_refused_with_what_it_has() {
    if !Registry::is_installed() {
        return;
    }
    let registry = Registry::start();
    let cases = [
        (Layout::NoModule, "there is no plugin.wasm in its layer"),
        (Layout::Unknown, "its layers are of the types application/octet-stream"),
        (Layout::Two, "several of its layers are modules"),
    ];
    for (layout, why) in cases {
        registry.push("a", "1", &marking("1"), layout);
        let text = refused(&image(&registry, "a:1", ""));
        assert!(text.contains(why), "{text}");
    }
    let text = refused(&image(&registry, "nothing:1", ""));
    assert!(text.contains("answered 404"), "{text}");
}

#[test]
fn an_image_by_its_digest_is_that_image_whatever_its_tag_is_now() {
    if !Registry::is_installed() {
        return;
    }
    let registry = Registry::start();
    let upstream = Upstream::ok("hello");
    let first = registry.push("a", "1", &marking("1"), Layout::Artifact);
    registry.push("a", "1", &marking("2"), Layout::Artifact);
    let by_digest = image(&registry, &format!("a@{}", first.digest), "");
    let cache = folder();
    let proxy = keeping(&filtering(&upstream, &[("mark", &by_digest)]), &cache).start();
    assert_eq!(version(&proxy).as_deref(), Some("1"));
    drop(proxy);
    drop(registry);
    let proxy = keeping(&filtering(&upstream, &[("mark", &by_digest)]), &cache).start();
    assert_eq!(version(&proxy).as_deref(), Some("1"), "it is on the disk");
}

#[test]
fn a_tag_that_moves_is_noticed_where_it_is_pulled_always_and_unchanged_layers_are_not_fetched_again() {
    if !Registry::is_installed() {
        return;
    }
    let registry = Registry::start();
    let upstream = Upstream::ok("hello");
    registry.push("a", "latest", &marking("1"), Layout::Module);
    registry.push("b", "1", &marking("1"), Layout::Module);
    let filters = [("moving", image(&registry, "a", "")), ("staying", image(&registry, "b:1", ""))];
    let filters: Vec<_> = filters.iter().map(|(name, fields)| (*name, &**fields)).collect();
    let cache = folder();
    let mut proxy = keeping(&filtering(&upstream, &filters), &cache).start();
    let blobs = registry.count("a/blobs/sha256");
    assert!(proxy.reload());
    assert_eq!(registry.count("a/blobs/sha256"), blobs, "the manifest is the same");
    assert_eq!(registry.count("a/manifests/latest"), 2);
    assert_eq!(registry.count("b/manifests/1"), 1);
    for name in ["a", "b"] {
        registry.push(name, if name == "a" { "latest" } else { "1" }, &marking("2"), Layout::Module);
    }
    assert!(proxy.reload());
    assert_eq!(proxy.client().get("/").head.all("x-version"), ["1", "2"], "the last filter sees it first");
}

#[test]
fn of_an_index_the_image_for_wasm_is_taken_or_the_only_one() {
    if !Registry::is_installed() {
        return;
    }
    let registry = Registry::start();
    let upstream = Upstream::ok("hello");
    let one = registry.push("a", "1", &marking("1"), Layout::Artifact);
    let two = registry.push("a", "2", &marking("2"), Layout::CompatDocker);
    registry.push_index("a", "both", &[(&two, "linux", "amd64"), (&one, "wasip1", "wasm")]);
    registry.push_index("a", "only", &[(&two, "linux", "amd64"), (&one, "unknown", "unknown")]);
    registry.push_index("a", "none", &[(&two, "linux", "amd64"), (&two, "linux", "arm64")]);
    let filters = [("both", image(&registry, "a:both", "")), ("only", image(&registry, "a:only", ""))];
    let filters: Vec<_> = filters.iter().map(|(name, fields)| (*name, &**fields)).collect();
    let cache = folder();
    let proxy = keeping(&filtering(&upstream, &filters), &cache).start();
    assert_eq!(proxy.client().get("/").head.all("x-version"), ["2", "1"]);
    let text = refused(&image(&registry, "a:none", ""));
    assert!(
        text.contains("it is an index with none for `wasm`, of the platforms [linux/amd64, linux/arm64]"),
        "{text}"
    );
}

#[test]
fn a_guarded_registry_is_shown_a_password_or_the_file_that_docker_writes() {
    if !Registry::is_installed() {
        return;
    }
    let registry = Registry::start_guarded();
    let upstream = Upstream::ok("hello");
    registry.push("a", "1", &marking("1"), Layout::Module);
    let by_name = ", credentials: {username: {from_env: NAME}, password: {from_env: WORD}}";
    let by_file = ", credentials: {docker_config: ./docker.json}";
    let auth = base64(&format!("{}:{}", ANN.0, ANN.1));
    let docker = format!(r#"{{"auths": {{"http://{}": {{"auth": "{auth}"}}}}}}"#, registry.address());
    for credentials in [by_name, by_file] {
        let config = filtering(&upstream, &[("mark", &image(&registry, "a:1", credentials))]);
        let start = keeping(&config, &folder()).env("NAME", ANN.0).env("WORD", ANN.1);
        let proxy = start.file("docker.json", docker.clone()).start();
        assert_eq!(version(&proxy).as_deref(), Some("1"));
        let shown =
            proxy.admin("/config").text() + &proxy.log().iter().map(ToString::to_string).collect::<String>();
        assert!(!shown.contains(ANN.1) && !shown.contains(&auth), "{shown}");
    }
    let text = refused(&image(&registry, "a:1", ""));
    assert!(text.contains("answered 401: it wants credentials"), "{text}");
    let config = filtering(&upstream, &[("mark", &image(&registry, "a:1", by_name))]);
    let exit = keeping(&config, &folder()).env("NAME", ANN.0).env("WORD", "wrong-word").run("check");
    assert!(exit.stderr.contains("it does not take the credentials"), "{}", exit.stderr);
    assert!(!exit.stderr.contains("wrong-word"), "{}", exit.stderr);
}

/// No registry that can be had here gives tokens without a server for them: this is both.
#[test]
fn a_registry_that_wants_a_token_is_shown_one_of_the_server_that_it_names() {
    let upstream = Upstream::ok("hello");
    let module = marking("1");
    let layer = digest(&module);
    let manifest = format!(
        r#"{{"schemaVersion": 2, "layers": [{{"mediaType": "application/wasm", "digest": "{layer}", "size": {}}}]}}"#,
        module.len()
    );
    let door = Upstream::start(|head| match head.field("authorization") {
        Some(shown) if shown == format!("Basic {}", base64("ann:open-sesame")) => {
            Answer::ok(r#"{"token": "let-her-in"}"#)
        }
        _ => Answer::sized(401, &[], ""),
    });
    let realm = format!(
        r#"Bearer realm="http://{}/token",service="store",scope="repository:a:pull""#,
        door.address()
    );
    let store = Upstream::start(move |head| match (head.field("authorization"), head.target()) {
        (Some("Bearer let-her-in"), "/v2/a/manifests/1") => Answer::ok(&manifest),
        (Some("Bearer let-her-in"), _) => bytes(&module),
        _ => Answer::sized(401, &[("www-authenticate", &realm)], ""),
    });
    let fields = format!(
        "module: {{oci: \"{}/a:1\", plain_http: true, retries: 0, credentials: {{username: {{from_env: NAME}}, password: {{from_env: WORD}}}}}}",
        store.address()
    );
    let config = filtering(&upstream, &[("mark", &fields)]);
    let proxy = keeping(&config, &folder()).env("NAME", "ann").env("WORD", "open-sesame").start();
    assert_eq!(version(&proxy).as_deref(), Some("1"));
    assert_eq!(door.requests()[0].head.target(), "/token?service=store&scope=repository%3Aa%3Apull");
    let stored: Vec<_> = store.requests().iter().map(|request| request.head.target().to_owned()).collect();
    assert_eq!(stored, ["/v2/a/manifests/1", "/v2/a/manifests/1", &format!("/v2/a/blobs/{layer}")]);
}

#[test]
fn a_registry_that_lies_about_a_layer_is_not_believed() {
    let module = marking("1");
    let manifest = |size: usize, of: &[u8]| {
        format!(
            r#"{{"schemaVersion": 2, "layers": [{{"mediaType": "application/wasm", "digest": "{}", "size": {size}}}]}}"#,
            digest(of)
        )
    };
    let cases = [
        (manifest(module.len(), b"another"), "the image's layer is not what its digest says"),
        (manifest(3, &module), "the image's layer is larger than 3 bytes"),
        (manifest(1 << 40, &module), "the image's layer is larger than 67108864 bytes"),
        ("{".to_owned(), "the registry's answer is none"),
        (" ".repeat((4 << 20) + 1), "the image's manifest is larger than 4194304 bytes"),
    ];
    for (manifest, why) in cases {
        let module = module.clone();
        let store = Upstream::start(move |head| match head.target().contains("manifests") {
            true => Answer::ok(&manifest),
            false => bytes(&module),
        });
        let text =
            refused(&format!("module: {{oci: \"{}/a:1\", plain_http: true, retries: 0}}", store.address()));
        assert!(text.contains(why), "{text}");
        store.pardon();
    }
}
