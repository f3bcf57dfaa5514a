//! Shows the SDK at work: does what the request header `x-do` names.
//!
//! * `headers`: sets `x-set`, adds to `x-add`, removes `x-remove`, and tells what it saw in `x-saw`.
//! * `prepend`, `append`, `replace`: changes the request's body, which it holds until it is whole.
//! * `reply`: answers 403 with a header, a body and details.
//! * `call`: asks the cluster `up` and shows the answer in `x-answer`; `call-late`: the same from a timer;
//!   `call-nobody`: asks a cluster that is not there, and answers with the refusal.
//! * `measure`: a counter goes up by 2, a gauge is set to 7, a histogram observes 3.

use std::time::Duration;

use tidegate_sdk::{
    Answer, Body, Counter, Exchange, Filter, Gauge, Histogram, Next, NoConfig, Request, filter, log,
};

filter!(Sdk);

struct Sdk {
    events: Counter,
    level: Gauge,
    sizes: Histogram,
}

impl Filter for Sdk {
    type Config = NoConfig;
    type State = String;

    fn new(_: NoConfig) -> Result<Sdk, String> {
        let (events, level) = (Counter::new("sdk_events"), Gauge::new("sdk_level"));
        Ok(Sdk { events, level, sizes: Histogram::new("sdk_sizes") })
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
            "call" => return ask(request, "up").map_or_else(refuse(request), |()| Next::Pause),
            "call-nobody" => return ask(request, "nobody").map_or_else(refuse(request), |()| Next::Pause),
            "call-late" => {
                request.after(Duration::from_millis(1), |exchange| _ = ask(exchange, "up"));
                return Next::Pause;
            }
            "measure" => {
                self.events.add(2);
                self.level.set(7);
                self.sizes.observe(3);
            }
            "prepend" | "append" | "replace" => request.remove_header("content-length"),
            _ => {}
        }
        Next::Continue
    }

    fn on_request_body(&self, task: &mut String, _: &Request<'_>, body: &Body) -> Next {
        match task.as_str() {
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

fn ask(exchange: &Exchange, cluster: &str) -> Result<(), tidegate_sdk::CalloutRefused> {
    let call = exchange.call(cluster).method("POST").path("/asked").authority("asked.test");
    call.header("x-asked", "1").body(b"question").send(Duration::from_secs(10), show)
}

fn show(exchange: &Exchange, answer: &Answer) {
    let by = answer.header("x-by").unwrap_or_default();
    let body = String::from_utf8_lossy(&answer.body()).into_owned();
    exchange.request_headers().set("x-answer", format!("{:?} {by} {body}", answer.status()));
    exchange.resume_request();
}

fn refuse<E: std::fmt::Display>(exchange: &Exchange) -> impl FnOnce(E) -> Next {
    |refused| exchange.reply(500).body(refused.to_string()).send()
}
