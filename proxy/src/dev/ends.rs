//! How exchanges ended for their clients, as the proxy's access log has it, and which of the stories each belongs to.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::story::Story;

/// How long a story waits for its end, and an end for its story. The log comes within milliseconds where both are over.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many of either wait, and how many keys are known of stories that were told without their end.
const MAX_WAITING: usize = 4096;

/// How an exchange ended: a line of the access log.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Ended {
    #[serde(skip_serializing)]
    pub(super) method: Option<String>,
    #[serde(skip_serializing)]
    pub(super) path: Option<String>,
    /// What the client got.
    pub(super) status: Option<u16>,
    /// In the words of the reference.
    pub(super) outcome: String,
    pub(super) at_fault: Option<String>,
    pub(super) details: Option<String>,
    /// The filters that it went on without.
    pub(super) skipped: Vec<String>,
    pub(super) duration_ms: f64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) upstream: Option<String>,
    pub(super) request_id: Option<String>,
}

impl Ended {
    fn key(&self) -> String {
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        key(self.request_id.as_deref(), &word(&self.method), &word(&self.path))
    }

    /// One for each line that can be read.
    pub(super) fn all(lines: &[u8]) -> impl Iterator<Item = Ended> + '_ {
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
    }
}

/// By what a story and its end find each other: the request's id, or what it asked for where it was refused before it had
/// one.
fn key(id: Option<&str>, method: &str, path: &str) -> String {
    id.map_or_else(|| format!("{method} {path}"), str::to_owned)
}

/// A story, its end, or both.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) story: Option<Box<Story>>,
    pub(super) ended: Option<Ended>,
}

/// What waits for its other half: since when, and by which key they find each other.
#[derive(Debug, Default)]
pub(super) struct Ends {
    stories: VecDeque<(Instant, String, Box<Story>)>,
    ended: VecDeque<(Instant, String, Ended)>,
    /// Keys of stories that were told without their end.
    told: HashMap<String, Instant>,
}

impl Ends {
    /// A story is over for the filter.
    pub(super) fn add_story(&mut self, story: Box<Story>) -> Option<Whole> {
        let key = key(story.request_id.as_deref(), &story.method, &story.path);
        let at = self.ended.iter().position(|(_, other, _)| *other == key);
        match at.and_then(|at| self.ended.remove(at)) {
            Some((_, _, ended)) => Some(Whole { story: Some(story), ended: Some(ended) }),
            None => {
                self.stories.push_back((Instant::now(), key, story));
                None
            }
        }
    }

    /// An exchange is over for its client.
    pub(super) fn add_end(&mut self, ended: Ended) -> Option<Whole> {
        let key = ended.key();
        if self.told.remove(&key).is_some() {
            return None;
        }
        let at = self.stories.iter().position(|(_, other, _)| *other == key);
        match at.and_then(|at| self.stories.remove(at)) {
            Some((_, _, story)) => Some(Whole { story: Some(story), ended: Some(ended) }),
            None => {
                self.ended.push_back((Instant::now(), key, ended));
                None
            }
        }
    }

    /// What has waited long enough. `all`: nothing more comes. `is_open`: whether the filter still has an exchange with
    /// this id.
    pub(super) fn overdue(&mut self, all: bool, is_open: impl Fn(&str) -> bool) -> Vec<Whole> {
        let mut whole = Vec::new();
        let late =
            |since: &Instant, waiting: usize| all || waiting > MAX_WAITING || since.elapsed() > PATIENCE;
        while let Some((since, ..)) = self.stories.front()
            && late(since, self.stories.len())
            && let Some((_, key, story)) = self.stories.pop_front()
        {
            self.remember(key);
            whole.push(Whole { story: Some(story), ended: None });
        }
        let mut kept = VecDeque::new();
        while let Some((since, key, ended)) = self.ended.pop_front() {
            let waits = self.ended.len() + kept.len();
            let has_story = !all && waits < MAX_WAITING && ended.request_id.as_deref().is_some_and(&is_open);
            if !has_story && late(&since, waits) {
                whole.push(Whole { story: None, ended: Some(ended) });
            } else {
                kept.push_back((since, key, ended));
            }
        }
        self.ended = kept;
        whole
    }

    fn remember(&mut self, key: String) {
        if self.told.len() >= MAX_WAITING {
            // Half of them go at once, the older ones: one by one each would cost a look at all.
            let mut times: Vec<_> = self.told.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MAX_WAITING / 2);
            let middle = *middle;
            self.told.retain(|_, since| *since > middle);
        }
        self.told.insert(key, Instant::now());
    }
}
