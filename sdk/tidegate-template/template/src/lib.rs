//! {{name}}: who asks for what is below a path has to say from which team.
//!
//! Other requests pass. Every response that passes says that the filter was there.

use serde::Deserialize;
use tidegate_sdk::log::info;
use tidegate_sdk::{Counter, Filter, Next, Request, Response, filter};

filter!(Guard);

/// Counters: what passed, and what was refused.
const PASSED: &str = "{{ident}}_passed";
const REFUSED: &str = "{{ident}}_refused";

/// The response header that says that the filter was there.
const SEEN: &str = "x-{{name}}";

/// What the operator writes under `config`. A field that is not given has its default.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What lies below this path is guarded.
    path: String,
    /// The request header that is asked for.
    header: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            path: "/admin".to_owned(),
            header: "x-team".to_owned(),
        }
    }
}

impl Config {
    /// Refuses what cannot be meant: the proxy shows this text and keeps what it serves.
    fn check(&self) -> Result<(), String> {
        let Config { path, header } = self;
        if !path.starts_with('/') {
            return Err(format!("path: `{path}` is none: begin it with `/`"));
        }
        if header.is_empty() {
            return Err("header: give the name of a header".to_owned());
        }
        Ok(())
    }

    /// Whether a request for this target, a path with its query, is guarded.
    fn guards(&self, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or_default();
        let below = path.strip_prefix(self.path.trim_end_matches('/'));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }
}

/// The filter: one value for all the exchanges of a worker.
pub struct Guard {
    config: Config,
    passed: Counter,
    refused: Counter,
}

impl Filter for Guard {
    type Config = Config;
    /// What is remembered of one exchange from callback to callback: nothing here.
    type State = ();

    fn new(config: Config) -> Result<Guard, String> {
        config.check()?;
        Ok(Guard {
            config,
            passed: Counter::new(PASSED),
            refused: Counter::new(REFUSED),
        })
    }

    fn on_request_headers(&self, _: &mut (), request: &Request<'_>) -> Next {
        let Config { header, .. } = &self.config;
        let target = request.path();
        if self.config.guards(&target) && request.header(header).is_none() {
            self.refused.increment();
            info!(target = target.as_str(); "refused");
            let body = format!("say who you are: {header}\n");
            return request.reply(403).body(body).details("no_team").send();
        }
        self.passed.increment();
        Next::Continue
    }

    fn on_response_headers(&self, _: &mut (), response: &Response<'_>) -> Next {
        response.set_header(SEEN, "passed");
        Next::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_the_path_is_guarded_and_nothing_else() {
        let config = Config::default();
        for target in ["/admin", "/admin?all", "/admin/", "/admin/users?page=2"] {
            assert!(config.guards(target), "{target}");
        }
        for target in ["/", "/administrator", "/?next=/admin", "/users/admin"] {
            assert!(!config.guards(target), "{target}");
        }
    }

    #[test]
    fn a_path_without_a_slash_is_refused() {
        let path = "admin".to_owned();
        let config = Config {
            path,
            ..Config::default()
        };
        let refusal = config.check().expect_err("it is no path");
        assert_eq!(refusal, "path: `admin` is none: begin it with `/`");
    }
}
