//! The other end of a downstream connection: who it is, and what it is doing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use quanta::Instant;

use crate::wasm::properties::ConnectionProperties;
use crate::wasm::stream::Tls;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing: it is open and waits for a request.
    Idle,
    /// A request's head has begun to arrive.
    Head,
    /// An exchange is under way, whose request has not been received whole.
    Request,
    /// An exchange is under way, and the client has nothing more to say.
    Answer,
    /// The exchange has become a tunnel, each side of which ends by itself.
    Tunnel,
}

/// The other end of a downstream connection. Written by its own task only; atomic because hyper wants a socket that
/// could be sent to another thread.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) connection_id: u64,
    /// What its handshake said, where it speaks TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// What guests store for as long as the connection lives.
    pub(super) properties: Arc<ConnectionProperties>,
    forwarded_for: Option<HeaderValue>,
    opened: Instant,
    phase: AtomicU8,
    /// When the phase began, in microseconds since `opened`.
    since: AtomicU64,
    /// An exchange ended before its request was received whole.
    unread: AtomicBool,
    /// It takes no answer any more, and is given up for it.
    stalled: AtomicBool,
    /// It speaks HTTP/2: any number of exchanges go on at once, and each says for itself how far it is.
    multiplexed: AtomicBool,
    /// Exchanges that go on.
    exchanges: AtomicUsize,
    /// Since when it takes nothing of what is to be sent, in microseconds since `opened`; 0 while it does.
    blocked: AtomicU64,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, local: SocketAddr, connection_id: u64) -> Peer {
        let ip = address.ip().to_canonical();
        Peer {
            address: SocketAddr::new(ip, address.port()),
            local: SocketAddr::new(local.ip().to_canonical(), local.port()),
            connection_id,
            tls: None,
            properties: Arc::default(),
            forwarded_for: (!is_nowhere(address)).then(|| forwarded_for(ip)),
            opened: Instant::now(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            exchanges: AtomicUsize::new(0),
            blocked: AtomicU64::new(0),
        }
    }

    /// The same, with what its handshake said.
    pub(crate) fn with_tls(self, tls: Option<Arc<Tls>>) -> Peer {
        Peer { tls, ..self }
    }

    /// Whether it speaks TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The scheme of what it asks for.
    pub(super) fn scheme(&self) -> HeaderValue {
        HeaderValue::from_static(if self.tls.is_some() { "https" } else { "http" })
    }

    /// Its address as `x-forwarded-for` says it, if it has one.
    pub(super) fn forwarded_for(&self) -> Option<&HeaderValue> {
        self.forwarded_for.as_ref()
    }

    /// What it is doing.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Request,
            3 => Phase::Answer,
            _ => Phase::Tunnel,
        }
    }

    /// There is something to send, and it takes it or not.
    pub(crate) fn note_taking(&self, takes: bool) {
        let blocked = self.blocked.load(Ordering::Relaxed);
        if takes && blocked > 0 {
            self.blocked.store(0, Ordering::Relaxed);
        } else if !takes && blocked == 0 {
            self.blocked.store((self.opened.elapsed().as_micros() as u64).max(1), Ordering::Relaxed);
        }
    }

    /// For how long it has taken nothing of what is to be sent.
    pub(crate) fn blocks(&self) -> Option<Duration> {
        let since = self.blocked.load(Ordering::Relaxed);
        (since > 0).then(|| self.opened.elapsed().saturating_sub(Duration::from_micros(since)))
    }

    /// For how long it has been doing so.
    pub(crate) fn lasts(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_micros(self.since.load(Ordering::Relaxed)))
    }

    /// It does something else now.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(self.opened.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// It speaks HTTP/2, and nothing goes on yet.
    pub(crate) fn multiplex(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        self.enter(Phase::Idle);
    }

    /// Whether it speaks HTTP/2.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// It is at an exchange, of which only the fact matters and not the moment.
    pub(super) fn enter_exchange(&self) {
        let phase = if self.is_multiplexed() { Phase::Answer } else { Phase::Request };
        self.exchanges.store(self.exchanges.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The request of the exchange that it is at has been received whole.
    pub(super) fn note_whole_request(&self) {
        self.phase.store(Phase::Answer as u8, Ordering::Relaxed);
    }

    /// What is said on the connection from here on is a tunnel's.
    pub(super) fn enter_tunnel(&self) {
        if !self.is_multiplexed() {
            self.phase.store(Phase::Tunnel as u8, Ordering::Relaxed);
        }
    }

    /// An exchange is over. If its request has not been received whole, the rest may still be on its way.
    pub(super) fn leave_exchange(&self) {
        if self.phase() == Phase::Request {
            self.unread.store(true, Ordering::Relaxed);
        }
        let others = self.exchanges.load(Ordering::Relaxed) - 1;
        self.exchanges.store(others, Ordering::Relaxed);
        if others == 0 {
            self.enter(Phase::Idle);
        }
    }

    /// Whether an exchange ended before its request was received whole.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// It takes no answer any more, and is given up for it.
    pub(crate) fn note_stalled(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// Whether it was given up because it took no answer.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }
}

/// Whether this stands for no address: a UNIX socket's other end has none.
pub(crate) fn is_nowhere(address: SocketAddr) -> bool {
    address.ip().is_unspecified()
}

fn forwarded_for(ip: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
