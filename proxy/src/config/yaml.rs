//! YAML text to a tree in which every node knows its place.
//!
//! It bounds what a file can make the proxy hold (size, depth, nodes after aliases are expanded) and refuses what a
//! configuration has no use for (tags, several documents, keys that are not text). It knows nothing of fields.

mod core_schema;
mod syntax;

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use indexmap::IndexMap;
use indexmap::map::Entry as MapEntry;
use saphyr_parser::{Event, Parser, ScalarStyle};

use super::collector::Collector;
use super::source::{CharOffsets, Source, Span};

/// How deep lists and mappings may be in each other, aliases expanded.
pub(crate) const MAX_DEPTH: usize = 64;

/// Nodes that a file may have, aliases expanded.
pub(crate) const MAX_NODES: u64 = 2_000_000;

/// A value and its place. What an alias stands for is shared with its anchor, place included.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

impl Node {
    /// Whether there is no value here: an empty line, or a file of comments only.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null))
    }
}

#[derive(Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Mapping(IndexMap<String, Entry>),
}

/// A scalar by the core schema of YAML 1.2.2 (section 10.3): what is quoted is always text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Float(f64),
    Text(String),
    /// A number that no setting could take; why. It becomes a problem where a value is made of it.
    Unusable(String),
}

/// As it could be written in the file.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(value) => value.fmt(f),
            Scalar::Unsigned(value) => value.fmt(f),
            Scalar::Signed(value) => value.fmt(f),
            Scalar::Float(value) => value.fmt(f),
            Scalar::Text(value) | Scalar::Unusable(value) => value.fmt(f),
        }
    }
}

/// A mapping's value with the place of its key.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Span,
    pub(crate) value: Rc<Node>,
}

/// Reads one document. Records what is wrong; `None` when nothing can be made of the text.
pub(crate) fn read(source: &Source, log: &Collector<'_>) -> Option<Rc<Node>> {
    let mut reader = Reader {
        log,
        offsets: CharOffsets::new(source.text()),
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str(source.text()) {
        match event {
            Ok((event, span)) => {
                let span = Span {
                    start: reader.offsets.byte(span.start.index()),
                    end: reader.offsets.byte(span.end.index()),
                };
                reader.take(event, span).ok()?;
            }
            Err(error) => {
                let start = reader.offsets.byte(error.marker().index());
                syntax::report(log, source, Span { start, end: start }, error.info());
                return None;
            }
        }
    }
    reader.root
}

/// Nothing more can be read; why is recorded.
struct Stop;

/// A node with what it costs to expand it.
#[derive(Clone)]
struct Built {
    node: Rc<Node>,
    nodes: u64,
    /// 0 for a scalar.
    height: usize,
}

/// A list or mapping whose end was not seen yet.
struct Open {
    start: Span,
    anchor: usize,
    nodes: u64,
    height: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Rc<Node>>),
    /// The entries, and the key whose value comes next.
    Mapping(IndexMap<String, Entry>, Option<(String, Span)>),
}

struct Reader<'a> {
    log: &'a Collector<'a>,
    offsets: CharOffsets<'a>,
    open: Vec<Open>,
    /// Complete ones only: an alias of one that is open would be endless.
    anchors: HashMap<usize, Built>,
    nodes: u64,
    root: Option<Rc<Node>>,
}

impl Reader<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => self.stop(
                span,
                "the file has a second document",
                "keep one configuration in a file: remove this `---` and what follows",
            ),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.scalar(&text, style, anchor, span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open(anchor, Kind::List(Vec::new()), span)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open(anchor, Kind::Mapping(IndexMap::new(), None), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => self.alias(id, span),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn stop(&self, span: Span, message: impl Into<String>, hint: &str) -> Result<(), Stop> {
        self.log.error_with_hint(span, message, hint);
        Err(Stop)
    }

    fn refuse_tag(&self, tagged: bool, span: Span) {
        if tagged {
            self.log.error_with_hint(
                span,
                "YAML tags are not used here",
                "remove the `!…` before this value",
            );
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, span: Span) -> Result<(), Stop> {
        if let Some(Open { kind: Kind::Mapping(_, key @ None), .. }) = self.open.last_mut() {
            *key = Some((text.to_owned(), span));
            return Ok(());
        }
        let value = match style {
            ScalarStyle::Plain => core_schema::resolve(text),
            _ => Scalar::Text(text.to_owned()),
        };
        // A value that is not there (`key:`) has no place of its own: the key's is shown.
        let span = match self.open.last() {
            Some(Open { kind: Kind::Mapping(_, Some((_, key))), .. }) if span.start >= span.end => *key,
            _ => span,
        };
        let node = Rc::new(Node { span, value: Value::Scalar(value) });
        self.count(1, span)?;
        self.finish(Built { node, nodes: 1, height: 0 }, anchor);
        Ok(())
    }

    fn open(&mut self, anchor: usize, kind: Kind, span: Span) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return self.too_deep(span);
        }
        if let Some(Open { kind: Kind::Mapping(_, None), .. }) = self.open.last() {
            return self.stop(span, "a list or mapping cannot be a key", "keys are plain text");
        }
        self.open.push(Open { start: span, anchor, nodes: 1, height: 0, kind });
        Ok(())
    }

    fn too_deep(&self, span: Span) -> Result<(), Stop> {
        let message = format!("more than {MAX_DEPTH} lists and mappings are in each other here");
        self.stop(span, message, "no part of a configuration is this deep")
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let flow = open.start.end > open.start.start;
        let (first, value) = match open.kind {
            Kind::List(items) => (items.first().map(|item| item.span), Value::List(items)),
            Kind::Mapping(entries, _) => {
                (entries.values().next().map(|entry| entry.key), Value::Mapping(entries))
            }
        };
        // In block style, what is shown for the whole is its beginning: its first key or item.
        let span = match first {
            Some(first) if !flow => first,
            _ => Span { start: open.start.start, end: end.end.max(open.start.end) },
        };
        let node = Rc::new(Node { span, value });
        self.count(1, span)?;
        self.finish(Built { node, nodes: open.nodes, height: open.height + 1 }, open.anchor);
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Stop> {
        if let Some(Open { kind: Kind::Mapping(_, None), .. }) = self.open.last() {
            return self.stop(span, "an alias cannot be a key", "write the key out");
        }
        let Some(built) = self.anchors.get(&id).cloned() else {
            return self.stop(span, "this alias is inside of what it stands for", "write the value out");
        };
        if self.open.len() + built.height > MAX_DEPTH {
            return self.too_deep(span);
        }
        self.count(built.nodes, span)?;
        self.finish(built, 0);
        Ok(())
    }

    fn count(&mut self, nodes: u64, span: Span) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let message =
                format!("the file has more than {MAX_NODES} values once its aliases are written out");
            return self.stop(span, message, "use fewer aliases, or fewer entries");
        }
        Ok(())
    }

    /// Puts a finished node where it belongs: into the innermost open list or mapping, and under its anchor.
    fn finish(&mut self, built: Built, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(built.node);
            return;
        };
        parent.nodes += built.nodes;
        parent.height = parent.height.max(built.height);
        match &mut parent.kind {
            Kind::List(items) => items.push(built.node),
            Kind::Mapping(entries, key) => {
                let Some((name, key)) = key.take() else { return };
                match entries.entry(name) {
                    MapEntry::Vacant(vacant) => {
                        vacant.insert(Entry { key, value: built.node });
                    }
                    MapEntry::Occupied(first) => self.log.error_with_hint(
                        key,
                        format!("`{}` is given twice", first.key()),
                        "keep one of the two: neither silently wins",
                    ),
                }
            }
        }
    }
}
