//! Where modules are, what they are pinned to and fetched with, and whose signatures count.

use std::fs;
use std::path::Path;

use expect_test::expect;

use super::super::model::{Location, ModuleSource, Pull};
use super::super::{effective, parse};
use super::{problems, valid, with_filter};

const PIN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF";
/// That of RFC 8032's first test.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

fn module(text: &str) -> String {
    with_filter(&format!("    module: {text}\n"))
}

/// What is shown of it, which means the same again.
fn shown(text: &str) -> String {
    let config = valid(&module(text)).config;
    let shown = effective(&config);
    assert_eq!(effective(&valid(&shown.to_string()).config), shown);
    shown["filters"]["f"]["module"].to_string()
}

#[test]
fn a_module_is_a_text_or_a_mapping_that_says_more() {
    expect![[r#""builtin:x""#]].assert_eq(&shown("builtin:x"));
    expect![[r#""./a.wasm""#]].assert_eq(&shown("./a.wasm"));
    expect![[
        r#"{"file":"a.wasm","sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}"#
    ]]
    .assert_eq(&shown(&format!("{{file: a.wasm, sha256: {PIN}}}")));
    expect![[r#"{"url":"https://h:1/a.wasm?b=c","timeout":"30s","retries":3,"pull":"if_not_present"}"#]]
        .assert_eq(&shown("\"https://h:1/a.wasm?b=c\""));
    expect![[r#"{"oci":"docker.io/me/a:1.0","timeout":"30s","retries":3,"pull":"if_not_present"}"#]]
        .assert_eq(&shown("oci://docker.io/me/a:1.0"));
    expect![[r#"{"oci":"localhost/a","timeout":"1s","retries":0,"pull":"if_not_present","credentials":{"username":{"from_env":"CARGO_PKG_NAME"},"password":{"from_env":"CARGO_PKG_VERSION"}},"plain_http":true}"#]]
        .assert_eq(&shown("{oci: localhost/a, timeout: 1s, retries: 0, pull: if_not_present, plain_http: true, credentials: {username: {from_env: CARGO_PKG_NAME}, password: {from_env: CARGO_PKG_VERSION}}}"));
}

#[test]
fn a_tag_that_is_meant_to_move_is_pulled_always() {
    let pull = |text: &str| match &valid(&module(text)).config.filters[0].module {
        ModuleSource::Remote(remote) => (remote.pull, matches!(remote.location, Location::Image(_))),
        other => panic!("{other:?}"),
    };
    assert_eq!(pull("oci://r.io/a"), (Pull::Always, true));
    assert_eq!(pull("oci://r.io/a:latest"), (Pull::Always, true));
    assert_eq!(pull("oci://r.io/a:1"), (Pull::IfNotPresent, true));
    assert_eq!(pull(&format!("oci://r.io/a@sha256:{PIN}")), (Pull::IfNotPresent, true));
    assert_eq!(pull("https://r.io/a"), (Pull::IfNotPresent, false));
}

#[test]
fn what_makes_no_sense_of_a_module_is_explained() {
    let cases = [
        "ftp://h/a.wasm",
        "https://ann:secret@h/a.wasm",
        "oci://me/a:1",
        "oci://r.io/A",
        "oci://r.io/a@sha256:12",
        "{}",
        "{file: a, url: \"https://h/\"}",
        "{file: a, pull: always}",
        "{url: \"https://h/\", cluster: none}",
        "{url: \"https://h/\", plain_http: true}",
        "{oci: r.io/a:1, credentials: {username: ann, password: {from_file: ./no-such-file}}}",
        "{oci: r.io/a:1, credentials: {username: {from_env: CARGO_PKG_NAME}}}",
        "{oci: r.io/a:1, sha: 1}",
        "{oci: r.io/a:1, sah256: 1, credentials: {username: {form_env: A}, password: {from_env: A}}}",
        "[a]",
        "5",
    ];
    let all: String = cases.iter().map(|case| problems(&module(case)) + "\n").collect();
    expect![[r#"
        error: expected a module such as `builtin:fault`, `./my.wasm`, `https://host/my.wasm` or `oci://registry/my-filter:1.0`, found `ftp://h/a.wasm`
         --> tidegate.yaml:5:13
          |
        5 |     module: ftp://h/a.wasm
          |             ^^^^^^^^^^^^^^
          |
          = help: a module is fetched by `https://`, `http://` or `oci://`

        error: expected a URL such as `https://modules.example.com/my.wasm`, found `https://…@h`
         --> tidegate.yaml:5:13
          |
        5 |     module: https://ann:secret@h/a.wasm
          |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: a password does not stand in a URL: use `credentials`

        error: expected an image such as `oci://registry.example.com/my-filter:1.0`, found `oci://me/a:1`
         --> tidegate.yaml:5:13
          |
        5 |     module: oci://me/a:1
          |             ^^^^^^^^^^^^
          |
          = help: it begins with the registry's host: `oci://docker.io/me/my-filter:1.0`

        error: expected an image such as `oci://registry.example.com/my-filter:1.0`, found `oci://r.io/A`
         --> tidegate.yaml:5:13
          |
        5 |     module: oci://r.io/A
          |             ^^^^^^^^^^^^
          |
          = help: a repository has lower-case letters, digits, `.`, `_`, `-` and `/`

        error: expected an image such as `oci://registry.example.com/my-filter:1.0`, found `oci://r.io/a@sha256:12`
         --> tidegate.yaml:5:13
          |
        5 |     module: oci://r.io/a@sha256:12
          |             ^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: a digest is `@sha256:` and 64 hexadecimal digits

        error: the module has no place
         --> tidegate.yaml:5:13
          |
        5 |     module: {}
          |             ^^
          |
          = help: say where it is: `file`, `url` or `oci`

        error: `file` and `url` cannot be given together
         --> tidegate.yaml:5:28
          |
        5 |     module: {file: a, url: "https://h/"}
          |                            ^^^^^^^^^^^^
          |
          = help: keep one of `file`, `url`, `oci`

        error: `pull` is of modules that are fetched, and this is a file
         --> tidegate.yaml:5:29
          |
        5 |     module: {file: a, pull: always}
          |                             ^^^^^^
          |
          = help: remove `pull`

        error: a cluster is not asked by `https://`
         --> tidegate.yaml:5:19
          |
        5 |     module: {url: "https://h/", cluster: none}
          |                   ^^^^^^^^^^^^
          |
          = help: give the URL as `http://`: connections to a cluster's endpoints are plain

        error: there is no cluster `none`
         --> tidegate.yaml:5:42
          |
        5 |     module: {url: "https://h/", cluster: none}
          |                                          ^^^^
          |
          = help: there are no clusters

        error: `plain_http` is of registries
         --> tidegate.yaml:5:45
          |
        5 |     module: {url: "https://h/", plain_http: true}
          |                                             ^^^^
          |
          = help: the URL says it: `http://`

        error: credentials are a `username` and a `password`, or a `docker_config`
         --> tidegate.yaml:5:42
          |
        5 |     module: {oci: r.io/a:1, credentials: {username: ann, password: {from_file: ./no-such-file}}}
          |                                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: give both, each as `{from_env: NAME}` or `{from_file: PATH}`, or only `docker_config: PATH`

        error: expected `{from_env: NAME}` or `{from_file: PATH}`, found a text
         --> tidegate.yaml:5:53
          |
        5 |     module: {oci: r.io/a:1, credentials: {username: ann, password: {from_file: ./no-such-file}}}
          |                                                     ^^^
          |
          = help: a secret does not stand in the configuration: say where it is

        error: credentials are a `username` and a `password`, or a `docker_config`
         --> tidegate.yaml:5:42
          |
        5 |     module: {oci: r.io/a:1, credentials: {username: {from_env: CARGO_PKG_NAME}}}
          |                                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: give both, each as `{from_env: NAME}` or `{from_file: PATH}`, or only `docker_config: PATH`

        error: unknown field `sha`
         --> tidegate.yaml:5:29
          |
        5 |     module: {oci: r.io/a:1, sha: 1}
          |                             ^^^
          |
          = help: the fields here are `file`, `url`, `oci`, `sha256`, `cluster`, `credentials`, `timeout`, `retries`, `pull`, `plain_http`

        error: unknown field `sah256`
         --> tidegate.yaml:5:29
          |
        5 |     module: {oci: r.io/a:1, sah256: 1, credentials: {username: {form_env: A}, password: {from_env: A}}}
          |                             ^^^^^^
          |
          = help: did you mean `sha256`?

        error: credentials are a `username` and a `password`, or a `docker_config`
         --> tidegate.yaml:5:53
          |
        5 |     module: {oci: r.io/a:1, sah256: 1, credentials: {username: {form_env: A}, password: {from_env: A}}}
          |                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: give both, each as `{from_env: NAME}` or `{from_file: PATH}`, or only `docker_config: PATH`

        error: unknown field `form_env`
         --> tidegate.yaml:5:65
          |
        5 |     module: {oci: r.io/a:1, sah256: 1, credentials: {username: {form_env: A}, password: {from_env: A}}}
          |                                                                 ^^^^^^^^
          |
          = help: did you mean `from_env`?

        error: expected a module such as `builtin:fault`, `./my.wasm`, `https://host/my.wasm` or `oci://registry/my-filter:1.0`, found a list
         --> tidegate.yaml:5:13
          |
        5 |     module: [a]
          |             ^^^

        error: expected a module such as `builtin:fault`, `./my.wasm`, `https://host/my.wasm` or `oci://registry/my-filter:1.0`, found the number 5
         --> tidegate.yaml:5:13
          |
        5 |     module: 5
          |             ^

    "#]].assert_eq(&all);
}

#[test]
fn a_module_that_anybody_on_the_way_can_change_is_warned_of() {
    let warned = |text: &str| !valid(&module(text)).warnings.is_empty();
    assert!(warned("\"http://h/a.wasm\"") && warned("{oci: r.io/a:1, plain_http: true}"));
    assert!(
        !warned("\"https://h/a.wasm\"") && !warned(&format!("{{url: \"http://h/a.wasm\", sha256: {PIN}}}"))
    );
}

#[test]
fn listeners_name_keys_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ann.pem"), KEY).unwrap();
    fs::write(folder.path().join("none.pem"), "none").unwrap();
    let config = |keys: &str, names: &str| {
        let config = with_filter("    module: builtin:x\n")
            .replace("filters: [f],", &format!("filters: [f], require_signature_by: {names},"));
        parse(&(config + "trusted_keys:\n" + keys), &folder.path().join("t.yaml"))
    };
    let loaded =
        config("  ann: {from_file: ann.pem}\n", "[ann]").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.listeners[0].require_signature_by, [0]);
    let shown = effective(&loaded.config);
    let again =
        parse(&shown.to_string(), Path::new("t.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(effective(&again.config), shown);
    let wrong = |keys, names| {
        let problems = config(keys, names).expect_err("this is wrong").render(false);
        problems.replace(&format!("{}/", folder.path().display()), "") + "\n\n"
    };
    let all = wrong("  ann: {from_file: ann.pem}\n", "[bob]")
        + &wrong("  ann: {from_file: ann.pem}\n", "[]")
        + &wrong("  ann: {from_file: ann.pem}\n", "[ann, ann]")
        + &wrong("  ann: {from_file: none.pem}\n", "[ann]")
        + &wrong("  ann: {}\n", "[ann]");
    expect![[r#"
        error: there is no trusted key `bob`
         --> t.yaml:2:74
          |
        2 |   - {name: l, address: 127.0.0.1:0, filters: [f], require_signature_by: [bob], routes: [{match: {}, respond: {}}]}
          |                                                                          ^^^
          |
          = help: the trusted keys are `ann`

        error: a signature by nobody is required
         --> t.yaml:2:73
          |
        2 |   - {name: l, address: 127.0.0.1:0, filters: [f], require_signature_by: [], routes: [{match: {}, respond: {}}]}
          |                                                                         ^^
          |
          = help: name a key of `trusted_keys`, or leave the line out

        error: the key `ann` is named twice
         --> t.yaml:2:79
          |
        2 |   - {name: l, address: 127.0.0.1:0, filters: [f], require_signature_by: [ann, ann], routes: [{match: {}, respond: {}}]}
          |                                                                               ^^^
          |
          = help: the first one is on line 2

        error: `none.pem`: this is no Ed25519 key in PEM
         --> t.yaml:7:20
          |
        7 |   ann: {from_file: none.pem}
          |                    ^^^^^^^^
          |
          = help: `openssl pkey -in private.pem -pubout` writes a public key

        error: the field `from_file` is missing here
         --> t.yaml:7:8
          |
        7 |   ann: {}
          |        ^^

    "#]].assert_eq(&all);
}
