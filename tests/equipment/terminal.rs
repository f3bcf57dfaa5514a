//! A terminal that a program is started on: a pair of pseudo-terminals, of which the test holds the other end.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::wait::eventually;

/// What a program does to the modes of its terminal: whether lines are collected, and whether keys are shown.
const MODES: LocalModes = LocalModes::ICANON.union(LocalModes::ECHO).union(LocalModes::ISIG);

/// A program on a terminal of its own. It never outlives the test.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    /// The program's own end, kept open so that its modes can be looked at when the program has ended.
    far_end: File,
    before: LocalModes,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts the built `tidegate` with these arguments on a terminal of this size.
    pub(crate) fn start(arguments: &[&str], columns: u16, rows: u16) -> Terminal {
        Terminal::start_with(&[], arguments, columns, rows)
    }

    /// The same where variables of the environment have these values, or none.
    pub(crate) fn start_with(
        environment: &[(&str, Option<&str>)],
        arguments: &[&str],
        columns: u16,
        rows: u16,
    ) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let near_end = openpt(flags).expect("there are pseudo-terminals");
        grantpt(&near_end).and_then(|()| unlockpt(&near_end)).expect("it is this process's");
        let far_end = ioctl_tiocgptpeer(&near_end, flags).expect("it has another end");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&far_end, size).expect("a terminal has a size");
        let (near_end, far_end) = (File::from(near_end), File::from(far_end));
        let end = || Stdio::from(far_end.try_clone().expect("a file can be shared"));
        let before = modes(&far_end);
        let binary = std::env::var("TIDEGATE_BINARY");
        let binary = binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_tidegate"));
        let mut command = Command::new(binary);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.args(arguments).stdin(end()).stdout(end()).stderr(end()).spawn();
        let child = child.expect("the proxy's binary starts");
        let keys = near_end.try_clone().expect("a file can be shared");
        let shown = Arc::default();
        collect(near_end, Arc::clone(&shown));
        Terminal { child, keys, far_end, before, shown }
    }

    /// Everything that the program has written so far, with what moves the cursor.
    pub(crate) fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until the program has written this.
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_for_more(0, text);
    }

    /// Waits until the program has written this behind so many bytes.
    pub(crate) fn wait_for_more(&self, after: usize, text: &str) {
        eventually(&format!("{text:?} on the terminal"), || {
            self.shown().get(after..).is_some_and(|shown| shown.contains(text)).then_some(())
        });
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
    }

    /// Waits for the program's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end of the program", || self.child.try_wait().expect("a child can be waited for"))
    }

    /// Whether the program has taken the terminal for itself: no lines, no echo, keys instead of signals.
    pub(crate) fn is_taken(&self) -> bool {
        modes(&self.far_end).is_empty()
    }

    /// Whether it is as the program found it.
    pub(crate) fn is_restored(&self) -> bool {
        modes(&self.far_end) == self.before
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("---- what was on the terminal ----\n{:?}", self.shown());
        }
    }
}

fn modes(terminal: &File) -> LocalModes {
    tcgetattr(terminal).expect("a terminal has modes").local_modes & MODES
}

/// Reads until nobody has the other end any more.
fn collect(mut near_end: File, shown: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = near_end.read(&mut piece) {
            shown.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..count]);
        }
    });
}
