//! Asks another service whether a request may pass. Configuration: `{"cluster": "authz", "path": "/check"}`.
//!
//! The request waits for the answer. 200 lets it go on, with the answer's body as `x-callout`; any other is a 403 that
//! says what came; a call that the host refuses to make is a 500. Also shows the SDK at work.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{Answer, Exchange, Filter, Next, Request, filter};

filter!(Callout);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Callout {
    cluster: String,
    #[serde(default = "root")]
    path: String,
    #[serde(default = "second")]
    timeout_ms: u64,
}

fn root() -> String {
    "/".to_owned()
}

fn second() -> u64 {
    1000
}

impl Filter for Callout {
    type Config = Callout;
    type State = ();

    fn new(config: Callout) -> Result<Callout, String> {
        Ok(config)
    }

    fn on_request_headers(&self, _: &mut (), request: &Request<'_>) -> Next {
        let path = request.path();
        let call = request.call(&self.cluster).path(&self.path).header("x-original-path", &path);
        match call.send(Duration::from_millis(self.timeout_ms), answered) {
            Ok(()) => Next::Pause,
            Err(refused) => request.reply(500).body(refused.to_string()).send(),
        }
    }
}

fn answered(exchange: &Exchange, answer: &Answer) {
    match answer.status() {
        Some(200) => {
            exchange.request_headers().set("x-callout", answer.body());
            exchange.resume_request();
        }
        status => {
            exchange.reply(403).body(format!("the callout was answered {status:?}")).send();
        }
    }
}
