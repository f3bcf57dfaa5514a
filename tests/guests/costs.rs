//! Does one thing, so many times, in the request's headers callback, or in its body callback: what that costs is in the book's
//! page on performance, whose words for it are those here.

use std::hint::black_box;
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{
    Body, Cells, Counter, CounterFamily, Filter, Next, Request, TokenBucket, filter, log, random,
};

filter!(Costs);

type InHeaders = fn(&Costs, &Request<'_>);
type InBody = fn(&Body);

/// What is done in the headers callback.
const IN_HEADERS: &[(&str, InHeaders)] = &[
    ("read a header of 10 bytes", |_, request| drop(black_box(request.header("x-small")))),
    ("read a header of 1 KiB", |_, request| drop(black_box(request.header("x-large")))),
    ("look for a header that is not there", |_, request| drop(black_box(request.header("x-none")))),
    ("read 20 headers one by one", |_, request| {
        NAMES.iter().for_each(|name| drop(black_box(request.header(name))));
    }),
    ("read them all at once, as `headers().block()`", |_, request| {
        black_box(request.headers().block().iter().count());
    }),
    ("read them all at once, as `headers().all()`", |_, request| drop(black_box(request.headers().all()))),
    ("set a header", |_, request| request.set_header("x-set", "0123456789")),
    ("remove a header that is not there", |_, request| request.remove_header("x-none")),
    ("read a property, as `route_name()`", |_, request| drop(black_box(request.route_name()))),
    ("write a line into the log", |_, _| log::info!("0123456789")),
    ("increment a counter", |costs, _| costs.counter.increment()),
    ("increment a counter of a family", |costs, _| costs.family.with(["one"]).increment()),
    ("take a token out of a bucket", |costs, _| {
        let bucket = TokenBucket { burst: 1 << 20, tokens: 1, interval: Duration::from_secs(1) };
        let _ = black_box(costs.cells.take("bucket", bucket, 1));
    }),
    ("read a value of 16 bytes from a cell", |costs, _| drop(black_box(costs.cells.get("value")))),
    ("draw a number", |_, _| _ = black_box(random(0..100))),
    ("make a text of 20 bytes with `format!`", |_, _| {
        drop(black_box(format!("{}-{}", black_box("0123456789"), black_box(123_456_789))));
    }),
];

/// The names of the 20 headers.
const NAMES: [&str; 20] = [
    "x-0", "x-1", "x-2", "x-3", "x-4", "x-5", "x-6", "x-7", "x-8", "x-9", "x-10", "x-11", "x-12", "x-13",
    "x-14", "x-15", "x-16", "x-17", "x-18", "x-19",
];

/// What is done in the body callback.
const IN_BODY: &[(&str, InBody)] = &[
    ("read a body", |body| drop(black_box(body.bytes()))),
    ("read a body and count a byte in it", |body| {
        black_box(body.bytes().iter().filter(|byte| **byte == b'1').count());
    }),
    ("parse a body as JSON", |body| {
        drop(black_box(serde_json::from_slice::<serde_json::Value>(&body.bytes())));
    }),
    ("read a body and replace it", |body| body.replace(body.bytes())),
];

/// What is done by waiting.
const ASK: &str = "ask a cluster and wait for its answer";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    what: String,
    times: u32,
}

struct Costs {
    config: Config,
    in_headers: Option<InHeaders>,
    in_body: Option<InBody>,
    counter: Counter,
    family: CounterFamily<1>,
    cells: Cells,
}

impl Filter for Costs {
    type Config = Config;
    type State = ();

    fn new(config: Config) -> Result<Costs, String> {
        let in_headers = IN_HEADERS.iter().find(|(name, _)| *name == config.what).map(|(_, act)| *act);
        let in_body = IN_BODY.iter().find(|(name, _)| *name == config.what).map(|(_, act)| *act);
        if in_headers.is_none() && in_body.is_none() && config.what != ASK {
            return Err(format!("what: nobody knows how to `{}`", config.what));
        }
        let (counter, family) = (Counter::new("costs"), CounterFamily::new("costs_by", ["kind"]));
        let cells = Cells::new("costs");
        cells.set("value", b"sixteen bytes ..", None).map_err(|error| error.to_string())?;
        Ok(Costs { config, in_headers, in_body, counter, family, cells })
    }

    fn on_request_headers(&self, _: &mut (), request: &Request<'_>) -> Next {
        let times = self.config.times;
        if let Some(act) = self.in_headers {
            (0..times).for_each(|_| act(self, request));
        } else if self.in_body.is_none() {
            return request.wait(async move |exchange| {
                for _ in 0..times {
                    let _ = black_box(exchange.call("up").send(Duration::from_secs(1)).await);
                }
                Next::Continue
            });
        }
        Next::Continue
    }

    fn on_request_body(&self, _: &mut (), _: &Request<'_>, body: &Body) -> Next {
        if let Some(act) = self.in_body {
            (0..self.config.times).for_each(|_| act(body));
        }
        Next::Continue
    }
}
