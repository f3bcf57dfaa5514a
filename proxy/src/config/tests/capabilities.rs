//! What a filter may do, in the file: what is understood, and what is told about what is not.

use expect_test::expect;

use super::super::model::{BodyAccess, Grant};
use super::{problems, valid, with_filter};

fn granted(text: &str) -> Grant {
    let loaded = valid(&with_filter(&format!("    module: builtin:x\n{text}")));
    loaded.config.filters[0].capabilities.clone()
}

#[test]
fn without_a_word_everything_is_granted_and_with_an_empty_one_nothing() {
    assert_eq!(granted(""), Grant::Everything);
    assert_eq!(granted("    capabilities: {}\n"), Grant::Only(Box::default()));
    assert_eq!(granted("    capabilities: manifest\n"), Grant::Manifest);
}

#[test]
fn names_are_brought_into_the_form_in_which_they_are_looked_up() {
    let Grant::Only(capabilities) = granted(
        "    capabilities:
      headers: {read: [X-User, Host, \":path\", \"X-*\"], write: []}
      properties: {read: [route_name, source.address]}
      hostcalls: [proxy_log, \"proxy_get_*\", tidegate.kv.get, fd_write]
      body: write\n",
    ) else {
        panic!("it names what is granted")
    };
    let read: Vec<&str> = capabilities.headers.read.iter().collect();
    assert_eq!(read, ["x-user", ":authority", ":path", "x-*"]);
    assert!(capabilities.properties.read.contains(b"xds.route_name"));
    assert!(capabilities.hostcalls.expect("they are named").contains(b"proxy_get_property"));
    assert_eq!(capabilities.body, BodyAccess::Write);
}

#[test]
fn what_cannot_be_granted_is_refused_with_what_was_likely_meant() {
    let text = with_filter(
        "    module: builtin:x
    capabilities:
      header: {}
      hostcalls: [proxy_http_cal, proxy_on_log]
      clusters: [nowhere]
      headers: {read: [\"a b\", \":pat\", \"\"], writes: []}
      properties: {read: [request.headers.cookie]}
      body: all
      log: loud
      reply: maybe\n",
    );
    expect![[r#"
        error: unknown field `header`
         --> tidegate.yaml:7:7
          |
        7 |       header: {}
          |       ^^^^^^
          |
          = help: did you mean `headers`?

        error: there is no hostcall and no foreign function `proxy_http_cal`
         --> tidegate.yaml:8:19
          |
        8 |       hostcalls: [proxy_http_cal, proxy_on_log]
          |                   ^^^^^^^^^^^^^^
          |
          = help: did you mean `proxy_http_call`?

        error: `proxy_on_log` is a callback, not a hostcall
         --> tidegate.yaml:8:35
          |
        8 |       hostcalls: [proxy_http_cal, proxy_on_log]
          |                                   ^^^^^^^^^^^^
          |
          = help: leave it out: a filter hears of what its exports are for, and sees what the rest grants

        error: there is no cluster `nowhere`
         --> tidegate.yaml:9:18
          |
        9 |       clusters: [nowhere]
          |                  ^^^^^^^
          |
          = help: there are no clusters

        error: `a b` cannot be the name of a header
          --> tidegate.yaml:10:24
           |
        10 |       headers: {read: ["a b", ":pat", ""], writes: []}
           |                        ^^^^^

        error: there is no pseudo-header `:pat`
          --> tidegate.yaml:10:31
           |
        10 |       headers: {read: ["a b", ":pat", ""], writes: []}
           |                               ^^^^^^
           |
           = help: did you mean `:path`?

        error: a name cannot be empty
          --> tidegate.yaml:10:39
           |
        10 |       headers: {read: ["a b", ":pat", ""], writes: []}
           |                                       ^^

        error: unknown field `writes`
          --> tidegate.yaml:10:44
           |
        10 |       headers: {read: ["a b", ":pat", ""], writes: []}
           |                                            ^^^^^^
           |
           = help: did you mean `write`?

        error: `request.headers.cookie` is about headers, which are granted as such
          --> tidegate.yaml:11:27
           |
        11 |       properties: {read: [request.headers.cookie]}
           |                           ^^^^^^^^^^^^^^^^^^^^^^
           |
           = help: name them in `headers: {read: […]}`

        error: expected `none`, `read` or `write`, found `all`
          --> tidegate.yaml:12:13
           |
        12 |       body: all
           |             ^^^
           |
           = help: the choices are `none`, `read`, `write`

        error: expected `trace`, `debug`, `info`, `warn`, `error`, `critical` or `none`, found `loud`
          --> tidegate.yaml:13:12
           |
        13 |       log: loud
           |            ^^^^
           |
           = help: the choices are `trace`, `debug`, `info`, `warn`, `error`, `critical`, `none`

        error: expected `true` or `false`, found `maybe`
          --> tidegate.yaml:14:14
           |
        14 |       reply: maybe
           |              ^^^^^
    "#]]
    .assert_eq(&problems(&text));
    let text = with_filter("    module: builtin:x\n    capabilities: everything\n");
    expect![[r#"
        error: expected a mapping or `manifest`, found `everything`
         --> tidegate.yaml:6:19
          |
        6 |     capabilities: everything
          |                   ^^^^^^^^^^
          |
          = help: `{}` grants nothing, and `manifest` what the module asks for
    "#]]
    .assert_eq(&problems(&text));
}
