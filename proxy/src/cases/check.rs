//! From what the user wrote to cases that can be run, recording every problem on the way.

mod expect;
mod message;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::matcher::Text as Matched;
use super::model::{Answers, Case, Step, Suite, What, World};
use super::raw;
use crate::builtin;
use crate::config::check::{Checker, entries, items, whole};
use crate::config::collector::Collector;
use crate::config::decode::{self, Field, Located};
use crate::config::model::{BUFFER_LIMIT, Filter, ModuleSource};
use crate::config::scalar::{Count, Quantity, Size, Text};
use crate::config::{Level, Problem, Problems, Source, Span, bounds, yaml};
use crate::files::Footprint;

/// Workers of a kit.
const MAX_WORKERS: u64 = 64;

/// How often a step is repeated.
const MAX_TIMES: u64 = 100_000;

/// Virtual time that may pass in one go, and that an exchange may take.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long an exchange may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(600);

/// See [`Suite::load`].
pub(super) fn load(path: &Path, module: &ModuleSource) -> Result<Suite, Problems> {
    let source = crate::config::read_source(path)?;
    let log = Collector::new(&source);
    let folder = super::model::folder_of(path);
    let cases = read(&source, &log, &folder, first_world(module));
    let is_empty = cases.as_ref().is_none_or(Vec::is_empty) && !log.has_errors();
    let problems = log.finish(source.clone());
    match cases {
        _ if is_empty => Err(without_cases(source)),
        Some(cases) if !problems.are_fatal() => Ok(Suite { source, cases }),
        _ => Err(problems),
    }
}

fn without_cases(source: std::sync::Arc<Source>) -> Problems {
    let hint = "a first one: `cases: [{name: it passes, request: GET /, expect: {outcome: forwarded}}]`";
    let problem = Problem {
        level: Level::Error,
        message: "there are no cases in the file".to_owned(),
        place: None,
        hint: Some(hint.to_owned()),
    };
    Problems::new(source, vec![problem], 0)
}

fn read(source: &Source, log: &Collector<'_>, folder: &Path, first: World) -> Option<Vec<Case>> {
    let root = yaml::read(source, log)?;
    if root.is_nothing() {
        return None;
    }
    let Located { value: mut file, span } = decode::decode::<raw::File>(&root, log).given()?;
    let settings = file.settings();
    let footprint = RefCell::default();
    let cases = file.cases;
    let mut reader = Reader::new(log, folder, &footprint);
    let world = reader.world(first, settings, span);
    let cases: Vec<_> = items(reader.checker.required(cases, "cases", span)?.value).collect();
    let mut names: HashMap<String, Span> = HashMap::new();
    Some(cases.into_iter().filter_map(|case| reader.case(&world, case, &mut names)).collect())
}

/// What holds where a file says nothing, or where there is none.
pub(super) fn first_world(module: &ModuleSource) -> World {
    let mut filter = Filter::new("filter", module.clone());
    if let ModuleSource::Builtin(name) = module
        && let Some(instructions) = builtin::instructions(name)
    {
        filter.limits.instructions = instructions;
    }
    World {
        filter,
        buffer_limit: BUFFER_LIMIT,
        workers: 1,
        seed: 0,
        start_time: None,
        timeout: TIMEOUT,
        upstream: Rc::default(),
        clusters: BTreeMap::new(),
    }
}

/// What reading needs to know everywhere.
struct Reader<'a> {
    checker: Checker<'a>,
    log: &'a Collector<'a>,
    folder: &'a Path,
}

impl<'a> Reader<'a> {
    fn new(log: &'a Collector<'a>, folder: &'a Path, footprint: &'a RefCell<Footprint>) -> Reader<'a> {
        Reader { checker: Checker::of_settings(log, folder, footprint), log, folder }
    }

    /// Puts what is said in the place of what holds.
    fn world(&mut self, before: World, raw: raw::Settings, span: Span) -> World {
        let mut world = before;
        if let Some(clusters) = raw.clusters.given() {
            world.clusters = entries(Field::Given(clusters))
                .into_iter()
                .filter_map(|(name, answers)| {
                    let answers = self.answers(answers.given()?, true);
                    Some((name.value, Rc::new(answers)))
                })
                .collect();
        }
        self.checker.know_clusters(world.clusters.keys().cloned());
        self.checker.redefine(&mut world.filter, raw.filter, span);
        if let Some(upstream) = raw.upstream.given() {
            world.upstream = Rc::new(self.answers(upstream, false));
        }
        if let Some(Size(bytes)) = self.checker.number_if_given(raw.buffer_limit, bounds::BUFFER_LIMIT) {
            world.buffer_limit = whole(bytes);
        }
        if let Some(workers) = self.count(raw.workers, 1, MAX_WORKERS) {
            world.workers = whole(workers);
        }
        if let Some(Text(Count(seed))) = raw.seed.value() {
            world.seed = seed;
        }
        if let Some(Text(raw::Moment(moment))) = raw.start_time.value() {
            world.start_time = Some(moment);
        }
        if let Some(timeout) = self.duration(raw.timeout) {
            world.timeout = timeout;
        }
        world
    }

    fn case(
        &mut self,
        world: &World,
        case: Located<raw::Case>,
        names: &mut HashMap<String, Span>,
    ) -> Option<Case> {
        let Located { value: mut case, span } = case;
        let world = self.world(world.clone(), case.settings(), span);
        let name = self.checker.required(take(&mut case.name), "name", span)?;
        if let Some(first) = names.insert(name.value.clone(), name.span) {
            let hint = format!("the first one is on line {}", self.log.line(first));
            self.log.error_with_hint(name.span, format!("there is a case `{}` already", name.value), hint);
        }
        let what = self.what(&world, case, name.span)?;
        Some(Case { name: name.value, span: name.span, world, what })
    }

    fn what(&mut self, world: &World, raw: raw::Case, span: Span) -> Option<What> {
        let raw::Case { request, steps, expect, config_refused, any_chunking, .. } = raw;
        let refused = config_refused.given();
        let said = [request.span(), steps.span(), refused.as_ref().map(|refused| refused.span)];
        match said.iter().flatten().collect::<Vec<_>>().as_slice() {
            [_] => {}
            [] => {
                let hint = "give it a `request`, as in `request: GET /`";
                self.log.error_with_hint(span, "nothing happens in this case", hint);
            }
            [_, second, ..] => {
                let hint = "keep one of `request`, `steps` and `config_refused`";
                self.log.error_with_hint(**second, "these cannot be given together", hint);
            }
        }
        let every_way = any_chunking.span().filter(|_| any_chunking.value() == Some(true));
        if let Some(Located { value, span }) = refused {
            if let Some(at) = expect.span().or(every_way) {
                let hint = "a filter that refuses its configuration sees no request";
                self.log.error_with_hint(at, "this is never looked at", hint);
            }
            return Some(What::Refusal(self.matcher(value), span));
        }
        if let Some(steps) = steps.given() {
            if let Some(at) = every_way {
                let hint = "give the case one `request`";
                self.log.error_with_hint(at, "several steps cannot be tried in every division", hint);
            }
            let steps: Vec<_> = items(steps.value).filter_map(|step| self.step(world, step)).collect();
            let message = "this is of one exchange, and the case has several steps";
            self.refuse_of_exchange(&expect, message, "expect it in a step");
            return Some(What::Steps(steps, Box::new(self.expect(expect))));
        }
        let step = raw::Step { request, expect, ..Default::default() };
        let step = self.step(world, Located { value: step, span })?;
        Some(match every_way {
            Some(at) => What::AnyChunking(Box::new(step), at),
            None => What::Steps(vec![step], Box::default()),
        })
    }

    fn step(&mut self, world: &World, step: Located<raw::Step>) -> Option<Step> {
        let Located { value: step, span } = step;
        let advance = self.duration(step.advance).unwrap_or_default();
        let upstream = step.upstream.given().map(|upstream| Rc::new(self.answers(upstream, false)));
        let times = self.count(step.times, 1, MAX_TIMES).unwrap_or(1);
        let is_invalid = matches!(step.request, Field::Invalid);
        let request = step.request.given().and_then(|request| self.request(request, world.workers));
        if request.is_none() && advance.is_zero() && !is_invalid {
            self.log.error_with_hint(
                span,
                "nothing happens in this step",
                "give it a `request` or `advance`",
            );
        }
        if request.is_none() && !is_invalid {
            let message = "this is of an exchange, and nothing is sent here";
            self.refuse_of_exchange(&step.expect, message, "give the step a `request`");
        }
        let expect = self.expect(step.expect);
        Some(Step { span, advance, request, times, upstream, expect })
    }

    fn count(&self, field: Field<Text<Count>>, min: u64, max: u64) -> Option<u64> {
        let Located { value: Text(Count(number)), span } = field.given()?;
        if !(min..=max).contains(&number) {
            let range = format!("the range is {} to {}", Count(min).write(), Count(max).write());
            self.log.error_with_hint(span, format!("`{number}` is out of range"), range);
        }
        Some(number.clamp(min, max))
    }

    fn duration(&self, field: Field<Text<Duration>>) -> Option<Duration> {
        let Located { value: Text(duration), span } = field.given()?;
        if duration > LONGEST {
            self.log.error_with_hint(span, "this is too long", "the most is ten years");
        }
        Some(duration.min(LONGEST))
    }

    /// How a text is compared.
    fn matcher(&self, raw: raw::Matcher) -> Matched {
        use raw::Matcher as Raw;
        let text = |field: Field<String>| field.value().unwrap_or_default();
        match raw {
            Raw::Exact(field) | Raw::Plain(field) => Matched::Exact(text(field)),
            Raw::Prefix(field) => Matched::Prefix(text(field)),
            Raw::Suffix(field) => Matched::Suffix(text(field)),
            Raw::Contains(field) => Matched::Contains(text(field)),
            Raw::Present(field) => Matched::Present(field.value().unwrap_or(true)),
            Raw::Regex(field) => self.regex(field),
            Raw::Not(field) => match field.given() {
                Some(inner) => Matched::Not(Box::new(self.matcher(*inner.value))),
                None => Matched::Present(true),
            },
        }
    }

    fn regex(&self, field: Field<String>) -> Matched {
        let regex = field.given().and_then(|pattern| self.checker.whole_pattern(&pattern));
        regex.map_or(Matched::Present(true), Matched::Regex)
    }

    fn answers(&mut self, answers: Located<decode::OneOrMany<raw::Answer>>, is_cluster: bool) -> Answers {
        let Located { value: decode::OneOrMany(list), span } = answers;
        let list = items(list).filter_map(|answer| self.answer(answer, is_cluster)).collect();
        Answers { list, span }
    }
}
