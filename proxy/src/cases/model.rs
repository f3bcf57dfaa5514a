//! Cases that are valid: what is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, Method};
use serde_json::Value;

use super::matcher::{Body, Text};
use super::raw::OutcomeWord;
use super::subject::Subject;
use crate::config::model::Filter;
use crate::config::{Problems, Source, Span};
use crate::kit::{FaultKind, LogLevel, Request, Response};

/// A file of cases that is valid.
#[derive(Debug)]
pub struct Suite {
    pub(super) source: Arc<Source>,
    pub(super) cases: Vec<Case>,
}

impl Suite {
    /// Reads and checks a file of cases for a module.
    ///
    /// # Errors
    /// Everything that is wrong with it, all at once; that it cannot be read is a problem like any other.
    pub fn load(path: &Path, subject: &Subject) -> Result<Suite, Problems> {
        super::check::load(path, &subject.source())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// How many cases it has.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Leaves only the cases that have `text` in their names.
    pub fn retain(&mut self, text: &str) {
        self.cases.retain(|case| case.name.contains(text));
    }
}

/// A filter that was just started, and what happens to it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) world: World,
    pub(super) what: What,
}

/// What a case is about.
#[derive(Debug)]
pub(super) enum What {
    /// The filter refuses its configuration.
    Refusal(Text, Span),
    /// Exchanges; then what is expected of all of them together.
    Steps(Vec<Step>, Box<Expect>),
    /// One exchange, in every division of its bodies, and as it is.
    AnyChunking(Box<Step>, Span),
}

/// A filter's settings and surroundings.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) filter: Filter,
    pub(super) buffer_limit: usize,
    pub(super) workers: usize,
    pub(super) seed: u64,
    pub(super) start_time: Option<SystemTime>,
    pub(super) timeout: Duration,
    pub(super) upstream: Rc<Answers>,
    pub(super) clusters: BTreeMap<String, Rc<Answers>>,
}

/// What a service answers: the first that matches.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) list: Vec<Answer>,
    pub(super) span: Span,
}

/// What a service answers, and to what.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) method: Option<Method>,
    pub(super) path: Option<Text>,
    pub(super) headers: Vec<(HeaderName, Vec<Text>)>,
    pub(super) kind: AnswerKind,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum AnswerKind {
    /// This response; with the request's body in it if the second says so.
    Response(Box<Response>, bool),
    Unavailable(String),
    Never,
}

/// Time that passes, and a request that is sent so often.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) span: Span,
    pub(super) advance: Duration,
    pub(super) request: Option<Request>,
    pub(super) times: u64,
    pub(super) upstream: Option<Rc<Answers>>,
    pub(super) expect: Expect,
}

/// Something that is expected, and where the file says so.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// What has to be true.
#[derive(Debug, Default)]
pub(super) struct Expect {
    pub(super) outcome: Option<At<OutcomeWord>>,
    pub(super) details: Option<At<Text>>,
    pub(super) forwarded: Option<At<Expected>>,
    pub(super) response: Option<At<Expected>>,
    pub(super) logs: Vec<At<LogExpect>>,
    pub(super) metrics: Vec<(String, At<u64>)>,
    pub(super) callouts: Option<At<Vec<At<CallExpect>>>>,
    pub(super) faults: Option<At<Vec<FaultKind>>>,
    pub(super) properties: Vec<(String, At<Text>)>,
    pub(super) instructions: Option<At<u64>>,
    pub(super) memory: Option<At<u64>>,
    pub(super) duration: Option<At<Duration>>,
}

/// Whether a message is expected, and which.
#[derive(Debug)]
pub(super) enum Expected {
    Nothing,
    Message(Box<MessageExpect>),
}

/// A message as it has to be.
#[derive(Debug, Default)]
pub(super) struct MessageExpect {
    pub(super) method: Option<At<Method>>,
    pub(super) path: Option<At<Text>>,
    pub(super) status: Option<At<u16>>,
    pub(super) headers: Vec<At<FieldExpect>>,
    pub(super) body: Option<At<Body>>,
    pub(super) trailers: Vec<At<FieldExpect>>,
}

/// A header field, or a trailer: its values in order.
#[derive(Debug)]
pub(super) struct FieldExpect {
    pub(super) name: HeaderName,
    pub(super) values: Vec<Text>,
}

/// A line of the log.
#[derive(Debug)]
pub(super) struct LogExpect {
    pub(super) level: Option<LogLevel>,
    pub(super) text: Option<Text>,
    pub(super) absent: bool,
}

/// A request that the filter makes.
#[derive(Debug)]
pub(super) struct CallExpect {
    pub(super) cluster: Option<String>,
    pub(super) message: MessageExpect,
}

/// What a body is made of, before it is given to a message.
#[derive(Debug, Clone)]
pub(super) struct Content(pub(super) Bytes);

impl Content {
    pub(super) fn of_json(value: &Value) -> Content {
        Content(value.to_string().into())
    }
}

/// Where files that are named in a file begin.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}
