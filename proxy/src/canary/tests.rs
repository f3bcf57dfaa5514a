use super::gate::Gate;
use super::judge::judge;
use super::window::Window;
use super::*;
use crate::config::model::{Percent, Rollback, Times};
use std::time::Duration;

fn sums(exchanges: u64) -> Sums {
    Sums { exchanges, answers: exchanges, ..Sums::default() }
}

fn passing(gate: &Gate, exchanges: usize, every: usize) -> usize {
    let turn = Turn::somewhere();
    let passed: Vec<bool> = (0..exchanges).map(|_| gate.passes(&turn, None, || false)).collect();
    passed.iter().step_by(every).filter(|passed| **passed).count()
}

#[test]
fn a_share_is_that_share_of_any_run_and_of_every_nth() {
    for percent in [1, 5, 25, 50, 99] {
        let gate = Gate::new("limits", Percent(percent * 100));
        for every in 1..=4 {
            let passed = passing(&gate, 2000 * every, every) as f64;
            let meant = 20.0 * f64::from(percent);
            assert!((passed - meant).abs() <= 8.0, "{percent} % of every {every}th: {passed} of 2000");
        }
    }
    assert_eq!(passing(&Gate::new("limits", Percent::ALL), 1000, 1), 1000);
    assert_eq!(passing(&Gate::new("limits", Percent::NONE), 1000, 1), 0);
}

#[test]
fn a_key_keeps_its_version_while_the_share_grows() {
    let gate = Gate::new("limits", Percent(1000));
    let turn = Turn::somewhere();
    let users: Vec<String> = (0..1000).map(|user| format!("user-{user}")).collect();
    let chosen = |gate: &Gate| -> Vec<&String> {
        users.iter().filter(|user| gate.passes(&turn, Some(user.as_bytes()), || false)).collect()
    };
    let few = chosen(&gate);
    assert_eq!(few, chosen(&gate));
    assert!((60..140).contains(&few.len()), "{}", few.len());
    gate.open(Percent(3000));
    let more = chosen(&gate);
    assert!(few.iter().all(|user| more.contains(user)));
    let other = Gate::new("other", Percent(1000));
    assert_ne!(few, chosen(&other));
}

#[test]
fn a_closed_gate_lets_nobody_pass_whom_it_was_open_for() {
    let gate = Gate::new("limits", Percent::NONE);
    let turn = Turn::somewhere();
    assert!(gate.passes(&turn, None, || true));
    gate.close();
    assert!(!gate.passes(&turn, None, || true));
}

#[test]
fn faults_count_at_once_and_all_else_from_the_minimum_on() {
    let rollback = Rollback { minimum: 10, denials: Some(Percent(500)), ..Rollback::default() };
    let fault = Sums { faults: 1, ..Sums::default() };
    assert_eq!(judge(&rollback, None, &fault).unwrap().0, Reason::Faults);
    assert!(judge(&Rollback { faults: 0, ..rollback.clone() }, None, &fault).is_none());
    let denying = |exchanges| Sums { denials: exchanges, ..sums(exchanges) };
    assert!(judge(&rollback, Some(&sums(1000)), &denying(9)).is_none());
    assert!(judge(&rollback, None, &denying(1000)).is_none(), "there is nothing to compare with");
    assert_eq!(judge(&rollback, Some(&sums(1000)), &denying(10)).unwrap().0, Reason::Denials);
    assert!(judge(&rollback, Some(&denying(1000)), &denying(10)).is_none(), "the first does the same");
}

#[test]
fn means_are_compared_with_those_of_the_first_version() {
    let rollback = Rollback {
        minimum: 10,
        latency: Some(Times(200)),
        instructions: Some(Times(150)),
        ..Rollback::default()
    };
    let version = |latency_ns: u64, instructions: u64| Sums {
        latency_ns: 100 * latency_ns,
        instructions: 100 * instructions,
        ..sums(100)
    };
    let stable = version(1000, 1000);
    assert!(judge(&rollback, Some(&stable), &version(2000, 1500)).is_none());
    assert_eq!(judge(&rollback, Some(&stable), &version(2100, 1500)).unwrap().0, Reason::Latency);
    assert_eq!(judge(&rollback, Some(&stable), &version(2000, 1600)).unwrap().0, Reason::Instructions);
}

#[test]
fn a_window_forgets_what_was_long_ago_but_not_a_first_version_that_left() {
    let began = Instant::now();
    let (enough, interval) = (10, Duration::from_secs(60));
    let mut window = Window::new(Counts::default(), began);
    let at = |minutes: u32| began + interval * minutes;
    let counts =
        |stable, candidate| Counts { stable: sums(stable), candidate: sums(candidate), ..Counts::default() };
    assert_eq!(window.view(&counts(9, 9), enough, interval, at(0)), (None, sums(9)));
    assert_eq!(window.view(&counts(20, 20), enough, interval, at(1)), (Some(sums(20)), sums(20)));
    assert_eq!(window.view(&counts(20, 40), enough, interval, at(2)).1, sums(40));
    // What was before the first mark is out of sight now; the first version sees nothing any more.
    assert_eq!(window.view(&counts(20, 50), enough, interval, at(3)), (Some(sums(20)), sums(30)));
}

/// A canary of a filter `f` on one worker, and its time.
struct Trial {
    canary: Canary,
    cells: Arc<Cells>,
    now: Instant,
}

impl Trial {
    fn new(promote: Option<model::Promote>, rollback: Rollback) -> Trial {
        let policy = model::Canary {
            filter: 0,
            candidate: 1,
            mode: CanaryMode::Serve,
            percent: Percent(500),
            matches: None,
            key: None,
            rollback,
            promote,
        };
        let canary = Canary::new("f", policy, Map::new(), Arc::default());
        Trial { cells: canary.cells(0), canary, now: Instant::now() }
    }

    /// Both versions serve so many exchanges, of which the second denies all or none.
    fn serve(&self, exchanges: usize, denies: bool) {
        for _ in 0..exchanges {
            self.cells.count(Version::Stable, &Outcome::default());
            self.cells.count(Version::Candidate, &Outcome { denied: denies, ..Outcome::default() });
        }
    }

    fn look_after(&mut self, minutes: u32) -> Percent {
        self.now += Duration::from_secs(60) * minutes;
        self.canary.look(self.now);
        self.canary.percent()
    }
}

fn steps() -> Option<model::Promote> {
    let steps = [5, 50, 100].map(|percent| Percent(percent * 100)).to_vec();
    Some(model::Promote { steps, every: Duration::from_secs(300) })
}

fn denials() -> Rollback {
    Rollback { minimum: 10, denials: Some(Percent(500)), ..Rollback::default() }
}

#[test]
fn a_step_takes_both_its_time_and_its_exchanges() {
    let mut trial = Trial::new(steps(), denials());
    trial.serve(20, false);
    assert_eq!(trial.look_after(4), Percent(500), "it is too early");
    assert_eq!(trial.look_after(2), Percent(5000));
    assert_eq!(trial.look_after(60), Percent(5000), "nothing was seen in this step");
    trial.serve(20, false);
    assert_eq!(trial.look_after(0), Percent::ALL);
    trial.serve(20, false);
    assert_eq!(trial.look_after(60), Percent::ALL);
}

#[test]
fn a_paused_canary_takes_no_step_but_is_rolled_back() {
    let mut trial = Trial::new(steps(), denials());
    trial.canary.steer(Order::Pause).unwrap();
    trial.serve(20, false);
    assert_eq!(trial.look_after(60), Percent(500));
    trial.serve(200, true);
    assert_eq!(trial.look_after(0), Percent::NONE);
    assert_eq!(trial.canary.rollbacks(), [(Reason::Denials, 1)].into());
}

#[test]
fn what_was_rolled_back_begins_anew_when_an_operator_says_so() {
    let mut trial = Trial::new(None, denials());
    trial.serve(20, true);
    assert_eq!(trial.look_after(0), Percent::NONE);
    trial.canary.steer(Order::Share(Percent(1000))).unwrap();
    assert_eq!(trial.look_after(60), Percent(1000), "what was before does not count again");
    trial.serve(20, true);
    assert_eq!(trial.look_after(0), Percent::NONE);
    assert_eq!(trial.canary.rollbacks(), [(Reason::Denials, 2)].into());
}

#[test]
fn what_happened_long_ago_does_not_dilute_what_happens_now() {
    let mut trial = Trial::new(None, denials());
    trial.serve(1000, false);
    for _ in 0..3 {
        trial.serve(10, false);
        assert_eq!(trial.look_after(2), Percent(500));
    }
    trial.serve(10, true);
    assert_eq!(trial.look_after(0), Percent::NONE, "10 of 1040, but of the last 20");
}
