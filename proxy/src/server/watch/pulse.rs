//! When to look, from what the system says happened.
//!
//! A file that was put into place whole is looked at almost at once; one that is being written, or is away, after it was
//! left alone for a while, so that hardly ever half of one is read. Whoever never leaves it alone is not waited for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Event, EventKind};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::places::{Names, Places};

/// After a file was renamed into its place, closed by who wrote it, or became a link: there may be more of them.
const WHOLE: Duration = Duration::from_millis(10);

/// After a file was changed by who may go on, or went away. Editors write, remove and rename within a few milliseconds.
const PARTIAL: Duration = Duration::from_millis(250);

/// From the first event to the look, however much goes on.
const LATEST: Duration = Duration::from_secs(2);

/// Files that are waited for one by one; with more than these all count as one.
const MAX_FILES: usize = 256;

/// Events that are taken in one go.
const BURST: u32 = 1024;

/// Between two bursts. Meanwhile the system collects events, up to its own limit, and then drops them and says so.
const PAUSE: Duration = Duration::from_millis(50);

/// What happened and was not looked at yet.
#[derive(Default)]
pub(super) struct Pulse {
    state: Mutex<State>,
    sooner: Notify,
}

#[derive(Default)]
struct State {
    expected: HashMap<PathBuf, Names>,
    /// When each file that stirred will have been left alone for long enough.
    stirring: HashMap<PathBuf, Instant>,
    /// When to look although nothing stirs. What stirs says when by itself.
    again: Option<Instant>,
    /// When the first of all that stirred.
    since: Option<Instant>,
    rests_until: Option<Instant>,
    burst: Burst,
}

impl State {
    fn due(&self) -> Option<Instant> {
        let latest = self.since? + LATEST;
        let quiet = self.stirring.values().max().copied().or(self.again)?;
        let due = quiet.min(latest);
        Some(self.rests_until.map_or(due, |rested| due.max(rested)))
    }

    fn take(&mut self, event: notify::Result<Event>, now: Instant) {
        match event {
            Ok(event) if !event.need_rescan() => {
                for path in event.paths {
                    if let Some(wait) = self.wait_for(&event.kind, &path) {
                        self.stir(path, wait, now);
                    }
                }
            }
            // Some events are lost: it may have been any file.
            Ok(_) | Err(_) => self.stir(PathBuf::new(), PARTIAL, now),
        }
    }

    fn stir(&mut self, file: PathBuf, wait: Duration, now: Instant) {
        self.since.get_or_insert(now);
        let full = self.stirring.len() >= MAX_FILES && !self.stirring.contains_key(&file);
        let file = if full { PathBuf::new() } else { file };
        self.stirring.insert(file, now + wait);
    }

    fn look_again(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.again = Some(now + PARTIAL);
    }

    /// How long to wait for more of what happened, if it counts.
    fn wait_for(&self, kind: &EventKind, path: &Path) -> Option<Duration> {
        if !self.expects(path) {
            return None;
        }
        Some(match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => WHOLE,
            EventKind::Access(_) => return None, // reading changes nothing, and we read
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => WHOLE,
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return None, // said once for each name already
            EventKind::Create(CreateKind::File) if path.is_symlink() => WHOLE,
            _ => PARTIAL,
        })
    }

    /// A name that counts, or a folder of such: it may have been moved away.
    fn expects(&self, path: &Path) -> bool {
        let names = path.parent().and_then(|folder| self.expected.get(folder));
        let is_named = names.zip(path.file_name()).is_some_and(|(names, name)| names.contains(name));
        is_named || self.expected.contains_key(path)
    }
}

impl Pulse {
    /// What happens anywhere else than in these places does not count from now on.
    pub(super) fn expect(&self, places: &Places) {
        self.state().expected = places.iter().map(|(at, names)| (at.clone(), names.clone())).collect();
    }

    /// Takes an event, on the thread that the system's events come on. It may hold that up for [`PAUSE`].
    pub(super) fn note(&self, event: notify::Result<Event>) {
        let now = Instant::now();
        let pause = self.change(|state| {
            state.take(event, now);
            state.burst.take(now)
        });
        if pause {
            std::thread::sleep(PAUSE);
        }
    }

    /// It is time to look after a while although nothing was noticed; sooner if something that happens says so.
    pub(super) fn look_again(&self) {
        self.change(|state| state.look_again(Instant::now()));
    }

    /// From now on nothing is due for a while.
    pub(super) fn rest(&self, pause: Duration) {
        self.state().rests_until = Some(Instant::now() + pause);
    }

    /// Waits until what happened should be looked at, and forgets it.
    pub(super) async fn due(&self) {
        loop {
            let due = self.state().due();
            let Some(at) = due else {
                self.sooner.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(at) => {
                    let mut state = self.state();
                    if state.due().is_some_and(|at| at <= Instant::now()) {
                        state.stirring.clear();
                        (state.again, state.since) = (None, None);
                        return;
                    }
                }
                () = self.sooner.notified() => {}
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let before = state.due();
        let done = change(&mut state);
        // Whoever waits looks at the time again by itself when it is later than it was.
        if state.due().is_some_and(|due| before.is_none_or(|before| due < before)) {
            self.sooner.notify_one();
        }
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that came without a pause.
#[derive(Default)]
struct Burst {
    events: u32,
    began: Option<Instant>,
}

impl Burst {
    /// Counts one. Whether it is time for a pause.
    fn take(&mut self, now: Instant) -> bool {
        if self.began.is_none_or(|began| now - began > PAUSE) {
            *self = Burst { events: 0, began: Some(now) };
        }
        self.events += 1;
        if self.events < BURST {
            return false;
        }
        *self = Burst::default();
        true
    }
}

#[cfg(test)]
mod tests {
    use notify::event::RemoveKind;

    use super::*;

    const WRITTEN: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const GROWN: EventKind = EventKind::Modify(ModifyKind::Any);
    const SECOND: Duration = Duration::from_secs(1);

    /// A state that expects the files `a` and `b` of `/f`.
    fn state() -> State {
        let expected = HashMap::from([(PathBuf::from("/f"), Names::of(&["a", "b"]))]);
        State { expected, ..State::default() }
    }

    /// How long after these events it is time to look.
    fn wait_after(events: &[(EventKind, &str)]) -> Option<Duration> {
        let (mut state, now) = (state(), Instant::now());
        for &(kind, path) in events {
            state.take(Ok(Event::new(kind).add_path(path.into())), now);
        }
        state.due().map(|due| due - now)
    }

    #[test]
    fn a_whole_file_is_looked_at_soon_and_one_that_may_grow_later() {
        assert_eq!(wait_after(&[(WRITTEN, "/f/a")]), Some(WHOLE));
        assert_eq!(wait_after(&[(GROWN, "/f/a")]), Some(PARTIAL));
        assert_eq!(wait_after(&[(GROWN, "/f/a"), (WRITTEN, "/f/a")]), Some(WHOLE));
        assert_eq!(wait_after(&[(GROWN, "/f/a"), (WRITTEN, "/f/b")]), Some(PARTIAL));
        assert_eq!(wait_after(&[(EventKind::Remove(RemoveKind::File), "/f/a")]), Some(PARTIAL));
        assert_eq!(wait_after(&[(EventKind::Remove(RemoveKind::Folder), "/f")]), Some(PARTIAL));
    }

    #[test]
    fn a_file_that_comes_back_at_once_was_not_away() {
        let moved = |mode| EventKind::Modify(ModifyKind::Name(mode));
        assert_eq!(wait_after(&[(moved(RenameMode::From), "/f/a")]), Some(PARTIAL));
        assert_eq!(
            wait_after(&[(moved(RenameMode::From), "/f/a"), (moved(RenameMode::To), "/f/a")]),
            Some(WHOLE)
        );
    }

    #[test]
    fn what_nobody_reads_and_reading_itself_do_not_count() {
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert_eq!(wait_after(&[(WRITTEN, "/f/c"), (WRITTEN, "/g/a"), (open, "/f/a")]), None);
    }

    #[test]
    fn a_writer_that_does_not_stop_is_not_waited_for_for_ever() {
        let (mut state, began) = (state(), Instant::now());
        for tenths in 0..100 {
            let event = Event::new(GROWN).add_path("/f/a".into());
            state.take(Ok(event), began + Duration::from_millis(100) * tenths);
        }
        assert_eq!(state.due(), Some(began + LATEST));
    }

    #[test]
    fn it_is_quiet_for_a_while_when_told_to_be() {
        let (mut state, now) = (state(), Instant::now());
        state.rests_until = Some(now + SECOND);
        assert_eq!(state.due(), None);
        state.take(Ok(Event::new(WRITTEN).add_path("/f/a".into())), now);
        assert_eq!(state.due(), Some(now + SECOND));
    }

    #[test]
    fn a_second_look_waits_only_where_nothing_says_when() {
        let (mut state, now) = (state(), Instant::now());
        state.look_again(now);
        assert_eq!(state.due(), Some(now + PARTIAL));
        state.take(Ok(Event::new(WRITTEN).add_path("/f/a".into())), now);
        assert_eq!(state.due(), Some(now + WHOLE));
        state.look_again(now);
        assert_eq!(state.due(), Some(now + WHOLE));
    }

    #[test]
    fn events_that_were_lost_may_have_been_any_file() {
        let (mut state, now) = (state(), Instant::now());
        state.take(Ok(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)), now);
        assert_eq!(state.due(), Some(now + PARTIAL));
    }

    #[test]
    fn more_files_than_are_told_apart_are_waited_for_too() {
        let (mut state, now) = (state(), Instant::now());
        for file in 0..10 * MAX_FILES {
            state.stir(PathBuf::from(file.to_string()), WHOLE, now);
        }
        assert_eq!(state.due(), Some(now + WHOLE));
        assert!(state.stirring.len() <= MAX_FILES + 1);
    }

    #[test]
    fn a_storm_of_events_is_taken_in_bursts() {
        let (mut burst, now) = (Burst::default(), Instant::now());
        assert_eq!((0..BURST - 1).filter(|_| burst.take(now)).count(), 0);
        assert!(burst.take(now));
        assert!((0..10 * BURST).all(|event| !burst.take(now + PAUSE * event)), "so few need no pause");
    }
}
