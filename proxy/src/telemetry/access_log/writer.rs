//! Gets lines from workers to whoever reads them without a worker ever waiting for that reader.
//!
//! Each worker has a lane, a buffer of bounded size. The writer's thread takes a lane's whole buffer and leaves an
//! empty one: a lane's lock is held for a copy of a line or an exchange of two pointers, never for I/O. A thread that
//! found lines waits [`PAUSE`] before it looks again, or until a lane is half full, so that waking it costs workers
//! next to nothing under load.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use super::{Ending, Entry};
use crate::telemetry::metrics::{Counter, Described, Registry, lock};

/// What a lane holds at most, in bytes; lines beyond it are dropped.
const LANE_BYTES: usize = 1 << 20;
/// Between two looks at the lanes while lines come in.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the end waits for a reader who does not read.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// The access log of the process.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Thread,
    finished: Receiver<()>,
    thread: JoinHandle<()>,
}

/// What workers, the writer and the metrics share.
#[derive(Debug, Default)]
struct Shared {
    lanes: Mutex<Vec<Arc<LaneBuffer>>>,
    /// The writer waits to be woken.
    asleep: AtomicBool,
    closing: AtomicBool,
    /// Bytes that the sink would not take.
    lost_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct LaneBuffer {
    lines: Mutex<Vec<u8>>,
    logged: Counter,
    dropped: Counter,
}

/// One worker's way into the log.
#[derive(Debug, Clone)]
pub struct Lane {
    buffer: Arc<LaneBuffer>,
    shared: Arc<Shared>,
    writer: Thread,
}

impl AccessLog {
    /// Starts the thread that writes to `sink` (stdout, outside tests) and makes its counts known.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(sink: impl Write + Send + 'static, metrics: &Registry) -> io::Result<AccessLog> {
        let shared = Arc::new(Shared::default());
        let (finish, finished) = mpsc::channel();
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                shared.write_until_closed(sink);
                // Nobody may be left to hear it: the end waits only for so long.
                let _ = finish.send(());
            }
        })?;
        shared.show_in(metrics);
        Ok(AccessLog { shared, writer: thread.thread().clone(), finished, thread })
    }

    /// A lane for a worker.
    pub fn lane(&self) -> Lane {
        let buffer = Arc::new(LaneBuffer::default());
        lock(&self.shared.lanes).push(Arc::clone(&buffer));
        Lane { buffer, shared: Arc::clone(&self.shared), writer: self.writer.clone() }
    }

    /// Writes out what is in the lanes and ends the thread. Called when the workers have ended. A reader who does not
    /// read is given two seconds.
    pub fn close(self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.writer.unpark();
        if self.finished.recv_timeout(LAST_WRITE).is_ok() {
            let _ = self.thread.join();
        }
    }
}

impl Lane {
    /// Appends a line, or drops and counts it where the lane is full.
    pub fn append(&self, entry: &Entry, ending: &Ending) {
        let mut lines = lock(&self.buffer.lines);
        let begin = lines.len();
        entry.write_line(ending, &mut lines);
        if lines.len() > LANE_BYTES {
            lines.truncate(begin);
            self.buffer.dropped.increment();
            return;
        }
        self.buffer.logged.increment();
        let half_full = begin < LANE_BYTES / 2 && lines.len() >= LANE_BYTES / 2;
        drop(lines);
        if half_full || self.shared.take_asleep() {
            self.writer.unpark();
        }
    }
}

impl Shared {
    fn write_until_closed(&self, mut sink: impl Write) {
        let mut spare = Vec::new();
        loop {
            let closing = self.closing.load(Ordering::SeqCst);
            if self.write_lanes(&mut sink, &mut spare) {
                if !closing {
                    thread::park_timeout(PAUSE);
                }
                continue;
            }
            if closing {
                return;
            }
            self.asleep.store(true, Ordering::SeqCst);
            if self.is_empty() && !self.closing.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }

    /// Whether the writer is to be woken: true once for each time that it goes to sleep. No line is missed, because
    /// it looks into the lanes once more between saying that it is asleep and going to sleep.
    fn take_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst)
    }

    /// Writes what every lane holds; whether there was anything.
    fn write_lanes(&self, sink: &mut impl Write, spare: &mut Vec<u8>) -> bool {
        let lanes = lock(&self.lanes).clone();
        let mut wrote = false;
        for lane in lanes {
            mem::swap(&mut *lock(&lane.lines), spare);
            if !spare.is_empty() {
                wrote = true;
                if sink.write_all(spare).and_then(|()| sink.flush()).is_err() {
                    self.lost_bytes.fetch_add(spare.len() as u64, Ordering::Relaxed);
                }
                spare.clear();
            }
        }
        wrote
    }

    fn is_empty(&self) -> bool {
        lock(&self.lanes).iter().all(|lane| lock(&lane.lines).is_empty())
    }

    fn show_in(self: &Arc<Self>, metrics: &Registry) {
        let shared = Arc::clone(self);
        metrics.add_source(move |page| {
            let lanes = lock(&shared.lanes).clone();
            let counts: [Described<LaneBuffer, u64>; 2] = [
                ("tidegate_access_log_lines_total", "Lines of the access log.", |lane| lane.logged.value()),
                (
                    "tidegate_access_log_dropped_lines_total",
                    "Lines dropped because nobody read the access log fast enough.",
                    |lane| lane.dropped.value(),
                ),
            ];
            for (name, help, count) in counts {
                let total = lanes.iter().map(|lane| count(lane)).sum::<u64>();
                page.counter(name, help)?.sample(&[], total)?;
            }
            page.counter("tidegate_access_log_lost_bytes_total", "Bytes that the log's output refused.")?
                .sample(&[], shared.lost_bytes.load(Ordering::Relaxed))
        });
    }
}
