//! Shows the SDK at work: does what the request header `x-do` names.
//!
//! * `headers`: sets `x-set`, adds to `x-add`, removes `x-remove`, and tells what it saw in `x-saw`.
//! * `prepend`, `append`, `replace`: changes the request's body, which it holds until it is whole.
//! * `reply`: answers 403 with a header, a body and details.
//! * `call`: asks the cluster `up` and shows the answer in `x-answer`; `call-late`: the same from a timer;
//!   `call-nobody`: asks a cluster that is not there, and answers with the refusal.
//! * `call-body`: holds the request's last piece of body until `up` has answered, and puts the answer in its place.
//! * `wait`: waits until another request does `wake`; `beside`: goes on at once and logs a moment later.
//! * `measure`: a counter goes up by 2, a gauge is set to 7, a histogram observes 3, two labelled counters count.
//! * `cells`: tells in `x-cells` what a bucket, a counter and a value said; `properties`: in `x-saw` what it knows.
//! * `learned`: tells in `x-learned` what it asked `up` for when it started (configuration: `{"learn": true}`).
//! * `panic`: panics.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{
    Background, Body, CellError, Cells, Counter, CounterFamily, Exchange, Filter, Gauge, Histogram, Next,
    Request, TokenBucket, filter, log, random,
};

filter!(Sdk);

tidegate_sdk::manifest! {
    "clusters": ["up"],
    "headers": {"read": ["x-*", ":method"], "write": ["x-*"]},
    "reply": true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    learn: bool,
}

struct Sdk {
    config: Config,
    events: Counter,
    level: Gauge,
    sizes: Histogram,
    kinds: CounterFamily<2>,
    cells: Cells,
    bell: Rc<Bell>,
    learned: Rc<RefCell<String>>,
}

/// Rings once, for all who wait for it.
#[derive(Default)]
struct Bell {
    rang: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.rang.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) {
        std::future::poll_fn(|cx| match self.rang.get() {
            true => Poll::Ready(()),
            false => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await;
    }
}

impl Filter for Sdk {
    type Config = Config;
    type State = String;

    fn new(config: Config) -> Result<Sdk, String> {
        Ok(Sdk {
            config,
            events: Counter::new("sdk_events"),
            level: Gauge::new("sdk_level"),
            sizes: Histogram::new("sdk_sizes"),
            kinds: CounterFamily::new("sdk_kinds", ["kind", "tone"]).at_most(2),
            cells: Cells::new("sdk"),
            bell: Rc::default(),
            learned: Rc::default(),
        })
    }

    fn on_start(&self, background: &Background) {
        if !self.config.learn {
            return;
        }
        let (host, learned) = (background.clone(), self.learned.clone());
        background.spawn(async move {
            while learned.borrow().is_empty() {
                let answer = host.call("up").path("/lesson").send(Duration::from_secs(10)).await;
                learned.replace(answer.map_or_else(|error| error.to_string(), |answer| answer.into_text()));
                host.sleep(Duration::from_millis(1)).await;
            }
        });
    }

    fn on_request_headers(&self, task: &mut String, request: &Request<'_>) -> Next {
        *task = request.header("x-do").unwrap_or_default();
        match task.as_str() {
            "headers" => change_headers(request),
            "reply" => {
                return request
                    .reply(403)
                    .header("x-reply", "yes")
                    .body("not today")
                    .details("sdk_says_no")
                    .send();
            }
            "call" => return request.wait(async |exchange| ask(&exchange, "up").await),
            "call-nobody" => return request.wait(async |exchange| ask(&exchange, "nobody").await),
            "call-late" => {
                return request.wait(async |exchange| {
                    exchange.sleep(Duration::from_millis(1)).await;
                    ask(&exchange, "up").await
                });
            }
            "measure" => {
                self.events.add(2);
                self.level.set(7);
                self.sizes.observe(3);
                for tone in ["low", "\"high\"", "too many", "more than enough"] {
                    self.kinds.with(["bell", tone]).increment();
                }
            }
            "wait" => {
                let bell = self.bell.clone();
                return request.wait(async move |_| {
                    bell.wait().await;
                    Next::Continue
                });
            }
            "wake" => self.bell.ring(),
            "beside" => request.spawn(async |exchange| {
                exchange.sleep(Duration::from_millis(1)).await;
                log::info!(kind = "quiet", note = "as \"said\""; "beside the exchange");
            }),
            "cells" => {
                let said = use_cells(&self.cells).unwrap_or_else(|error| error.to_string());
                request.set_header("x-cells", said);
            }
            "properties" => request.set_header("x-saw", properties(request)),
            "learned" => request.set_header("x-learned", &*self.learned.borrow()),
            "panic" => panic!("as asked"),
            "prepend" | "append" | "replace" => request.remove_header("content-length"),
            _ => {}
        }
        Next::Continue
    }

    fn on_request_body(&self, task: &mut String, request: &Request<'_>, body: &Body) -> Next {
        match task.as_str() {
            "call-body" if body.is_last() => {
                return request.wait(async |exchange| ask(&exchange, "up").await);
            }
            "prepend" | "append" | "replace" if !body.is_last() => return Next::Pause,
            "prepend" => body.prepend("first "),
            "append" => body.append(" last"),
            "replace" => body.replace(format!("{} bytes", body.bytes().len())),
            _ => {}
        }
        Next::Continue
    }

    fn on_end(&self, task: &mut String, exchange: &Exchange) {
        let status = exchange.response_headers().text(":status").unwrap_or_default();
        log::info!("{task} ended with {status}");
    }
}

fn change_headers(request: &Request<'_>) {
    request.set_header("x-set", "new");
    request.add_header("x-add", "2");
    request.remove_header("x-remove");
    let cookie = request.cookie("user").unwrap_or_default();
    let address = request.property(&["source", "address"]).unwrap_or_default();
    let address = String::from_utf8_lossy(&address).into_owned();
    let saw = [request.method(), request.authority(), request.path(), cookie, address];
    request.set_header("x-saw", saw.join(" "));
}

fn use_cells(cells: &Cells) -> Result<String, CellError> {
    let bucket = TokenBucket { burst: 2, tokens: 1, interval: Duration::from_secs(3600) };
    let taken = cells.take("bucket", bucket, 1)?;
    let counted = cells.add("counter", 5, Some(Duration::from_secs(3600)))?;
    let before = cells.get("value")?.map(String::from_utf8);
    cells.set("value", b"kept", None)?;
    let (allowed, count, mode) = (taken.retry_after.is_none(), counted.count, cells.mode());
    Ok(format!("{allowed} {} {count} {} {before:?} {mode:?}", taken.remaining, counted.expires_in.is_some()))
}

fn properties(request: &Request<'_>) -> String {
    let ip = |address: Option<std::net::SocketAddr>| address.map(|address| address.ip());
    let addresses = (ip(request.source_address()), ip(request.destination_address()));
    let names = (request.route_name(), request.cluster_name(), request.peer_identity());
    let is_recent = request.request_time().is_some_and(|time| request.now().abs_diff(time).as_secs() < 60);
    let (query, protocol) = (request.query("q"), request.protocol());
    format!("{addresses:?} {names:?} {protocol:?} {is_recent} {query:?} {}", random(3..4))
}

async fn ask(exchange: &Exchange, cluster: &str) -> Next {
    let call = exchange.call(cluster).method("POST").path("/asked").authority("asked.test");
    match call.header("x-asked", "1").body(b"question").send(Duration::from_secs(10)).await {
        Ok(answer) => {
            let (status, by) = (answer.status(), answer.header("x-by").unwrap_or_default().to_owned());
            exchange.request_headers().set("x-answer", format!("{status} {by} {}", answer.into_text()));
            Next::Continue
        }
        Err(error) => exchange.reply(500).body(error.to_string()).send(),
    }
}
