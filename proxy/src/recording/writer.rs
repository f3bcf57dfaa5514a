//! Makes a recording while a proxy serves. Workers hand their steps over and go on; a thread of its own masks and writes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{FORMAT, Head, Line, Mask};
use crate::wasm::witness::{Beginning, Blob, Op, Step, Witness};

/// How much may wait to be written, in bytes: whoever is too slow for it ends the recording rather than the proxy.
const MAX_WAITING: usize = 64 << 20;

/// How long a recording may become.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Exchanges in it.
    pub exchanges: u64,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl Default for Limits {
    /// A gibibyte, whatever number of exchanges that is.
    fn default() -> Limits {
        Limits { exchanges: u64::MAX, bytes: 1 << 30 }
    }
}

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
    exchanges: AtomicU64,
    limits: Limits,
    /// How many bytes wait.
    waiting: Arc<AtomicUsize>,
    /// Nothing more is taken.
    closed: Arc<AtomicBool>,
    lines: Mutex<Option<Sender<Weighed>>>,
    thread: Mutex<Option<JoinHandle<io::Result<Stopped>>>>,
}

impl Writer {
    /// Begins a recording in this file, and puts what its masked secrets are into the file beside it that
    /// [`secrets_file`] names, which its owner alone may read. Where `masks` is false secrets stay in the recording.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn create(path: &Path, masks: bool, limits: Limits) -> io::Result<Writer> {
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(true).mode(0o600);
        let file = open_for_owner(&open, path)?;
        let secrets = masks.then(|| open_for_owner(&open, &secrets_file(path))).transpose()?;
        let secrets = match secrets {
            Some(file) => Masking::Kept(Box::new(file)),
            None => Masking::None,
        };
        Writer::start(Box::new(file), secrets, limits)
    }

    /// The same to somewhere else.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn start(out: Box<dyn Write + Send>, masking: Masking, limits: Limits) -> io::Result<Writer> {
        let (sender, receiver) = mpsc::channel();
        let (waiting, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let scribe = Scribe {
            out: BufWriter::new(out),
            mask: match masking {
                Masking::None => None,
                Masking::Forgotten => Some((Mask::default(), BufWriter::new(Box::new(io::sink())))),
                Masking::Kept(out) => Some((Mask::default(), BufWriter::new(out))),
            },
            limits,
            waiting: waiting.clone(),
            closed: closed.clone(),
            stopped: Stopped { exchanges: 0, bytes: 0, secrets: 0, cut: None },
        };
        let thread = std::thread::Builder::new().name("recording".to_owned());
        let thread = thread.spawn(move || scribe.write_all(&receiver))?;
        Ok(Writer {
            last_instance: AtomicU64::new(0),
            exchanges: AtomicU64::new(0),
            limits,
            waiting,
            closed,
            lines: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
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
        *lock(&self.lines) = None;
        let thread = lock(&self.thread).take();
        thread
            .map(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("the writer failed"))))
            .transpose()
    }

    fn send(&self, line: Line) {
        if self.is_closed() {
            return;
        }
        let weight = weight(&line);
        if self.waiting.fetch_add(weight, Ordering::Relaxed) >= MAX_WAITING {
            self.close();
            return;
        }
        if let Some(lines) = &*lock(&self.lines) {
            let _ = lines.send((weight, line)); // the thread has ended: it says why
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

impl Witness for Writer {
    fn begin(&self, beginning: Beginning) -> u64 {
        let instance = self.last_instance.fetch_add(1, Ordering::Relaxed) + 1;
        self.send(Line::Instance { instance, given: Box::new(beginning) });
        instance
    }

    fn see(&self, instance: u64, step: Step) {
        if matches!(step.op, Op::Open { .. })
            && self.exchanges.fetch_add(1, Ordering::Relaxed) >= self.limits.exchanges
        {
            self.close();
        }
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

/// Where the secrets of a recording are: `NAME.secrets`.
pub fn secrets_file(recording: &Path) -> PathBuf {
    let mut name = recording.as_os_str().to_owned();
    name.push(".secrets");
    name.into()
}

/// Nobody else may read it, even where the file was there before.
fn open_for_owner(open: &OpenOptions, path: &Path) -> io::Result<File> {
    let file = open.open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// What a line takes while it waits, about.
fn weight(line: &Line) -> usize {
    match line {
        Line::Step { did, .. } => did.weight(),
        Line::Instance { given, .. } => 1024 + given.config.0.len() + given.vm_config.0.len(),
        Line::Recording(_) | Line::Gone { .. } | Line::Cut { .. } => 64,
    }
}

type Out = Box<dyn Write + Send>;

/// A line, and what it takes while it waits.
type Weighed = (usize, Line);

/// The thread that writes.
struct Scribe {
    out: BufWriter<Out>,
    mask: Option<(Mask, BufWriter<Out>)>,
    limits: Limits,
    waiting: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
    stopped: Stopped,
}

impl Scribe {
    fn write_all(mut self, lines: &Receiver<Weighed>) -> io::Result<Stopped> {
        let result = self.write_lines(lines);
        self.closed.store(true, Ordering::Relaxed);
        result.map(|()| self.stopped)
    }

    fn write_lines(&mut self, lines: &Receiver<Weighed>) -> io::Result<()> {
        let tidegate = env!("CARGO_PKG_VERSION").to_owned();
        self.write(&Line::Recording(Head { format: FORMAT, tidegate, masked: self.mask.is_some() }))?;
        loop {
            // What is there is written before anybody is waited for: who ends the process loses little.
            let next = match lines.try_recv() {
                Ok(next) => Ok(next),
                Err(_) => {
                    self.flush()?;
                    lines.recv()
                }
            };
            let Ok((weight, mut line)) = next else { break };
            if self.waiting.fetch_sub(weight, Ordering::Relaxed) >= MAX_WAITING {
                self.cut("whoever takes it is too slow for what happens: 64 MiB waited to be written");
            }
            if let Line::Cut { reason } = &line {
                self.cut(reason);
                break;
            }
            self.mask(&mut line)?;
            if self.mask.as_ref().is_some_and(|(mask, _)| mask.is_full()) {
                self.cut("it has more secrets than can be masked");
                break;
            }
            if let Line::Step { did, .. } = &line
                && matches!(did.op, Op::Open { .. })
            {
                self.stopped.exchanges += 1;
            }
            self.write(&line)?;
            if self.stopped.bytes >= self.limits.bytes {
                self.cut("it has as many bytes as it may");
            }
            if self.stopped.cut.is_some() {
                break;
            }
        }
        if let Some(reason) = self.stopped.cut.clone() {
            self.write(&Line::Cut { reason })?;
        }
        self.flush()
    }

    fn cut(&mut self, reason: &str) {
        self.closed.store(true, Ordering::Relaxed);
        self.stopped.cut.get_or_insert(reason.to_owned());
    }

    fn mask(&mut self, line: &mut Line) -> io::Result<()> {
        let Some((mask, file)) = &mut self.mask else { return Ok(()) };
        match line {
            Line::Instance { given, .. } => mask.mask_beginning(given),
            Line::Step { instance, did } => mask.mask_step(*instance, did),
            Line::Gone { instance } => mask.forget(*instance),
            Line::Recording(_) | Line::Cut { .. } => {}
        }
        for (word, secret) in mask.new_words() {
            self.stopped.secrets += 1;
            serde_json::to_writer(&mut *file, &(Blob(word), Blob(secret)))?;
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let text = serde_json::to_vec(line)?;
        self.out.write_all(&text)?;
        self.out.write_all(b"\n")?;
        self.stopped.bytes += text.len() as u64 + 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.mask.as_mut().map_or(Ok(()), |(_, file)| file.flush())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
