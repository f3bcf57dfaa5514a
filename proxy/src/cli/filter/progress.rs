//! A line on a terminal for what takes longer than a second.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::terminal;

/// For how long nothing is said.
const QUIET: Duration = Duration::from_secs(1);

/// How often the line is written anew.
const PERIOD: Duration = Duration::from_millis(200);

/// What is being done, on standard error: one line, which is gone at the end. Nothing at all where that is no terminal,
/// or one that can draw nothing over.
pub(super) struct Progress(Option<(Sender<String>, JoinHandle<()>)>);

impl Progress {
    pub(super) fn begin(what: &str) -> Progress {
        if !terminal::can_be_drawn_on(&io::stderr()) {
            return Progress(None);
        }
        let (sender, receiver) = channel();
        let what = what.to_owned();
        Progress(Some((sender, thread::spawn(move || show(what, &receiver)))))
    }

    /// What is done now.
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if let Some((sender, _)) = &self.0 {
            let _ = sender.send(what()); // the thread ends only with this
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn show(mut what: String, news: &Receiver<String>) {
    let began = Instant::now();
    let mut is_shown = false;
    loop {
        match news.recv_timeout(PERIOD) {
            Ok(newer) => what = newer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        while let Ok(newer) = news.try_recv() {
            what = newer;
        }
        let elapsed = began.elapsed();
        if elapsed > QUIET {
            let line = terminal::line(&what, &format!(" ({} s)", elapsed.as_secs()), &io::stderr());
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            is_shown = true;
        }
    }
    if is_shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
