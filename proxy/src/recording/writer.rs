//! Makes a recording while a proxy serves. Workers hand their steps over and go on; a thread of its own, the scribe, masks
//! and writes.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::scribe::{Scribe, Weighed};
use super::{Line, files};
use crate::wasm::witness::{Beginning, Step, Witness};

/// How much may wait to be written, in bytes: whoever is too slow for it ends the recording rather than the proxy.
pub(super) const MAX_WAITING: usize = 64 << 20;

/// How large a recording may become where nobody says, in bytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// What becomes of secrets.
pub enum Masking {
    /// They are recorded.
    None,
    /// They are masked, and nobody can put them back.
    Forgotten,
    /// They are masked, and what the masks stand for is written here.
    Kept(Box<dyn Write + Send>),
}

/// What became of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Exchanges that began in it.
    pub exchanges: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Secrets that were masked.
    pub secrets: u64,
    /// Why it ended before it was told to, if it did.
    pub cut: Option<String>,
}

/// A recording that is being made.
pub struct Writer {
    last_instance: AtomicU64,
    /// How many bytes wait.
    waiting: Arc<AtomicUsize>,
    /// Nothing more is taken.
    closed: Arc<AtomicBool>,
    /// Why it ends before its time, where that is known from outside.
    reason: Arc<OnceLock<String>>,
    lines: Mutex<Option<Sender<Weighed>>>,
    thread: Mutex<Option<JoinHandle<io::Result<Stopped>>>>,
}

impl Writer {
    /// Begins a recording in this file, and puts what its masked secrets are into the file beside it that
    /// [`secrets_file`](super::secrets_file) names, which its owner alone may read. Where `masks` is false secrets stay in
    /// the recording. Beside a device or a pipe there is no file: what masks stand for is kept nowhere then. `tell` hears
    /// why it has ended, if it does so by itself.
    ///
    /// # Errors
    ///
    /// A file cannot be made, or not even the first line be written.
    pub fn create(path: &Path, masks: bool, tell: impl FnOnce(&str) + Send + 'static) -> io::Result<Writer> {
        let file = files::create(path)?;
        let masking = match masks {
            false => Masking::None,
            true if !file.metadata()?.is_file() => Masking::Forgotten,
            true => Masking::Kept(Box::new(files::create_secrets(path)?)),
        };
        let mut scribe = Scribe::new(Box::new(file), masking, MAX_BYTES);
        scribe.tell = Some(Box::new(tell));
        scribe.begin()?;
        Writer::with(scribe)
    }

    /// The same to somewhere else, of so many bytes at most.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn start(out: Box<dyn Write + Send>, masking: Masking, max_bytes: u64) -> io::Result<Writer> {
        Writer::with(Scribe::new(out, masking, max_bytes))
    }

    fn with(scribe: Scribe) -> io::Result<Writer> {
        let (sender, receiver) = mpsc::channel();
        let (waiting, closed, reason) =
            (scribe.waiting.clone(), scribe.closed.clone(), scribe.reason.clone());
        let thread = std::thread::Builder::new().name("recording".to_owned());
        let thread = thread.spawn(move || scribe.write_all(&receiver))?;
        Ok(Writer {
            last_instance: AtomicU64::new(0),
            waiting,
            closed,
            reason,
            lines: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// It is to end before its time, for this reason, which will stand in its last line. What is under way is still taken.
    pub fn note_cut(&self, reason: &str) {
        self.reason.get_or_init(|| reason.to_owned());
    }

    /// Whether it takes no more: it has as much as it may, or cannot be written.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Ends it, and writes what is left. Later calls have nothing to say.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub fn finish(&self) -> io::Result<Option<Stopped>> {
        self.close();
        let thread = lock(&self.thread).take();
        thread
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("the writer failed"))))
            .transpose()
    }

    /// Ends it: what waits is still written.
    pub(super) fn close(&self) {
        *lock(&self.lines) = None;
    }

    fn send(&self, line: Line) {
        if self.is_closed() {
            return;
        }
        let weight = weight(&line);
        if self.waiting.fetch_add(weight, Ordering::Relaxed) >= MAX_WAITING {
            self.closed.store(true, Ordering::Relaxed); // the thread says so when it can write again
            return;
        }
        if let Some(lines) = &*lock(&self.lines) {
            let _ = lines.send((weight, line)); // the thread has ended: it says why
        }
    }
}

impl Witness for Writer {
    fn begin(&self, beginning: Beginning) -> u64 {
        let instance = self.last_instance.fetch_add(1, Ordering::Relaxed) + 1;
        self.send(Line::Instance { instance, given: Box::new(beginning) });
        instance
    }

    fn see(&self, instance: u64, step: Step) {
        self.send(Line::Step { instance, did: Box::new(step) });
    }

    fn end(&self, instance: u64) {
        self.send(Line::Gone { instance });
    }

    fn give_up(&self, _: u64, reason: &'static str) {
        self.send(Line::Cut { reason: reason.to_owned() });
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

/// What a line takes while it waits, about.
fn weight(line: &Line) -> usize {
    match line {
        Line::Step { did, .. } => did.weight(),
        Line::Instance { given, .. } => 1024 + given.config.0.len() + given.vm_config.0.len(),
        Line::Recording(_) | Line::Gone { .. } | Line::Cut { .. } => 64,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
