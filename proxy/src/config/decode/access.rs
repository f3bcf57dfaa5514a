//! How serde walks the tree: the items of a list, the entries of a mapping, a value with its place, a choice.

use std::rc::Rc;

use indexmap::IndexMap;
use indexmap::map::Iter;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::super::collector::Collector;
use super::super::source::Span;
use super::super::suggest;
use super::super::yaml::{Entry, Node, Scalar, Value};
use super::field::pack;
use super::{Error, TEXT, Tree};

/// The items of a list, or a single value as a list.
pub(super) struct Items<'de> {
    rest: &'de [Rc<Node>],
    one: Option<&'de Node>,
    log: &'de Collector<'de>,
}

impl<'de> Items<'de> {
    pub(super) fn new(rest: &'de [Rc<Node>], log: &'de Collector<'de>) -> Self {
        Items { rest, one: None, log }
    }

    pub(super) fn one(node: &'de Node, log: &'de Collector<'de>) -> Self {
        Items { rest: &[], one: Some(node), log }
    }
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let node = match (self.one.take(), self.rest.split_first()) {
            (Some(node), _) => node,
            (None, Some((node, rest))) => {
                self.rest = rest;
                node.as_ref()
            }
            (None, None) => return Ok(None),
        };
        seed.deserialize(Tree { node, log: self.log }).map(Some)
    }
}

/// A mapping's key, which is always text.
#[derive(Clone, Copy)]
pub(super) struct Key<'de> {
    pub(super) text: &'de str,
    pub(super) span: Span,
    pub(super) log: &'de Collector<'de>,
}

/// The entries of a mapping; for a structure, those whose keys are its fields.
pub(super) struct Entries<'de> {
    rest: Iter<'de, String, Entry>,
    fields: Option<&'static [&'static str]>,
    value: Option<&'de Node>,
    log: &'de Collector<'de>,
}

impl<'de> Entries<'de> {
    pub(super) fn new(entries: &'de IndexMap<String, Entry>, log: &'de Collector<'de>) -> Self {
        Entries { rest: entries.iter(), fields: None, value: None, log }
    }

    pub(super) fn only(self, fields: &'static [&'static str]) -> Self {
        Entries { fields: Some(fields), ..self }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let fields = self.fields;
        let known = |name: &str| fields.is_none_or(|fields| fields.contains(&name));
        let Some((text, entry)) = self.rest.find(|(name, _)| known(name)) else { return Ok(None) };
        self.value = Some(&entry.value);
        seed.deserialize(Key { text, span: entry.key, log: self.log }).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(node) => seed.deserialize(Tree { node, log: self.log }),
            None => Err(Error::custom("a value was asked for before its key")),
        }
    }
}

/// What a `Field` is given: its span, then its value, or nothing where the value's problem was recorded.
pub(super) struct Place<'de, D> {
    inner: Option<D>,
    span: Option<Span>,
    at: Span,
    log: &'de Collector<'de>,
}

impl<'de, D> Place<'de, D> {
    pub(super) fn new(inner: D, span: Span, log: &'de Collector<'de>) -> Self {
        Place { inner: Some(inner), span: Some(span), at: span, log }
    }
}

impl<'de, D: Deserializer<'de, Error = Error>> SeqAccess<'de> for Place<'de, D> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if let Some(span) = self.span.take() {
            return seed.deserialize(pack(span).into_deserializer()).map(Some);
        }
        let Some(inner) = self.inner.take() else { return Ok(None) };
        match seed.deserialize(inner) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                error.record(self.at, self.log);
                Ok(None)
            }
        }
    }
}

/// One of several ways to say something: a mapping with one key that names the way, or plain text where that is one.
pub(super) struct Choice<'de> {
    name: &'de str,
    content: Tree<'de>,
}

impl<'de> Choice<'de> {
    pub(super) fn of(tree: Tree<'de>, variants: &'static [&'static str]) -> Result<Self, Error> {
        let ways = variants.iter().copied().filter(|&name| name != TEXT);
        let listed = || ways.clone().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let expected = || format!("a mapping with one of {}", listed());
        let entries = match &tree.node.value {
            Value::Mapping(entries) => entries,
            Value::Scalar(Scalar::Text(_)) if variants.contains(&TEXT) => {
                return Ok(Choice { name: TEXT, content: tree });
            }
            Value::Scalar(scalar) if *scalar != Scalar::Null => {
                let way = ways.clone().next().unwrap_or_default();
                return Err(tree
                    .mismatch(&expected())
                    .hint(format!("say which, as in `{{{way}: {scalar}}}`")));
            }
            Value::Scalar(_) | Value::List(_) => return Err(tree.mismatch(&expected())),
        };
        if let Some((name, entry)) = entries.iter().find(|(name, _)| !ways.clone().any(|way| way == *name)) {
            let hint = suggest::remedy(name, "fields here", ways.clone());
            return Err(Error::new(format!("unknown field `{name}`")).hint(hint).at(entry.key));
        }
        match (entries.get_index(0), entries.get_index(1)) {
            (None, _) => Err(Error::new(format!("expected one of {}, found none", listed()))),
            (Some((name, entry)), None) => {
                Ok(Choice { name, content: Tree { node: &entry.value, log: tree.log } })
            }
            (Some((first, _)), Some((second, entry))) => {
                let error =
                    Error::new(format!("`{first}` and `{second}` cannot be given together")).at(entry.key);
                Err(error.hint(format!("keep one of {}", listed())))
            }
        }
    }
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Error;
    type Variant = Tree<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Tree<'de>), Error> {
        let variant = seed.deserialize(self.name.into_deserializer())?;
        Ok((variant, self.content))
    }
}

impl<'de> VariantAccess<'de> for Tree<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(Error::invalid_type(Unexpected::UnitVariant, &"a value"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_struct("", fields, visitor)
    }
}
