//! What was done to an exchange: its heads, bodies and trailers, and what was stored on it.

use std::collections::BTreeMap;

use super::Found;
use super::words::{SHOWN, shown};
use crate::wasm::witness::{Blob, Change, Fields, Piece, Request, Response};

/// What was done to an exchange that was found as `base`: what, what it was, what it is.
pub(crate) fn done(base: &Change, after: &Change) -> Vec<(String, Option<String>, Option<String>)> {
    let mut found = Vec::new();
    changes(base, &Change::default(), after, &mut found);
    found.into_iter().map(|Found { what, recorded, replayed }| (what, recorded, replayed)).collect()
}

/// Where two steps left an exchange otherwise that both found as `base`.
pub(super) fn changes(base: &Change, recorded: &Change, replayed: &Change, found: &mut Vec<Found>) {
    let request = |change: &Change| change.request.clone().or(base.request.clone());
    let response = |change: &Change| change.response.clone().or(base.response.clone());
    requests(request(recorded), request(replayed), found);
    responses(response(recorded), response(replayed), found);
    let maps = [
        (
            "response header, staged",
            &base.staged_response_headers,
            &recorded.staged_response_headers,
            &replayed.staged_response_headers,
        ),
        ("request trailer", &base.request_trailers, &recorded.request_trailers, &replayed.request_trailers),
        (
            "response trailer",
            &base.response_trailers,
            &recorded.response_trailers,
            &replayed.response_trailers,
        ),
    ];
    for (what, base, recorded, replayed) in maps {
        let of = |fields: &Option<Fields>| fields.clone().or(base.clone()).unwrap_or_default();
        fields(what, &of(recorded), &of(replayed), found);
    }
    bodies("request body", &base.request_body, &recorded.request_body, &replayed.request_body, found);
    bodies("response body", &base.response_body, &recorded.response_body, &replayed.response_body, found);
    fields("property", &recorded.properties, &replayed.properties, found);
    let rest = |change: &Change| (change.route_stale, change.preferred_endpoint, change.timeout_extension);
    let (one, other) = (rest(recorded), rest(replayed));
    if one != other {
        found.push(Found::new(
            "route, endpoint, more time",
            Some(format!("{one:?}")),
            Some(format!("{other:?}")),
        ));
    }
}

fn requests(recorded: Option<Request>, replayed: Option<Request>, found: &mut Vec<Found>) {
    let (Some(one), Some(other)) = (recorded, replayed) else { return };
    text(":method", &one.method, &other.method, found);
    text(":path", &one.path.text(), &other.path.text(), found);
    text(":scheme", &one.scheme, &other.scheme, found);
    fields("request header", &one.headers, &other.headers, found);
}

fn responses(recorded: Option<Response>, replayed: Option<Response>, found: &mut Vec<Found>) {
    let (Some(one), Some(other)) = (recorded, replayed) else { return };
    text(":status", &one.status.to_string(), &other.status.to_string(), found);
    fields("response header", &one.headers, &other.headers, found);
}

fn text(what: &str, one: &str, other: &str, found: &mut Vec<Found>) {
    if one != other {
        found.push(Found::new(what, Some(one.to_owned()), Some(other.to_owned())));
    }
}

/// Names whose values differ, all values of a name together.
fn fields(what: &str, one: &Fields, other: &Fields, found: &mut Vec<Found>) {
    if one == other {
        return;
    }
    let grouped = |fields: &Fields| {
        let mut map: BTreeMap<Vec<u8>, Vec<Blob>> = BTreeMap::new();
        fields.iter().for_each(|(name, value)| map.entry(name.0.to_vec()).or_default().push(value.clone()));
        map
    };
    let (one, other) = (grouped(one), grouped(other));
    let names: std::collections::BTreeSet<&Vec<u8>> = one.keys().chain(other.keys()).collect();
    for name in names {
        let (one, other) = (one.get(name), other.get(name));
        if one != other {
            let show = |values: Option<&Vec<Blob>>| {
                values.map(|values| values.iter().map(shown).collect::<Vec<_>>().join(", "))
            };
            let what = format!("{what} {}", String::from_utf8_lossy(name).replace('\0', "."));
            found.push(Found::new(what, show(one), show(other)));
        }
    }
}

fn bodies(
    what: &str,
    base: &Option<Piece>,
    recorded: &Option<Piece>,
    replayed: &Option<Piece>,
    found: &mut Vec<Found>,
) {
    if recorded == replayed {
        return;
    }
    let base = whole(&[], base.as_ref());
    let (one, other) = (whole(&base, recorded.as_ref()), whole(&base, replayed.as_ref()));
    if one == other {
        return;
    }
    let at = one.iter().zip(&other).position(|(one, other)| one != other);
    let at = at.unwrap_or(one.len().min(other.len()));
    let show = |body: &[u8]| {
        let from = at.saturating_sub(SHOWN / 4);
        let piece = &body[from.min(body.len())..body.len().min(from + SHOWN)];
        format!("{} bytes, around byte {at}: {:?}", body.len(), String::from_utf8_lossy(piece))
    };
    found.push(Found::new(what, Some(show(&one)), Some(show(&other))));
}

/// A body after a change.
fn whole(base: &[u8], change: Option<&Piece>) -> Vec<u8> {
    match change {
        None => base.to_vec(),
        Some(Piece::Whole(bytes)) => bytes.0.to_vec(),
        Some(Piece::Added(bytes)) => [base, &bytes.0].concat(),
    }
}

impl Change {
    /// Has this happen after what happened before.
    pub(crate) fn update(&mut self, later: &Change) {
        if let Some(request) = &later.request {
            self.request = Some(request.clone());
        }
        if let Some(response) = &later.response {
            self.response = Some(response.clone());
        }
        for (mine, new) in [
            (&mut self.staged_response_headers, &later.staged_response_headers),
            (&mut self.request_trailers, &later.request_trailers),
            (&mut self.response_trailers, &later.response_trailers),
        ] {
            if new.is_some() {
                mine.clone_from(new);
            }
        }
        for (mine, new) in
            [(&mut self.request_body, &later.request_body), (&mut self.response_body, &later.response_body)]
        {
            if new.is_some() {
                let base = whole(&[], mine.as_ref());
                *mine = Some(Piece::Whole(Blob(whole(&base, new.as_ref()).into())));
            }
        }
    }
}
