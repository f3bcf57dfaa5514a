//! A request as the experiments see and change it.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;

use tidegate_sdk::{Request, random};
use vocabulary::{Facts, Part};

use crate::config::Config;
use crate::experiment::{Experiment, Visitor};

/// A request on its way through the experiments.
pub(crate) struct Visit<'a> {
    pub(crate) request: &'a Request<'a>,
    config: &'a Config,
    /// What it asks for, if it may.
    wish: Option<String>,
    /// The number in its cookie.
    number: OnceCell<String>,
    /// Whether it has that number from here.
    is_new: Cell<bool>,
    /// Whether headers were changed, which routes may match on.
    changed: Cell<bool>,
}

impl<'a> Visit<'a> {
    /// Takes away what the request may not ask for.
    pub(crate) fn new(config: &'a Config, request: &'a Request<'a>) -> Visit<'a> {
        let visit = Visit {
            request,
            config,
            wish: None,
            number: OnceCell::new(),
            is_new: Cell::default(),
            changed: Cell::default(),
        };
        let Some(force) = &config.force else { return visit };
        match request.header(force.header.as_str()) {
            Some(wish) if force.matches.accepts(request) => Visit { wish: Some(wish), ..visit },
            Some(_) => {
                visit.remove(force.header.as_str());
                visit
            }
            None => visit,
        }
    }

    /// Makes this the only value of a header.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.request.set_header(name, value);
        self.changed.set(true);
    }

    /// Takes a header away that only this filter may set.
    pub(crate) fn unset(&self, name: &str) {
        if self.request.headers().bytes(name).is_some() {
            self.remove(name);
        }
    }

    /// Whether routing may have to look again.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.get()
    }

    /// The number for a cookie that the client has to be given.
    pub(crate) fn new_number(self) -> Option<String> {
        self.number.into_inner().filter(|_| self.is_new.get())
    }

    fn remove(&self, name: &str) {
        self.request.remove_header(name);
        self.changed.set(true);
    }
}

impl Facts for Visit<'_> {
    fn header(&self, name: &str) -> Option<String> {
        self.request.header(name)
    }

    fn client(&self) -> Option<IpAddr> {
        self.request.client()
    }

    fn cluster(&self) -> Option<String> {
        self.request.cluster()
    }
}

impl Visitor for Visit<'_> {
    fn part(&self, part: &Part) -> Option<String> {
        part.value(self.request)
    }

    fn number(&self) -> &str {
        self.number.get_or_init(|| {
            let cookie =
                self.config.cookie.as_ref().and_then(|cookie| self.request.cookie(cookie.name.as_str()));
            cookie.filter(|number| !number.is_empty()).unwrap_or_else(|| {
                self.is_new.set(true);
                format!("{:016x}", random(..))
            })
        })
    }

    fn wish(&self, experiment: &Experiment) -> Option<usize> {
        let mut wishes = self.wish.as_deref()?.split(',').filter_map(|wish| wish.split_once('='));
        let (_, variant) = wishes.find(|(name, _)| name.trim() == experiment.name.as_str())?;
        experiment.find(variant.trim())
    }

    fn draw(&self) -> u64 {
        random(..)
    }
}
