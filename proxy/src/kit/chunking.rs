//! One exchange in every division of its bodies: what the filter makes of it must not depend on where a network cuts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

use super::cluster::Order;
use super::message::{PayloadEnd, Request, Response};
use super::running::Kit;
use super::seen::Seen;
use super::setup::Setup;

/// Bodies up to this are tried in every division: 2^(n-1) of them, and as many with an end of its own.
const EVERY_DIVISION: usize = 6;

/// Bodies up to this are also tried byte by byte.
const EVERY_BYTE: usize = 4096;

/// How many divisions of a longer body are drawn.
const DRAWN: usize = 24;

/// How far pieces are apart where they do not come at one moment: long enough for a filter to do what it waits for.
const APART: Duration = Duration::from_secs(5);

impl Setup {
    /// Sends one request again and again, each time to a new kit, with its body and the response's divided in another way,
    /// and asserts that client and upstream get the same every time.
    ///
    /// Bodies of up to six bytes are divided in every way there is. Longer ones: whole, byte by byte (up to 4 KiB), in two at every
    /// place (up to 24 of them), and in 24 ways drawn with the [seed](Setup::seed). Each with the end in the last piece and
    /// after it; with all pieces at one moment and five seconds apart, so that timers and callouts come to their end before
    /// the body, after it and between its pieces; with several callouts answered in the order of their asking and in the
    /// reverse.
    ///
    /// The same are: how the exchange ended; methods, targets, statuses, headers, trailers and whole bodies. Only
    /// `content-length` may differ, because a body whose length is not known in time goes without.
    ///
    /// ```
    /// # use tidegate::kit as tidegate_test;
    /// # use tidegate_test::{Kit, Module, Request, Response};
    /// # let module = Module::bytes("tagger", &wat::parse_file("../sdk/tidegate-test/tests/guests/tagger.wat").unwrap());
    /// let request = Request::post("/").body("a body of some length");
    /// Kit::of(&module).assert_chunking_is_invisible(&request, &Response::new(200).body("abc"));
    /// ```
    ///
    /// # Panics
    ///
    /// With the first division that makes a difference, and the difference.
    #[track_caller]
    pub fn assert_chunking_is_invisible(&self, request: &Request, response: &Response) {
        self.try_every_division(request, response).unwrap_or_else(|difference| {
            panic!("the filter's effect depends on how bodies are divided.\n{difference}")
        });
    }

    /// The same; the error is the first division that makes a difference, and the difference, in lines.
    pub(crate) fn try_every_division(&self, request: &Request, response: &Response) -> Result<(), String> {
        let mut reference: Option<Observed> = None;
        for variant in variants(request, response, self.seed) {
            let seen = variant.run(self, request, response);
            let observed = Observed::of(&seen.map_err(|error| format!("{variant}:\n  {error}"))?);
            match &reference {
                None => reference = Some(observed),
                Some(reference) if *reference == observed => {}
                Some(reference) => {
                    return Err(format!("in one piece each:\n{reference}{variant}:\n{observed}"));
                }
            }
        }
        Ok(())
    }
}

/// One way to send an exchange.
#[derive(Debug, Clone)]
struct Variant {
    request: Vec<Bytes>,
    response: Vec<Bytes>,
    gap: Duration,
    order: Order,
}

impl Variant {
    fn run(&self, setup: &Setup, request: &Request, response: &Response) -> Result<Seen, String> {
        let mut setup = setup.clone();
        setup.gap = self.gap;
        setup.patience += self.gap * (self.request.len() + self.response.len()) as u32;
        setup.order = self.order;
        let (mut request, mut response) = (request.clone(), response.clone());
        request.payload.pieces.clone_from(&self.request);
        response.payload.pieces.clone_from(&self.response);
        (request.payload.end, response.payload.end) = (PayloadEnd::Whole, PayloadEnd::Whole);
        let kit = Kit::build(setup).map_err(|refused| refused.to_string())?;
        kit.upstream(move |_| response.clone());
        kit.try_settle().and_then(|()| kit.try_send(request)).map_err(|stuck| stuck.to_string())
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = |pieces: &[Bytes]| pieces.iter().map(Bytes::len).collect::<Vec<_>>();
        write!(f, "request in pieces of {:?}", lengths(&self.request))?;
        write!(f, ", response in pieces of {:?} bytes", lengths(&self.response))?;
        if !self.gap.is_zero() {
            write!(f, ", {:?} apart", self.gap)?;
        }
        match self.order {
            Order::Scripted => Ok(()),
            Order::Reversed => f.write_str(", callouts answered in reverse"),
            Order::Late => f.write_str(", callouts answered late"),
        }
    }
}

/// Every way in which an exchange is sent; the first is in one piece.
fn variants(request: &Request, response: &Response, seed: u64) -> Vec<Variant> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (up, down) = (request.payload.pieces.concat(), response.payload.pieces.concat());
    let (up, down) = (divisions(&up.into(), &mut random), divisions(&down.into(), &mut random));
    let mut pairs: Vec<(&Vec<Bytes>, &Vec<Bytes>)> = up.iter().map(|up| (up, &down[0])).collect();
    pairs.extend(down.iter().skip(1).map(|down| (&up[0], down)));
    if up.len() > 1 && down.len() > 1 {
        pairs
            .extend((0..DRAWN).map(|_| (&up[random.usize(1..up.len())], &down[random.usize(1..down.len())])));
    }
    let times = [
        (Duration::ZERO, Order::Scripted),
        (Duration::ZERO, Order::Reversed),
        (Duration::ZERO, Order::Late),
        (APART, Order::Scripted),
        (APART, Order::Reversed),
    ];
    let timed = |(gap, order): (Duration, Order)| {
        let variant = move |&(up, down): &(&Vec<Bytes>, &Vec<Bytes>)| Variant {
            request: up.clone(),
            response: down.clone(),
            gap,
            order,
        };
        pairs.iter().map(variant).collect::<Vec<_>>()
    };
    times.into_iter().flat_map(timed).collect()
}

/// The ways in which a body is divided, in one piece first.
fn divisions(body: &Bytes, random: &mut fastrand::Rng) -> Vec<Vec<Bytes>> {
    let cuts = body.len().saturating_sub(1);
    let mut divisions = vec![cut(body, |_| false)];
    if body.is_empty() {
        return divisions;
    }
    if body.len() <= EVERY_DIVISION {
        divisions.extend((1..1u32 << cuts).map(|places| cut(body, |at| places & (1 << (at - 1)) != 0)));
    } else {
        if body.len() <= EVERY_BYTE {
            divisions.push(cut(body, |_| true));
        }
        let step = cuts.div_ceil(DRAWN);
        divisions.extend((1..=cuts).step_by(step).map(|place| cut(body, |at| at == place)));
        divisions.extend((0..DRAWN).map(|_| {
            let often = random.usize(2..=body.len());
            cut(body, |_| random.usize(..often) == 0)
        }));
    }
    let ends_apart: Vec<_> = divisions.iter().map(|pieces| [&pieces[..], &[Bytes::new()]].concat()).collect();
    divisions.extend(ends_apart);
    divisions
}

/// The body in pieces, cut before each byte for which `here` says so.
fn cut(body: &Bytes, mut here: impl FnMut(usize) -> bool) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for at in 1..body.len() {
        if here(at) {
            pieces.push(body.slice(from..at));
            from = at;
        }
    }
    if !body.is_empty() {
        pieces.push(body.slice(from..));
    }
    pieces
}

/// What client and upstream can tell apart.
#[derive(Debug, PartialEq, Eq)]
struct Observed {
    outcome: String,
    request: Option<Message>,
    response: Option<Message>,
}

#[derive(Debug, PartialEq, Eq)]
struct Message {
    line: String,
    headers: BTreeMap<String, Vec<String>>,
    body: Bytes,
    trailers: BTreeMap<String, Vec<String>>,
}

impl Observed {
    fn of(seen: &Seen) -> Observed {
        let request = seen.forwarded.as_ref().map(|request| {
            let line = format!("{} {}", request.method(), request.target());
            Message::new(line, request.headers(), request.body(), request.trailers())
        });
        let response = seen.received.as_ref().map(|response| {
            let line = response.status().to_string();
            Message::new(line, response.headers(), response.body(), response.trailers())
        });
        Observed { outcome: format!("{}, {}", seen.outcome(), seen.details()), request, response }
    }
}

impl Message {
    fn new(line: String, headers: &HeaderMap, body: Bytes, trailers: Option<&HeaderMap>) -> Message {
        let mut headers = fields(headers);
        headers.remove(CONTENT_LENGTH.as_str());
        Message { line, headers, body, trailers: trailers.map(fields).unwrap_or_default() }
    }
}

fn fields(map: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in map {
        fields.entry(name.to_string()).or_default().push(value.as_bytes().escape_ascii().to_string());
    }
    fields
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.outcome)?;
        for (who, message) in [("upstream", &self.request), ("client", &self.response)] {
            match message {
                Some(message) => writeln!(f, "  the {who} got {message}")?,
                None => writeln!(f, "  the {who} got nothing")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} \"{}\"", self.line, self.headers, self.body.escape_ascii())?;
        if self.trailers.is_empty() { Ok(()) } else { write!(f, " {:?}", self.trailers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_body_is_divided_in_every_way_with_the_end_in_it_and_after_it() {
        let mut random = fastrand::Rng::with_seed(1);
        let divisions = divisions(&Bytes::from_static(b"abc"), &mut random);
        let shown: Vec<String> = divisions
            .iter()
            .map(|pieces| pieces.iter().map(|p| p.escape_ascii().to_string()).collect::<Vec<_>>().join("|"))
            .collect();
        assert_eq!(shown, ["abc", "a|bc", "ab|c", "a|b|c", "abc|", "a|bc|", "ab|c|", "a|b|c|"]);
    }

    #[test]
    fn a_long_body_is_divided_in_a_bounded_number_of_ways() {
        let mut random = fastrand::Rng::with_seed(1);
        let divisions = divisions(&vec![b'x'; 100_000].into(), &mut random);
        assert!(divisions.len() <= 2 * (2 + 2 * DRAWN), "{}", divisions.len());
        assert!(divisions.iter().all(|pieces| pieces.concat().len() == 100_000));
    }
}
