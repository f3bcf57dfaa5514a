//! A rule of one's own: requests below a path need a header. Responses say that the guard was there.
//!
//! Counters: `guard_passed` and `guard_refused`.

use serde::Deserialize;
use tidegate_sdk::{Counter, Filter, Next, Request, Response, filter};

filter!(Guard);

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Paths that begin with this are guarded.
    prefix: String,
    /// The header that they need.
    header: String,
}

/// The filter.
pub struct Guard {
    config: Config,
    passed: Counter,
    refused: Counter,
}

impl Filter for Guard {
    type Config = Config;
    type State = ();

    fn new(config: Config) -> Result<Guard, String> {
        if !config.prefix.starts_with('/') {
            return Err(format!("prefix: `{}` is not a path: begin it with `/`", config.prefix));
        }
        let (passed, refused) = (Counter::new("guard_passed"), Counter::new("guard_refused"));
        Ok(Guard { config, passed, refused })
    }

    fn on_request_headers(&self, _: &mut (), request: &Request<'_>) -> Next {
        let Config { prefix, header } = &self.config;
        if request.path().starts_with(prefix) && request.header(header).is_none() {
            self.refused.increment();
            return request.reply(403).body(format!("{prefix} needs {header}\n")).details("guard").send();
        }
        self.passed.increment();
        Next::Continue
    }

    fn on_response_headers(&self, _: &mut (), response: &Response<'_>) -> Next {
        response.set_header("x-guard", "seen");
        Next::Continue
    }
}
