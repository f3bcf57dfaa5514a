//! Runs cases on the kit.

use std::cell::RefCell;
use std::rc::Rc;

use super::judge::{Happened, Mismatch, judge};
use super::model::{Answer, AnswerKind, Answers, Case, Expect, Step, Suite, What, World};
use super::report::{CaseReport, SuiteReport};
use crate::config::Span;
use crate::kit::{self, Call, Forwarded, Kit, LogLine, Module, Refused, Response, Setup};

/// Runs every case of a file, each on a filter of its own. `begins` is told of each before it is run.
pub fn run(suite: &Suite, module: &Module, mut begins: impl FnMut(&str)) -> SuiteReport {
    let cases = suite.cases.iter().map(|case| {
        begins(&case.name);
        run_case(case, module)
    });
    SuiteReport::new(suite, cases.collect())
}

fn run_case(case: &Case, module: &Module) -> CaseReport {
    let mut report = CaseReport::of(case);
    let stage = Stage::new(&case.world, module);
    match &case.what {
        What::Refusal(expected, span) => match Kit::build(stage.setup()) {
            Err(refused) => {
                let said = refused.logs.iter().map(|line| line.text.as_str());
                let is_said = said
                    .chain([refused.fault.message.as_str()])
                    .any(|text| expected.matches(Some(text.as_bytes())));
                if !is_said {
                    let message = "the filter refused its configuration, but said nothing like this";
                    let mismatch = Mismatch::new(*span, message).lines(refusal(&refused));
                    report.mismatches.push(Mismatch { expected: Some(expected.to_string()), ..mismatch });
                }
            }
            Ok(_) => report.mismatches.push(Mismatch::new(*span, "the filter took its configuration")),
        },
        What::Steps(steps, expect) => {
            if let Some(kit) = stage.kit(case.span, &mut report) {
                stage.steps(&kit, steps, expect, case.span, &mut report);
            }
        }
        What::AnyChunking(step, span) => {
            let Some(kit) = stage.kit(case.span, &mut report) else { return report };
            stage.steps(&kit, std::slice::from_ref(step), &Expect::default(), case.span, &mut report);
            let Some(request) = step.request.as_ref().filter(|_| report.mismatches.is_empty()) else {
                return report;
            };
            let response = stage.last.borrow().clone().unwrap_or_else(|| Response::new(200));
            if let Err(difference) = stage.setup().try_every_division(request, &response) {
                let message = "what the filter does depends on how bodies are divided";
                let lines = difference.lines().map(str::to_owned);
                report.mismatches.push(Mismatch::new(*span, message).lines(lines));
            }
        }
    }
    report
}

fn refusal(refused: &Refused) -> Vec<String> {
    let logs = refused.logs.iter().map(ToString::to_string);
    std::iter::once(refused.fault.to_string()).chain(logs).collect()
}

/// A filter's surroundings while a case runs.
pub(super) struct Stage<'a> {
    world: &'a World,
    module: &'a Module,
    /// What the upstream answered last.
    last: Rc<RefCell<Option<Response>>>,
    /// Requests that nothing in the file answers, and where the answers are.
    unanswered: Rc<RefCell<Vec<(Span, String)>>>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(world: &'a World, module: &'a Module) -> Stage<'a> {
        Stage { world, module, last: Rc::default(), unanswered: Rc::default() }
    }

    pub(super) fn setup(&self) -> Setup {
        let World { filter, buffer_limit, workers, seed, start_time, timeout, clusters, .. } = self.world;
        let mut setup = Kit::of(self.module);
        setup.filter = filter.clone();
        setup.filter.name = self.module.name().to_owned();
        setup = setup.buffer_limit(*buffer_limit).workers(*workers).seed(*seed).patience(*timeout);
        if let Some(moment) = start_time {
            setup = setup.start_time(*moment);
        }
        for (name, answers) in clusters {
            let (answers, unanswered) = (answers.clone(), self.unanswered.clone());
            setup = setup.cluster(name, move |call| answer_callout(&answers, call, &unanswered));
        }
        setup.upstream(self.upstream(&self.world.upstream))
    }

    /// How the upstream answers.
    fn upstream(&self, answers: &Rc<Answers>) -> impl FnMut(&Forwarded) -> Response + 'static {
        let (answers, unanswered, last) = (answers.clone(), self.unanswered.clone(), self.last.clone());
        move |request| {
            let response = answer_request(&answers, request, &unanswered);
            *last.borrow_mut() = Some(response.clone());
            response
        }
    }

    /// The filter, started; otherwise why not is in the report.
    fn kit(&self, span: Span, report: &mut CaseReport) -> Option<Kit> {
        match Kit::build(self.setup()) {
            Ok(kit) => match kit.try_settle() {
                Ok(()) => Some(kit),
                Err(stuck) => {
                    report.mismatches.push(Mismatch::new(span, stuck.to_string()));
                    None
                }
            },
            Err(refused) => {
                let message = "the filter does not start with this configuration";
                report.mismatches.push(Mismatch::new(span, message).lines(refusal(&refused)));
                None
            }
        }
    }

    fn steps(&self, kit: &Kit, steps: &[Step], expect: &Expect, span: Span, report: &mut CaseReport) {
        let started = kit.instructions();
        let all_expected = expect.faults.is_some();
        let early = kit.faults(); // before the first step, as in the answer to what it asked at its start
        for step in steps {
            self.step(kit, step, all_expected, report);
            if !report.mismatches.is_empty() {
                break; // what follows would only be its echo
            }
        }
        report.instructions = Some(kit.instructions() - started);
        let logs = kit.logs();
        if report.mismatches.is_empty() {
            let faults = match all_expected {
                true => kit.faults(),
                false => early, // each step has judged its own
            };
            let happened = Happened {
                exchange: None,
                logs: &logs,
                faults: &faults,
                callouts: &kit.callouts(),
                instructions: kit.instructions() - started,
                memory: memory(kit),
            };
            report.mismatches.extend(judge(expect, &happened, kit, span));
        }
        if !report.mismatches.is_empty() {
            report.logs = logs;
        }
    }

    fn step(&self, kit: &Kit, step: &Step, all_expected: bool, report: &mut CaseReport) {
        if let Some(upstream) = &step.upstream {
            kit.upstream(self.upstream(upstream));
        }
        for time in 1..=step.times {
            let before = Before::of(kit);
            let before_exchange = report.mismatches.len();
            if time == 1
                && !step.advance.is_zero()
                && let Err(stuck) = kit.try_advance(step.advance)
            {
                report.mismatches.push(Mismatch::new(step.span, stuck.to_string()));
                return;
            }
            let seen = match step.request.clone().map(|request| kit.try_send(request)).transpose() {
                Ok(seen) => seen,
                Err(stuck) => {
                    report.mismatches.push(Mismatch::new(step.span, stuck.to_string()));
                    return;
                }
            };
            let (logs, faults) = kit.journal.since(before.journal);
            let callouts = kit.clusters.calls.borrow()[before.callouts..].to_vec();
            let happened = Happened {
                exchange: seen.as_ref(),
                logs: &logs,
                faults: if all_expected && step.expect.faults.is_none() { &[] } else { &faults },
                callouts: &callouts,
                instructions: kit.instructions() - before.instructions,
                memory: memory(kit),
            };
            report.mismatches.extend(judge(&step.expect, &happened, kit, step.span));
            for (span, request) in self.unanswered.take() {
                let message = format!("no answer here is for {request}");
                report.mismatches.push(Mismatch::new(span, message));
            }
            if report.mismatches.len() > before_exchange {
                if step.times > 1 {
                    let of = format!(" (the {} of {} times)", nth(time), step.times);
                    report.mismatches[before_exchange..].iter_mut().for_each(|it| it.message.push_str(&of));
                }
                break;
            }
        }
        if step.upstream.is_some() {
            kit.upstream(self.upstream(&self.world.upstream));
        }
    }
}

fn nth(number: u64) -> String {
    let end = match (number % 10, number % 100) {
        (1, hundred) if hundred != 11 => "st",
        (2, hundred) if hundred != 12 => "nd",
        (3, hundred) if hundred != 13 => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

/// How much there was of everything that is counted when a step began.
struct Before {
    journal: (usize, usize),
    callouts: usize,
    instructions: u64,
}

impl Before {
    fn of(kit: &Kit) -> Before {
        Before {
            journal: kit.journal.len(),
            callouts: kit.clusters.calls.borrow().len(),
            instructions: kit.instructions(),
        }
    }
}

/// The largest instance's.
fn memory(kit: &Kit) -> u64 {
    (0..kit.workers.len()).map(|worker| kit.memory(worker)).max().unwrap_or(0)
}

type Unanswered = Rc<RefCell<Vec<(Span, String)>>>;

fn answer_request(answers: &Answers, request: &Forwarded, unanswered: &Unanswered) -> Response {
    let (method, path) = (request.method(), request.target());
    match answers.find(method, path, request.headers()) {
        Some(AnswerKind::Response(response, true)) => (**response).clone().body(request.body()),
        Some(AnswerKind::Response(response, false)) => (**response).clone(),
        Some(AnswerKind::Unavailable(_) | AnswerKind::Never) => Response::new(503), // refused where it is read
        None if answers.list.is_empty() => Response::new(200),
        None => {
            unanswered.borrow_mut().push((answers.span, format!("{method} {path}")));
            Response::new(503)
        }
    }
}

fn answer_callout(answers: &Answers, call: &Call, unanswered: &Unanswered) -> kit::Answer {
    match answers.find(&call.method, &call.target, call.headers()) {
        Some(AnswerKind::Response(response, true)) => (**response).clone().body(call.body.clone()).into(),
        Some(AnswerKind::Response(response, false)) => (**response).clone().into(),
        Some(AnswerKind::Unavailable(why)) => kit::Answer::unavailable(why),
        Some(AnswerKind::Never) => kit::Answer::never(),
        None => {
            unanswered.borrow_mut().push((answers.span, format!("{} {}", call.method, call.target)));
            kit::Answer::unavailable("no answer in the file is for this request")
        }
    }
}

impl Answers {
    fn find(&self, method: &http::Method, path: &str, headers: &http::HeaderMap) -> Option<&AnswerKind> {
        let found = self.list.iter().find(|answer| answer.is_for(method, path, headers));
        found.map(|answer| &answer.kind)
    }
}

impl Answer {
    fn is_for(&self, method: &http::Method, path: &str, headers: &http::HeaderMap) -> bool {
        let has = |(name, values): &(http::HeaderName, Vec<super::matcher::Text>)| {
            let value = headers.get(name).map(|value| value.as_bytes());
            values.iter().all(|wanted| wanted.matches(value))
        };
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.path.as_ref().is_none_or(|wanted| wanted.matches(Some(path.as_bytes())))
            && self.headers.iter().all(has)
    }
}

/// Lines as they are shown.
pub(super) fn said(logs: &[LogLine]) -> impl Iterator<Item = String> {
    logs.iter().map(ToString::to_string)
}
