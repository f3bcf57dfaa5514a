//! What a filter is sent when its costs are measured: the requests of cases, or a few plain ones.

use std::rc::Rc;

use super::check::first_world;
use super::model::{Answer, AnswerKind, Answers, Expect, Step, Suite, What, World};
use super::subject::Subject;
use crate::config::Span;
use crate::kit::{Request, Response};

/// Requests, in scripts each of which begins with a filter that was just started.
#[derive(Debug)]
pub struct Exercise {
    pub(super) scripts: Vec<Script>,
}

/// Requests, one after the other.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) world: World,
    pub(super) steps: Vec<Step>,
}

impl Exercise {
    /// What the cases of some files send. What they expect is not looked at, and those that are about a configuration that is
    /// refused send nothing.
    pub fn of(suites: Vec<Suite>) -> Exercise {
        let cases = suites.into_iter().flat_map(|suite| suite.cases);
        let scripts = cases.filter_map(|case| {
            let steps = match case.what {
                What::Steps(steps, _) => steps,
                What::AnyChunking(step, _) => vec![*step],
                What::Refusal(..) => return None,
            };
            Some(Script { name: case.name, world: case.world, steps })
        });
        Exercise { scripts: scripts.collect() }
    }

    /// A GET, and POSTs with bodies of 1 KiB and of 64 KiB. The answer has a body of 60 bytes.
    pub fn usual(subject: &Subject) -> Exercise {
        let mut world = first_world(&subject.source());
        let answer = Response::new(200).field(http::header::CONTENT_TYPE, json()).body(ANSWER);
        let kind = AnswerKind::Response(Box::new(answer), false);
        let answer = Answer { method: None, path: None, headers: Vec::new(), kind };
        world.upstream = Rc::new(Answers { list: vec![answer], span: Span::default() });
        let post = |bytes: usize| {
            Request::post("/items").field(http::header::CONTENT_TYPE, json()).body(text(bytes))
        };
        let requests = [
            ("GET", Request::get("/items/7?fields=name")),
            ("POST of 1 KiB", post(1 << 10)),
            ("POST of 64 KiB", post(64 << 10)),
        ];
        let scripts = requests.into_iter().map(|(name, request)| {
            let request = request
                .field(http::header::USER_AGENT, http::HeaderValue::from_static("tidegate-filter-bench"))
                .field(http::header::ACCEPT, http::HeaderValue::from_static("*/*"));
            let step = Step {
                span: Span::default(),
                advance: std::time::Duration::ZERO,
                request: Some(request),
                times: 1,
                upstream: None,
                expect: Expect::default(),
            };
            Script { name: name.to_owned(), world: world.clone(), steps: vec![step] }
        });
        Exercise { scripts: scripts.collect() }
    }

    /// Whether nothing is sent.
    pub fn is_empty(&self) -> bool {
        self.scripts.iter().all(|script| script.requests() == 0)
    }
}

impl Script {
    /// How many requests it has.
    pub(super) fn requests(&self) -> u64 {
        self.steps.iter().filter(|step| step.request.is_some()).map(|step| step.times).sum()
    }
}

const ANSWER: &str = r#"{"id":7,"name":"a small answer of sixty bytes","done":false}"#;

fn json() -> http::HeaderValue {
    http::HeaderValue::from_static("application/json")
}

/// JSON of so many bytes.
fn text(bytes: usize) -> String {
    let (begin, end) = ("{\"text\":\"", "\"}");
    format!(
        "{begin}{}{end}",
        "lorem ipsum ".repeat(bytes / 12 + 1).split_at(bytes - begin.len() - end.len()).0
    )
}
