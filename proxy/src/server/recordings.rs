//! What is recorded of filters: all that passes one, or what a session takes.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::crew::Orders;
use super::worker::Shared;
use crate::admin::{Feed, NoRecording, Wanted};
use crate::config;
use crate::config::model::Protocol;
use crate::recording::{Masking, Session, Writer};
use crate::snapshot::Snapshot;
use crate::wasm::witness::Witness;

/// How many pieces of a recording wait for whoever reads it, of some KiB each.
const MAX_WAITING: usize = 64;

/// How long the instances of a recording are waited for whose exchanges have all ended: other exchanges, which may go on for
/// days, keep one where they began while it was there.
const LEAVING: Duration = Duration::from_secs(1);

/// Who watches a filter's instances, by the filter's name.
pub type Witnesses = HashMap<String, Arc<dyn Witness>>;

/// Who watches which filters.
#[derive(Default)]
pub(super) struct Recordings {
    witnesses: Witnesses,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    /// No more are begun: the proxy drains.
    is_over: AtomicBool,
}

impl Recordings {
    /// With those who watch from the beginning to the end.
    pub(super) fn new(witnesses: Witnesses) -> Recordings {
        Recordings { witnesses, ..Recordings::default() }
    }

    /// Who watches all instances of a filter.
    pub(super) fn witness(&self, filter: &str) -> Option<Arc<dyn Witness>> {
        self.witnesses.get(filter).cloned()
    }

    /// The recording that is made of a filter.
    pub(super) fn session(&self, filter: &str) -> Option<Arc<Session>> {
        self.sessions().get(filter).cloned()
    }

    /// Begins a recording of a filter, unless there is one. Workers have to be told.
    pub(super) fn begin(&self, session: Arc<Session>) -> bool {
        let mut sessions = self.sessions();
        let is_free = !self.is_over.load(Ordering::Relaxed)
            && !sessions.contains_key(session.filter())
            && !self.witnesses.contains_key(session.filter());
        if is_free {
            sessions.insert(session.filter().to_owned(), session);
        }
        is_free
    }

    /// Ends it. Workers have to be told.
    pub(super) fn end(&self, session: &Session) {
        self.sessions().retain(|_, other| !std::ptr::eq(&**other, session));
    }

    /// Another configuration is served: what cannot be recorded in it ends with what is under way.
    pub(super) fn note_served(&self, snapshot: &Snapshot) {
        for session in self.sessions().values() {
            match obstacle(snapshot, session.filter()) {
                None => {}
                Some(NoRecording::Refused(why)) => session.end(&why),
                Some(_) => session.end("no chain has the filter any more"),
            }
        }
    }

    /// Ends all that are made of a running proxy, which drains: they end with what is under way.
    pub(super) fn end_all(&self) {
        let sessions = self.sessions();
        self.is_over.store(true, Ordering::Relaxed); // within the lock: none slips in between
        sessions.values().for_each(|session| session.end("the proxy has drained"));
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a recording of a filter. It ends when it has as many exchanges as are wanted, or nobody reads it any more.
pub(super) fn record(
    shared: &Arc<Shared>,
    orders: &Orders,
    snapshot: &Snapshot,
    filter: &str,
    wanted: &Wanted,
) -> Result<Feed, NoRecording> {
    if let Some(obstacle) = obstacle(snapshot, filter) {
        return Err(obstacle);
    }
    let matches =
        wanted.matches.as_deref().map(config::read_match).transpose().map_err(NoRecording::Match)?;
    if matches.is_some() && !sees_requests(snapshot, filter) {
        let why = format!(
            "filter `{filter}` is on TCP listeners alone, whose connections have no request to match: leave the match out"
        );
        return Err(NoRecording::Match(why));
    }
    let (sender, pieces) = mpsc::channel(1);
    let masking = if wanted.keeps_secrets { Masking::None } else { Masking::Forgotten };
    let writer = Writer::start(Box::new(Pieces(sender)), masking, wanted.bytes);
    let writer = writer.map_err(|error| NoRecording::Refused(format!("it cannot begin: {error}")))?;
    let session = Arc::new(Session::new(filter, matches.as_ref(), wanted.exchanges, Arc::new(writer)));
    if !shared.recordings.begin(session.clone()) {
        let why = match shared.recordings.is_over.load(Ordering::Relaxed) {
            true => "the proxy is draining".to_owned(),
            false => format!("filter `{filter}` is being recorded already"),
        };
        return Err(NoRecording::Refused(why));
    }
    tracing::info!(filter, exchanges = wanted.exchanges, "a recording begins");
    let (reader, feed) = mpsc::channel(MAX_WAITING);
    tokio::spawn(attend(shared.clone(), orders.clone(), session, pieces, reader));
    Ok(Feed(feed))
}

/// Why a filter cannot be recorded while this is served.
fn obstacle(snapshot: &Snapshot, filter: &str) -> Option<NoRecording> {
    let config = snapshot.config();
    let index = config.filters.iter().position(|other| other.name == filter);
    let is_in_a_chain = |index: &usize| config.listeners.iter().any(|listener| listener.runs(*index));
    match index.filter(is_in_a_chain).filter(|index| !snapshot.is_missing(*index)) {
        None => Some(NoRecording::NoSuch),
        Some(index) => snapshot.canary(index).is_some().then(|| {
            let why = format!("filter `{filter}` has a canary: it is recorded when that is over");
            NoRecording::Refused(why)
        }),
    }
}

/// Whether a filter is in the chain of a listener for HTTP.
fn sees_requests(snapshot: &Snapshot, filter: &str) -> bool {
    let config = snapshot.config();
    let is_it = |index: &usize| config.filters[*index].name == filter;
    let mut listeners = config.listeners.iter();
    listeners
        .any(|listener| !matches!(listener.protocol, Protocol::Tcp(_)) && listener.runs.iter().any(is_it))
}

/// Hands what is written on to the reader, from when all workers watch, until the last exchange that was taken has ended
/// or there is no reader any more.
async fn attend(
    shared: Arc<Shared>,
    orders: Orders,
    session: Arc<Session>,
    mut pieces: mpsc::Receiver<Bytes>,
    reader: mpsc::Sender<Bytes>,
) {
    orders.renew().await;
    let mut forward = pin!(async {
        while let Some(piece) = pieces.recv().await {
            if reader.send(piece).await.is_err() {
                break;
            }
        }
    });
    let is_over = tokio::select! {
        () = session.full() => false,
        () = reader.closed() => true,
        () = &mut forward => true,
    };
    shared.recordings.end(&session);
    tracing::info!(filter = session.filter(), "the recording takes no more exchanges");
    let (under_way, left) = (session.under_way(), Arc::downgrade(&session));
    drop(session); // the writer ends with the last that has it
    orders.renew().await;
    if is_over {
        return;
    }
    let close = async {
        under_way.ended().await;
        tokio::time::sleep(LEAVING).await;
        if let Some(session) = left.upgrade() {
            session.close();
        }
        std::future::pending().await
    };
    tokio::select! {
        () = forward => {}
        () = close => {}
    }
}

/// What is written goes to whoever reads the recording.
struct Pieces(mpsc::Sender<Bytes>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
