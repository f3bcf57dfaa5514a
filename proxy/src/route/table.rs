//! The routes of a listener, indexed by host and path.
//!
//! The first route in the order of the file wins, however specific the others are. The index only finds, quickly,
//! the few routes whose host and path fit; of these the first whose other conditions hold is the one.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use http::{HeaderMap, Method, Uri};
use regex::Regex;
use regex_syntax::hir::literal::Extractor;

use super::claims::Claims;
use super::host;
use super::matcher::{Asked, Conditions, Stored};
use super::trie::{Entry, Trie};
use crate::config::model::{HostMatch, PathMatch, PathTemplate, Route};

/// Routes to find one in. A route's name in here is its index.
#[derive(Debug)]
pub struct Table {
    conditions: Vec<Conditions>,
    /// Whether a route depends on what filters stored.
    looks_at_properties: bool,
    /// By the beginning of the host, or all of it.
    hosts: Trie,
    /// By the end of the host: texts are backwards.
    host_ends: Trie,
    /// For each host that the routes tell apart, its routes. The first is for any host.
    groups: Vec<Paths>,
}

impl Table {
    /// An index of `routes`.
    ///
    /// A regular expression is taken to be anchored at both ends: it is only asked whether it matches.
    pub fn new(routes: &[Route]) -> Table {
        let conditions: Vec<_> = routes.iter().map(|route| Conditions::new(&route.matches)).collect();
        let mut groups = Groups::default();
        for (index, (route, conditions)) in routes.iter().zip(&conditions).enumerate() {
            groups.add(Candidate::new(index, conditions), route);
        }
        Table {
            looks_at_properties: conditions.iter().any(Conditions::look_at_properties),
            conditions,
            hosts: Trie::new(groups.hosts),
            host_ends: Trie::new(groups.host_ends),
            groups: groups.routes.into_iter().map(Paths::new).collect(),
        }
    }

    /// The index of the first route that matches. `uri` is in origin form, `headers` have the `host`.
    ///
    /// It allocates nothing unless a route looks at a header that was sent more than once.
    pub fn find(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<usize> {
        self.find_with(method, uri, headers, &|_| None, 0)
    }

    /// Whether a route depends on what filters stored, so that it is to be looked for again when they have run.
    pub fn looks_at_properties(&self) -> bool {
        self.looks_at_properties
    }

    /// The same of an exchange for which filters have `stored` something, and that a `percent` has by `chance`, which is any
    /// number.
    pub fn find_with(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        stored: Stored<'_>,
        chance: u32,
    ) -> Option<usize> {
        let asked = Asked { method, uri, headers, stored, claims: Claims::default(), chance };
        let request = Request { conditions: &self.conditions, asked };
        let mut first = NONE;
        self.groups[0].search(&request, &mut first);
        if self.groups.len() > 1 {
            self.each_group_of(host::of(headers), |group| {
                self.groups[group as usize].search(&request, &mut first)
            });
        }
        (first != NONE).then_some(first as usize)
    }

    /// Calls `search` with the groups that are meant for `host`. Hosts are compared without regard to case; one that
    /// is only a wildcard's own text, without anything in the place of the `*`, does not match it.
    fn each_group_of(&self, host: &[u8], mut search: impl FnMut(u32)) {
        self.hosts.walk(host::Lower(host), |node, left| {
            let group = if left == 0 { node.exact() } else { node.prefix() };
            group.into_iter().for_each(&mut search);
        });
        self.host_ends.walk(host::LowerBackwards(host), |node, left| {
            node.prefix().filter(|_| left > 0).into_iter().for_each(&mut search);
        });
    }
}

/// No route.
const NONE: u32 = u32::MAX;

/// What is being looked for, and the conditions of all routes.
struct Request<'a> {
    conditions: &'a [Conditions],
    asked: Asked<'a>,
}

impl Request<'_> {
    /// Moves `first` to the first of the `candidates`, up to the last of their list, that comes before it and whose
    /// conditions hold.
    fn improve(&self, candidates: &[Candidate], first: &mut u32) {
        for candidate in candidates {
            if candidate.route >= *first {
                return;
            }
            if candidate.unconditional || self.holds(candidate.route) {
                *first = candidate.route;
                return;
            }
            if candidate.is_last {
                return;
            }
        }
    }

    fn holds(&self, route: u32) -> bool {
        self.conditions[route as usize].hold(&self.asked)
    }
}

/// A route in a list of those that look for the same path.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    route: u32,
    /// Whether path and host are all that it looks at: then its conditions need not be fetched.
    unconditional: bool,
    /// Whether the list ends here.
    is_last: bool,
}

impl Candidate {
    fn new(route: usize, conditions: &Conditions) -> Candidate {
        let route = u32::try_from(route).unwrap_or(NONE);
        Candidate { route, unconditional: conditions.is_empty(), is_last: false }
    }

    /// What stands for it in an index where nobody looks for the same: it is found without its list. None for a route
    /// that is beyond those bits.
    fn alone(self) -> Option<u32> {
        (self.route < ROUTE)
            .then_some(ALONE | if self.unconditional { UNCONDITIONAL } else { 0 } | self.route)
    }

    /// The one that this stands for; none where it is the beginning of a list.
    fn of_alone(found: u32) -> Option<Candidate> {
        let unconditional = found & UNCONDITIONAL != 0;
        (found & ALONE != 0).then_some(Candidate { route: found & ROUTE, unconditional, is_last: true })
    }
}

/// In an index: this is no list's beginning but the one candidate, its route in the lower bits.
const ALONE: u32 = 1 << 31;
const UNCONDITIONAL: u32 = 1 << 30;
const ROUTE: u32 = UNCONDITIONAL - 1;

/// The routes of one host, by path.
#[derive(Debug)]
struct Paths {
    /// By an exact path or a path's beginning; the values are candidates, or where in `lists` a list of them begins.
    texts: Trie,
    /// The lists of routes that look for the same text, each in order, one after the other.
    lists: Box<[Candidate]>,
    /// The same of routes whose path is a regular expression, by the text that all that it matches begins with.
    patterns: Trie,
}

impl Paths {
    fn new(routes: Vec<(Candidate, &Route)>) -> Paths {
        let (mut texts, mut patterns) = (Lists::default(), Lists::default());
        for (candidate, route) in routes {
            match &route.matches.path {
                PathMatch::Any => texts.add("", false, candidate),
                PathMatch::Prefix(prefix) => texts.add(prefix, false, candidate),
                PathMatch::Exact(path) => texts.add(path, true, candidate),
                PathMatch::Segments(path) => {
                    texts.add(path, true, candidate);
                    texts.add(format!("{path}/"), false, candidate);
                }
                PathMatch::Regex(regex) | PathMatch::Template(PathTemplate { regex, .. }) => {
                    patterns.add(beginning(regex), false, candidate);
                }
            }
        }
        let mut lists = Vec::new();
        let (texts, patterns) = (texts.indexed(&mut lists), patterns.indexed(&mut lists));
        Paths { texts, patterns, lists: lists.into() }
    }

    /// Moves `first` to the first route of these that comes before it and matches.
    fn search(&self, request: &Request<'_>, first: &mut u32) {
        let path = request.asked.uri.path().as_bytes();
        // Expressions come last, because they cost the most: those behind a route that was found are not tried.
        for trie in [&self.texts, &self.patterns] {
            trie.walk(path, |node, left| {
                for found in [node.prefix(), node.exact().filter(|_| left == 0)].into_iter().flatten() {
                    match Candidate::of_alone(found) {
                        Some(only) => request.improve(&[only], first),
                        None => request.improve(&self.lists[found as usize..], first),
                    }
                }
            });
        }
    }
}

/// Lists of routes by what they look for: a text, and whether it is all.
#[derive(Default)]
struct Lists<'a>(BTreeMap<(Cow<'a, str>, bool), Vec<Candidate>>);

impl<'a> Lists<'a> {
    fn add(&mut self, text: impl Into<Cow<'a, str>>, exact: bool, candidate: Candidate) {
        self.0.entry((text.into(), exact)).or_default().push(candidate);
    }

    /// An index of them. They are put into `lists`, one after the other.
    fn indexed(self, lists: &mut Vec<Candidate>) -> Trie {
        let entry = |((text, exact), list): ((Cow<'_, str>, bool), Vec<Candidate>)| {
            let alone = if let [only] = list[..] { only.alone() } else { None };
            let value = alone.unwrap_or_else(|| {
                let begin = u32::try_from(lists.len()).unwrap_or(NONE);
                lists.extend(list);
                lists.last_mut().into_iter().for_each(|last: &mut Candidate| last.is_last = true);
                begin
            });
            Entry { text: text.as_bytes().into(), value, exact }
        };
        Trie::new(self.0.into_iter().map(entry).collect())
    }
}

/// The text that everything begins with that an anchored expression matches. Empty where that cannot be told.
fn beginning(regex: &Regex) -> String {
    let Ok(parsed) = regex_syntax::parse(regex.as_str()) else { return String::new() };
    let literals = Extractor::new().extract(&parsed);
    let text = literals.longest_common_prefix().map(String::from_utf8_lossy).unwrap_or_default();
    // A character may have been cut in two.
    text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// Routes, sorted by the hosts that they are for.
struct Groups<'a> {
    hosts: Vec<Entry>,
    host_ends: Vec<Entry>,
    known: HashMap<&'a HostMatch, usize>,
    routes: Vec<Vec<(Candidate, &'a Route)>>,
}

impl Default for Groups<'_> {
    fn default() -> Self {
        Groups { hosts: Vec::new(), host_ends: Vec::new(), known: HashMap::new(), routes: vec![Vec::new()] }
    }
}

impl<'a> Groups<'a> {
    fn add(&mut self, candidate: Candidate, route: &'a Route) {
        if route.matches.hosts.is_empty() {
            self.routes[0].push((candidate, route));
        }
        for host in &route.matches.hosts {
            let group = self.group(host);
            self.routes[group].push((candidate, route));
        }
    }

    /// The group of `host`, which is new if no route before was for it.
    fn group(&mut self, host: &'a HostMatch) -> usize {
        if let Some(&group) = self.known.get(host) {
            return group;
        }
        let group = self.routes.len();
        let value = u32::try_from(group).unwrap_or(NONE);
        match host {
            HostMatch::Exact(host) => {
                self.hosts.push(Entry { text: host.to_ascii_lowercase().into(), value, exact: true })
            }
            HostMatch::Prefix(host) => {
                self.hosts.push(Entry { text: host.to_ascii_lowercase().into(), value, exact: false })
            }
            HostMatch::Suffix(host) => {
                self.host_ends.push(Entry {
                    text: host.to_ascii_lowercase().bytes().rev().collect(),
                    value,
                    exact: false,
                });
            }
        }
        self.routes.push(Vec::new());
        self.known.insert(host, group);
        group
    }
}
