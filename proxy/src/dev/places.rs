//! Where in the files that somebody wrote is what is wrong with the one that is served, which nobody wrote: the fields
//! that lead to a place in it are followed in the file that they came from.

use std::path::PathBuf;
use std::rc::Rc;

use super::settings::Settings;
use crate::cases::from_here;
use crate::config::collector::Collector;
use crate::config::yaml::{self, Node, Value};
use crate::config::{Place, Problems, Source, Span, read_source};

/// One step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Into this field of a mapping.
    Field(String),
    /// To this item of a list.
    Item(usize),
}

/// The way to a place.
#[derive(Debug, Default, PartialEq, Eq)]
struct Way {
    turns: Vec<Turn>,
    /// Whether it is the last field's name that is meant, rather than its value.
    ends_at_name: bool,
}

/// What is wrong, in words: each problem with its place in the settings, where it is from there, in the order of those.
pub(super) fn told(error: anyhow::Error, settings: &Settings) -> anyhow::Error {
    let Some(problems) = error.downcast_ref::<Problems>() else { return error };
    let root = tree(problems.source());
    let told = problems.iter().map(|problem| {
        let way = problem.place.zip(root.as_deref()).map(|(place, root)| Way::to(place.span, root));
        let place = way.and_then(|way| written(&way, settings));
        let hint = problem.hint.as_ref().map(|hint| format!("\n  {hint}")).unwrap_or_default();
        let at = place
            .as_ref()
            .map(|(file, place)| format!("{}:{}:{}: ", from_here(file).display(), place.line, place.column));
        (place, format!("{}{}{hint}", at.unwrap_or_default(), problem.message))
    });
    let mut told: Vec<_> = told.collect();
    told.sort_by(|(one, _), (other, _)| one.cmp(other));
    let lines: Vec<_> = told.into_iter().map(|(_, text)| text).collect();
    anyhow::Error::msg(lines.join("\n"))
}

/// The file that has what the way leads to, and where.
fn written(way: &Way, settings: &Settings) -> Option<(PathBuf, Place)> {
    let (file, turns) = settings.origin_of(&way.turns)?;
    let place = place_of(&*read_source(&file).ok()?, turns, way.ends_at_name)?;
    Some((file, place))
}

fn tree(source: &Source) -> Option<Rc<Node>> {
    yaml::read(source, &Collector::new(source))
}

fn place_of(source: &Source, turns: &[Turn], ends_at_name: bool) -> Option<Place> {
    let root = tree(source)?;
    let mut node = &root;
    let mut name = None;
    for turn in turns {
        match (&node.value, turn) {
            (Value::Mapping(fields), Turn::Field(field)) => {
                // Where it has no such field, that was not written here.
                let entry = fields.get(field)?;
                (node, name) = (&entry.value, Some(entry.key));
            }
            (Value::List(items), Turn::Item(item)) => (node, name) = (items.get(*item)?, None),
            // What is short for more: an address in the place of a cluster.
            _ => return Some(source.place(node.span)),
        }
    }
    Some(source.place(name.filter(|_| ends_at_name).unwrap_or(node.span)))
}

impl Way {
    /// The way to a place of a file that is its tree as text.
    fn to(span: Span, root: &Node) -> Way {
        let mut way = Way::default();
        let mut node = root;
        loop {
            match &node.value {
                Value::Mapping(fields) => {
                    let Some((name, entry)) = fields.iter().rfind(|(_, it)| it.key.start <= span.start)
                    else {
                        return way;
                    };
                    way.turns.push(Turn::Field(name.clone()));
                    if span.start < entry.value.span.start {
                        way.ends_at_name = true;
                        return way;
                    }
                    node = &entry.value;
                }
                Value::List(items) => {
                    let Some(item) = items.iter().rposition(|item| item.span.start <= span.start) else {
                        return way;
                    };
                    way.turns.push(Turn::Item(item));
                    node = &items[item];
                }
                Value::Scalar(_) => return way,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_place_is_found_again_in_another_file_by_the_fields_that_lead_to_it() {
        let served =
            serde_json::json!({"filters": {"f": {"config": {"list": [1, {"a": 2, "b": [3]}]}, "x": 4}}});
        let served = Source::new(Path::new("served"), &format!("{served:#}"));
        let own = "x: 4\nconfig:\n  list:\n  - 1\n  - {a: 2, b: [3]}\n";
        let own = Source::new(Path::new("own"), own);
        let root = tree(&served).expect("it is JSON");
        for (text, line, column) in
            [("2,", 5, 9), ("\"a\"", 5, 6), ("3", 5, 16), ("4", 1, 4), ("\"x\"", 1, 1)]
        {
            let start = served.text().find(text).expect("it is there") as u32;
            let way = Way::to(Span { start, end: start + 1 }, &root);
            let place = place_of(&own, &way.turns[2..], way.ends_at_name).expect("it is there too");
            assert_eq!((place.line, place.column), (line, column), "{text}: {way:?}");
        }
        let other = [Turn::Field("module".to_owned())];
        assert!(place_of(&own, &other, false).is_none(), "what nobody wrote has no place");
        let deeper = ["x", "endpoints"].map(|field| Turn::Field(field.to_owned()));
        assert_eq!(place_of(&own, &deeper, false).map(|place| place.line), Some(1));
    }
}
