//! What is masked, and what is left.

use serde_json::json;

use super::*;

fn masked(mask: &mut Mask, name: &str, value: &str) -> String {
    let mut blob = Blob::from(value);
    mask.mask_header(name.as_bytes(), &mut blob);
    blob.text().into_owned()
}

#[test]
fn the_secret_part_of_a_header_has_a_word_of_its_length() {
    let mut mask = Mask::default();
    assert_eq!(masked(&mut mask, "authorization", "Bearer abcdefghij"), "Bearer *0001*****");
    assert_eq!(masked(&mut mask, "cookie", "id=abcdefghij; b=1234567"), "id=*0001*****; b=*0002**");
    assert_eq!(
        masked(&mut mask, "set-cookie", "id=klmnopqrs; Path=/long/one"),
        "id=*0003****; Path=/long/one"
    );
    assert_eq!(masked(&mut mask, "x-api-key", "open sesame"), "*0004******");
    assert_eq!(masked(&mut mask, "x-api-key", "abc"), "abc", "it is too short to be one");
}

#[test]
fn a_secret_is_masked_wherever_it_appears_from_then_on() {
    let mut mask = Mask::default();
    masked(&mut mask, "authorization", "Bearer abcdefghij");
    let mut log = Blob::from("user abcdefghij, key abcdefghijk");
    mask.mask_known(&mut log);
    assert_eq!(log.text(), "user *0001*****, key *0001*****k");
}

#[test]
fn fields_of_bodies_and_queries_are_secrets_by_their_names() {
    let mut mask = Mask::default();
    let cases = [
        (r#"{"user":"ann","password":"open sesame"}"#, r#"{"user":"ann","password":"*0001******"}"#),
        ("/a?user=ann&access_token=abcdefgh", "/a?user=ann&access_token=*0002***"),
        ("api_key=abcd&x=abcd", "api_key=*0003*&x=abcd"),
        (
            r#"{"api_keys": ["abcdefghi", "jklm"], "x": ["jklm"]}"#,
            r#"{"api_keys": ["*0004****", "*0005*"], "x": ["jklm"]}"#,
        ),
        (
            r#"{"jwks":"{\"kty\":\"oct\",\"k\":\"AAAABBBBCCCCDDDD\"}"}"#,
            r#"{"jwks":"{\"kty\":\"oct\",\"k\":\"*0006***********\"}"}"#,
        ),
        (r#"{"inner":"{\"secret\":\"abcdef\"}"}"#, r#"{"inner":"{\"secret\":\"*0007*\"}"}"#),
        ("postgres://ann:hunter2hunter2@db/x", "postgres://ann:*0008*********@db/x"),
        ("/f?X-Amz-Signature=0123456789ab&e=1", "/f?X-Amz-Signature=*0009*******&e=1"),
        (r#"{"tokens": 100, "limit": "100/s"}"#, r#"{"tokens": 100, "limit": "100/s"}"#),
    ];
    for (text, expected) in cases {
        let mut blob = Blob::from(text);
        mask.mask_fields_in(&mut blob);
        mask.mask_known(&mut blob);
        assert_eq!(blob.text(), expected, "{text}");
    }
}

#[test]
fn what_a_filter_takes_a_credential_apart_into_is_masked() {
    let mut mask = Mask::default();
    masked(&mut mask, "authorization", "Basic YW5uOm9wZW4gc2VzYW1l"); // ann:open sesame
    masked(&mut mask, "authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl");
    for text in
        ["said ann:open sesame", "said open sesame", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ", "c2lnbmF0dXJl"]
    {
        let mut blob = Blob::from(text);
        mask.mask_known(&mut blob);
        assert!(blob.text().contains('*') && blob.text().len() == text.len(), "{}", blob.text());
        assert!(!blob.text().contains("sesame") && !blob.text().contains("eyJ"), "{}", blob.text());
    }
}

#[test]
fn a_secret_that_is_cut_into_pieces_is_masked_in_each() {
    let body = r#"{"user":"ann","password":"open sesame open","note":"nothing of this"}"#;
    for first in 1..body.len() {
        for second in [first + 1, first + 3, first + 9].into_iter().filter(|second| *second < body.len()) {
            let (mut mask, mut tail) = (Mask::default(), Tail::default());
            let mut whole = String::new();
            let pieces = [&body[..first], &body[first..second], &body[second..]];
            for piece in pieces {
                let mut blob = Blob::from(piece);
                mask.mask_piece(&mut tail, &mut blob);
                whole.push_str(&blob.text());
            }
            let (before, rest) = whole.split_once(r#""password":""#).expect("the name is there");
            let (secret, after) = rest.split_once('"').expect("the end is there");
            assert_eq!(before, r#"{"user":"ann","#, "{pieces:?}");
            assert_eq!(after, r#","note":"nothing of this"}"#, "{pieces:?}");
            assert!(!secret.contains(|c: char| c.is_ascii_lowercase()), "{pieces:?}: {secret}");
        }
    }
}

#[test]
fn words_are_put_back() {
    let mut mask = Mask::default();
    masked(&mut mask, "cookie", "id=abcdefghij; b=12345");
    let mut secrets = Secrets::default();
    for (word, secret) in mask.new_words() {
        secrets.add(&Blob(word), &Blob(secret));
    }
    let replaced = secrets.0.replace(b"a *0001***** b *0002* c *0003*").expect("it has words");
    assert_eq!(&replaced[..], b"a abcdefghij b 12345 c *0003*");
}

/// What comes of a text with all that is secret in it masked.
fn masked_text(text: &str) -> String {
    let mut blob = Blob::from(text);
    Mask::default().mask_fields_in(&mut blob);
    blob.text().into_owned()
}

#[test]
fn texts_of_an_object_or_a_list_of_secrets_are_masked_and_names_in_it_are_not() {
    let cases = [
        // The example `signing`.
        (
            r#"{"mode":"sign","keys":{"orders":"AAECAwQFBgcICQ=="},"key":"orders","components":["@method"]}"#,
            r#"{"mode":"sign","keys":{"orders":"*0001***********"},"key":"orders","components":["@method"]}"#,
        ),
        (
            r#"{"signing_keys": ["abcd", "efgh]i"], "x": "y"}"#,
            r#"{"signing_keys": ["*0001*", "*0002*"], "x": "y"}"#,
        ),
        (
            r#"{"credentials":{"ann":{"value":"abcdef","more":["ghijkl",{"deep":"mnopqr"}]},"n":1},"x":"y"}"#,
            r#"{"credentials":{"ann":{"value":"*0001*","more":["*0002*",{"deep":"*0003*"}]},"n":1},"x":"y"}"#,
        ),
        (r#"{"tokens": [{"name": "abcdef"}, "ghijkl"]}"#, r#"{"tokens": [{"name": "*0001*"}, "*0002*"]}"#),
        (
            r#"{"secrets":{"a\"b}":"cd\"e}f","g":"hijklm"}}"#,
            r#"{"secrets":{"a\"b}":"*0001**","g":"*0002*"}}"#,
        ),
        // Where a secret is looked for and what a hash of it is are none, and other words there would be refused.
        (
            r#"{"api_keys":{"header":"x-api-key","keys":[{"name":"abcdef","sha256":"0123456789"}]}}"#,
            r#"{"api_keys":{"header":"x-api-key","keys":[{"name":"*0001*","sha256":"0123456789"}]}}"#,
        ),
        // Public keys are told by what is in them.
        (
            r#"{"keys":[{"kty":"RSA","n":"abcdefgh"},{"kty":"oct","k":"AAAABBBBCCCCDDDD"}]}"#,
            r#"{"keys":[{"kty":"RSA","n":"abcdefgh"},{"kty":"oct","k":"*0001***********"}]}"#,
        ),
        (
            r#"{"tokens":[],"keys":{},"secret":"","x":"abcdef"}"#,
            r#"{"tokens":[],"keys":{},"secret":"","x":"abcdef"}"#,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(masked_text(text), expected, "{text}");
    }
}

/// However far its beginning is behind, what goes on is masked, and what follows it is not.
#[test]
fn a_list_or_an_object_of_secrets_that_is_cut_anywhere_is_masked_in_each_piece() {
    let secret = |number: usize| format!("{number:0>40}");
    let list = (0..20).map(|number| format!("\"{}\"", secret(number))).collect::<Vec<_>>().join(", ");
    let object =
        (0..20).map(|number| format!("\"n\": \"{}\"", secret(number))).collect::<Vec<_>>().join(", ");
    let long = "0".repeat(40_000);
    let bodies = [
        (format!("{{\"api_keys\": [{list}], \"note\": \"zero 00\"}}"), 1),
        (format!("{{\"credentials\": {{{object}}}, \"note\": \"zero 00\"}}"), 1),
        (format!("{{\"password\": \"{long}\", \"note\": \"zero 00\"}}"), 997),
        (format!("password={long}&note=\"zero 00\"}}"), 997),
    ];
    for (body, step) in bodies {
        for size in (1..400).step_by(37).chain((400..body.len()).step_by(97 * step)) {
            let (mut mask, mut tail, mut whole) = (Mask::default(), Tail::default(), String::new());
            for piece in body.as_bytes().chunks(size) {
                let mut piece = Blob::copy(piece);
                mask.mask_piece(&mut tail, &mut piece);
                whole.push_str(&piece.text());
            }
            let (secrets, note) = whole.split_once("note").expect("what is no secret is left");
            assert!(!secrets.contains("00000"), "in pieces of {size}: {secrets}");
            assert!(note.ends_with("\"zero 00\"}"), "in pieces of {size}: {note}");
        }
    }
}

#[test]
fn a_secret_that_came_in_pieces_is_masked_as_a_whole_wherever_it_appears() {
    let (mut mask, mut tail) = (Mask::default(), Tail::default());
    for piece in [r#"{"password":"ab"#, "c", r#"defghi"}"#] {
        mask.mask_piece(&mut tail, &mut Blob::from(piece));
    }
    let mut log = Blob::from("it is abcdefghi");
    mask.mask_known(&mut log);
    assert!(!log.text().contains("abc") && !log.text().contains("ghi"), "{}", log.text());
}

/// A step of context 2 with these changes of the request's body, and what was written into it from which byte on.
fn body_step(before: Option<&str>, after: Option<&str>, written: &[(u64, &str)]) -> Step {
    let body = |piece: Option<&str>| match piece {
        Some(piece) => json!({"request_body": {"whole": piece}}),
        None => json!({}),
    };
    let write = |(start, text): &(u64, &str)| json!({"call": "proxy_set_buffer_bytes", "args": [0, start, 1000, text], "status": 0});
    serde_json::from_value(json!({
        "at": 0,
        "op": {"body": {"context": 2, "direction": "request", "end_of_stream": false}},
        "streams": [{"context": 2, "before": body(before), "after": body(after)}],
        "calls": [{
            "callback": "proxy_on_request_body", "instructions": 0, "nanoseconds": 0,
            "hostcalls": written.iter().map(write).collect::<Vec<_>>(),
        }],
        "end": {"answer": "continue"},
    }))
    .expect("it is a step")
}

#[test]
fn a_secret_that_a_filter_writes_in_pieces_is_masked_in_each() {
    let cases = [
        // It puts other pieces into the place of each.
        vec![
            body_step(Some("x"), Some(r#"{"password":"ope"#), &[(0, r#"{"password":"ope"#)]),
            body_step(Some("x"), Some("n se"), &[(0, "n se")]),
            body_step(Some("x"), Some(r#"same","a":"plain"}"#), &[(0, r#"same","a":"plain"}"#)]),
        ],
        // It writes a piece in two.
        vec![body_step(
            Some("x"),
            Some(r#"{"password":"open sesame","a":"plain"}"#),
            &[(0, r#"{"password":"open se"#), (20, r#"same","a":"plain"}"#)],
        )],
        // The name is in what it was given, and the value in what it writes behind that, or after it.
        vec![body_step(
            Some(r#"{"password":"#),
            Some(r#"{"password":"open sesame","a":"plain"}"#),
            &[(12, r#""open sesame","a":"plain"}"#)],
        )],
        vec![
            body_step(Some(r#"{"password":"#), None, &[]),
            body_step(
                Some("x"),
                Some(r#""open sesame","a":"plain"}"#),
                &[(0, r#""open sesame","a":"plain"}"#)],
            ),
        ],
        // The name is in what it writes, and the value in what it was given.
        vec![
            body_step(Some("x"), Some(r#"{"password":"op"#), &[(0, r#"{"password":"op"#)]),
            body_step(Some(r#"en sesame","a":"plain"}"#), None, &[]),
        ],
    ];
    for steps in cases {
        let mut mask = Mask::default();
        let mut all = String::new();
        for mut step in steps {
            mask.mask_step(1, &mut step);
            all += &serde_json::to_string(&step).expect("it is JSON");
        }
        for secret in ["ope", r#"password\":\"o"#, "n se", "ses", "same"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        assert!(all.contains("plain") && all.contains("password"), "{all}");
    }
}

#[test]
fn a_stored_property_with_a_secret_name_is_masked_wherever_it_is() {
    let mut step = body_step(None, None, &[]);
    let path = Blob::from("login\0session_token\0value");
    step.streams[0].before.properties =
        vec![(path.clone(), "stored-token-0001".into()), ("plain".into(), "left".into())];
    step.streams[0].after.properties = vec![(path.clone(), "stored-token-0002".into())];
    step.calls[0].hostcalls = vec![Hostcall {
        call: "proxy_get_property".into(),
        args: vec![Value::Bytes(path)],
        status: Some(0),
        answer: vec![Value::Bytes("short".into())],
    }];
    Mask::default().mask_step(1, &mut step);
    let text = serde_json::to_string(&step).expect("it is JSON");
    for secret in ["stored-token", "short"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("left"), "{text}");
}
