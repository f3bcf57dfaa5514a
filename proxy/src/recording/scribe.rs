//! The thread that writes a recording: masks each line, looks at what there is of it, and says why it ends.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};

use super::writer::MAX_WAITING;
use super::{FORMAT, Head, Line, Mask, Masking, SecretsHead, Stopped};
use crate::config::{Quantity as _, Size};
use crate::wasm::witness::{Blob, Op};

pub(super) type Out = Box<dyn Write + Send>;

/// A line, and what it takes while it waits.
pub(super) type Weighed = (usize, Line);

/// Hears why a recording has ended by itself.
type Told = Box<dyn FnOnce(&str) + Send>;

/// The thread that writes.
pub(super) struct Scribe {
    out: BufWriter<Out>,
    mask: Option<(Mask, BufWriter<Out>)>,
    max_bytes: u64,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) reason: Arc<OnceLock<String>>,
    stopped: Stopped,
    /// Who hears why it has ended by itself.
    pub(super) tell: Option<Told>,
}

impl Scribe {
    pub(super) fn new(out: Out, masking: Masking, max_bytes: u64) -> Scribe {
        Scribe {
            out: BufWriter::new(out),
            mask: match masking {
                Masking::None => None,
                Masking::Forgotten => Some((Mask::default(), BufWriter::new(Box::new(io::sink())))),
                Masking::Kept(out) => Some((Mask::default(), BufWriter::new(out))),
            },
            max_bytes,
            waiting: Arc::default(),
            closed: Arc::default(),
            reason: Arc::default(),
            stopped: Stopped { exchanges: 0, bytes: 0, secrets: 0, cut: None },
            tell: None,
        }
    }

    pub(super) fn write_all(mut self, lines: &Receiver<Weighed>) -> io::Result<Stopped> {
        let result = self.write_lines(lines);
        self.closed.store(true, Ordering::Relaxed);
        let failed = result.as_ref().err().map(ToString::to_string);
        if let (Some(reason), Some(tell)) = (failed.as_ref().or(self.stopped.cut.as_ref()), self.tell.take())
        {
            tell(reason);
        }
        result.map(|()| self.stopped)
    }

    /// Writes the first line of each file, so that what cannot be written is found before anything happens.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let id = new_id()?;
        if let Some((_, file)) = &mut self.mask {
            serde_json::to_writer(&mut *file, &SecretsHead { secrets_of: id.clone() })?;
            file.write_all(b"\n")?;
        }
        let tidegate = env!("CARGO_PKG_VERSION").to_owned();
        let masked = self.mask.is_some();
        self.write(&Line::Recording(Head { format: FORMAT, tidegate, masked, id: Some(id) }))?;
        self.flush()
    }

    fn write_lines(&mut self, lines: &Receiver<Weighed>) -> io::Result<()> {
        if self.stopped.bytes == 0 {
            self.begin()?;
        }
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
            if self.stopped.bytes >= self.max_bytes {
                self.cut(&format!("it has the {} that it may have", Size(self.max_bytes).write()));
            }
            if self.stopped.cut.is_some() {
                break;
            }
        }
        if let Some(reason) = self.reason.get().cloned() {
            self.cut(&reason);
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

    /// What masks stand for is there before the masks are.
    fn flush(&mut self) -> io::Result<()> {
        self.mask.as_mut().map_or(Ok(()), |(_, file)| file.flush())?;
        self.out.flush()
    }
}

/// What a recording is told from others by.
fn new_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| io::Error::other(format!("there is no randomness: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
