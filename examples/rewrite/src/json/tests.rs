//! Held against serde_json, which has the whole document at hand.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn rules(rules: Value) -> Rules {
    Rules::new(serde_json::from_value(rules).unwrap()).unwrap()
}

/// What comes out of a text that is given in such pieces; nothing where it is no JSON.
fn rewrite<'a>(rules: &Rules, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let (mut document, mut out) = (Document::default(), Vec::new());
    for piece in pieces {
        document.push(rules, piece, &mut out).ok()?;
    }
    document.is_whole().then(|| String::from_utf8(out).unwrap())
}

fn whole(rules: &Rules, text: &str) -> Option<String> {
    rewrite(rules, [text.as_bytes()])
}

#[test]
fn values_are_redacted_names_changed_and_members_removed_and_the_rest_stays_as_it_was_written() {
    let rules = rules(json!([
        {"path": "user.password", "redact": "***"},
        {"path": "items.*.price", "rename": "cost"},
        {"path": "debug", "remove": true},
        {"path": "list.*", "remove": true},
    ]));
    for (text, expected) in [
        (
            r#"{"user": {"password" : "s3cret", "name": "ann"}}"#,
            r#"{"user": {"password" : "***", "name": "ann"}}"#,
        ),
        (r#"{"user":{"password":{"a":[1,"x"]}},"z":1}"#, r#"{"user":{"password":"***"},"z":1}"#),
        (r#"{"user":{"p\u0061ssword":1}}"#, r#"{"user":{"p\u0061ssword":"***"}}"#),
        (r#"{"password":1,"other":{"password":2}}"#, r#"{"password":1,"other":{"password":2}}"#),
        (
            r#"{"items":[{"price":1},{"x":{"price":2},"price":3}]}"#,
            r#"{"items":[{"cost":1},{"x":{"price":2},"cost":3}]}"#,
        ),
        (r#"{"debug":{"a":1}, "k":2}"#, r#"{ "k":2}"#),
        (r#"{"k":2 , "debug":"}" }"#, r#"{"k":2  }"#),
        (r#"{"a":1,"debug":1,"b":2,"debug":[],"c":3}"#, r#"{"a":1,"b":2,"c":3}"#),
        (r#"{"debug":1}"#, "{}"),
        (r#"{"list":[1, {"a":2} ,3]}"#, r#"{"list":[ ]}"#),
        (" [ 1 , -0.5e+3 ,\ttrue, null ] \n", " [ 1 , -0.5e+3 ,\ttrue, null ] \n"),
        ("0", "0"),
        ("", ""),
    ] {
        assert_eq!(whole(&rules, text).as_deref(), Some(expected), "{text}");
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(rewrite(&rules, bytes).as_deref(), Some(expected), "{text}, byte by byte");
    }
}

#[test]
fn what_is_no_json_is_not_taken() {
    let rules = rules(json!([{"path": "a", "redact": ""}, {"path": "b", "remove": true}]));
    for text in [
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{,}",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":}",
        "{a:1}",
        "tru",
        "trux",
        "01",
        "1.",
        "-",
        "1e",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "[}",
        "{]",
        "1 1",
        "\u{feff}1",
        "{\"a\":01}",
        "{\"b\":[}",
        "{\"a\\q\":1}",
        "{\"\\ud800\":1}",
    ] {
        assert_eq!(whole(&rules, text), None, "{text}");
    }
    assert_eq!(whole(&rules, &"[".repeat(DEEPEST + 1)), None);
    assert!(whole(&rules, &("[".repeat(DEEPEST) + &"]".repeat(DEEPEST))).is_some());
}

#[test]
fn a_name_that_is_longer_than_any_rules_is_never_held_whole() {
    let rules = rules(json!([{"path": "a", "redact": ""}, {"path": "x.*", "remove": true}]));
    let long = "n".repeat(100_000);
    let text = format!("{{\"{long}\":1,\"x\":{{\"{long}\":2}}}}");
    let (mut document, mut out) = (Document::default(), Vec::new());
    for byte in text.as_bytes() {
        document.push(&rules, &[*byte], &mut out).unwrap();
        assert!(document.name.len() <= LONGEST_NAME + 1);
    }
    assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"{long}\":1,\"x\":{{}}}}"));
}

/// What the rules of the property below do to a document that is there as a whole.
fn expected(value: &mut Value) {
    if let Value::Object(root) = value {
        root.shift_remove("r");
        if let Some(a) = root.get_mut("a") {
            *a = json!("***");
        }
        match root.get_mut("b") {
            Some(Value::Object(b)) => b.values_mut().for_each(|value| *value = json!("-")),
            Some(Value::Array(b)) => b.iter_mut().for_each(|value| *value = json!("-")),
            _ => {}
        }
    }
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a\"\\\\\u{e9}\n ]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[abr\"]{1,2}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_rewritten_alike_however_it_is_cut(value in documents(), pretty: bool, cut in 1..9usize) {
        let rules = rules(json!([
            {"path": "r", "remove": true}, {"path": "a", "redact": "***"}, {"path": "b.*", "redact": "-"},
        ]));
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let out = rewrite(&rules, text.as_bytes().chunks(cut)).expect("it is JSON");
        let mut wanted = value;
        expected(&mut wanted);
        prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), wanted);
    }

    #[test]
    fn any_text_is_taken_where_serde_json_takes_it(text in "[\\[\\]{},:\"a0-9.eE\\-+ tru]{0,12}") {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() || text.trim().is_empty();
        prop_assert_eq!(whole(&rules(json!([])), &text).is_some(), is_json, "{}", text);
    }
}
