//! What is wrong with a configuration, where, and what to do about it.
//!
//! It only holds and shows problems; they are recorded in a `Collector`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level as Shown, Renderer, Snippet};

use super::source::{Place, Source};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The configuration is not used.
    Error,
    /// The configuration is used, but likely does not do what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` when it is the file as a whole.
    pub place: Option<Place>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything that is wrong with one file, in the order of the file. `Display` shows it without colours.
#[derive(Debug, Clone)]
pub struct Problems {
    source: Arc<Source>,
    list: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    /// `list` in the order of the file, and how many more there were.
    pub(crate) fn new(source: Arc<Source>, mut list: Vec<Problem>, omitted: usize) -> Problems {
        list.sort_by_key(|problem| problem.place);
        Problems { source, list, omitted }
    }

    /// One problem with a file as a whole, such as that it cannot be read.
    pub(super) fn with_file(source: Arc<Source>, message: impl Into<String>, hint: &str) -> Problems {
        let (message, hint) = (message.into(), Some(hint.to_owned()));
        Problems::new(source, vec![Problem { level: Level::Error, message, place: None, hint }], 0)
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// The file's name as it was given.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The file's text.
    #[cfg(feature = "kit")]
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// How many more there were than are kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Those that `former` does not have: of the same words about the same text, wherever in the file that stands.
    pub(crate) fn other_than(&self, former: &Problems) -> Problems {
        let mut known: Vec<_> = former.list.iter().map(|problem| former.identity(problem)).collect();
        let is_new = |problem: &&Problem| {
            let identity = self.identity(problem);
            let Some(at) = known.iter().position(|known| *known == identity) else { return true };
            known.swap_remove(at); // the same said once more is new
            false
        };
        let list = self.list.iter().filter(is_new).cloned().collect();
        let omitted = self.omitted.saturating_sub(former.omitted);
        Problems { source: self.source.clone(), list, omitted }
    }

    fn identity<'a>(&'a self, problem: &'a Problem) -> (&'a str, &'a str) {
        (&problem.message, problem.place.map_or("", |place| self.source.line(place.line).trim()))
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the configuration cannot be used.
    pub fn are_fatal(&self) -> bool {
        self.list.iter().any(|problem| problem.level == Level::Error)
    }

    /// Everything as text for a terminal: the excerpt, a caret under what is wrong, the remedy. Ends without a line break.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let shown = self.list.iter().map(|problem| self.render_one(&renderer, problem));
        let mut text = shown.collect::<Vec<_>>().join("\n\n");
        if self.omitted > 0 {
            text.push_str(&format!("\n\nand {} more", self.omitted));
        }
        text
    }

    fn render_one(&self, renderer: &Renderer, problem: &Problem) -> String {
        let level = match problem.level {
            Level::Error => Shown::ERROR,
            Level::Warning => Shown::WARNING,
        };
        let path = self.source.path().display().to_string();
        let Some(place) = problem.place else {
            let mut group = Group::with_title(level.primary_title(format!("{path}: {}", problem.message)));
            if let Some(hint) = &problem.hint {
                group = group.element(Shown::HELP.message(hint.as_str()));
            }
            return renderer.render(&[group]);
        };
        // One line is shown, however long the value is: its beginning says which one is meant.
        let line = self.source.line(place.line);
        let start =
            (place.span.start as usize).saturating_sub(self.source.line_start(place.line)).min(line.len());
        let length = (place.span.end.saturating_sub(place.span.start)) as usize;
        let end = start + line[start..].get(..length).unwrap_or(&line[start..]).trim_end().len();
        let excerpt = Snippet::source(line)
            .line_start(place.line)
            .path(path)
            .annotation(AnnotationKind::Primary.span(start..end));
        let mut group = level.primary_title(problem.message.as_str()).element(excerpt);
        if let Some(hint) = &problem.hint {
            group = group.element(Shown::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}
