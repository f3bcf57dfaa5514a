//! The proof of a plugin, before anything depends on it: its start in an instance that is thrown away.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::abi::LogLevel;
use super::fault::Fault;
use super::grants::Capability;
use super::plugin::Plugin;
use super::services::{GuestLog, Services};
use super::stream::{RequestHead, Stream, StreamInfo, Subject};
use super::vm::{ContextId, Vm};

/// The most that is kept of what a guest says as it fails, in bytes.
const MAX_LAST_WORD: usize = 4 << 10;

/// A plugin that has started, in an instance that goes with this value. Shared data, metrics, callouts and ticks of
/// that instance are discarded.
#[derive(Debug)]
pub struct Proof {
    vm: Vm,
    last_word: Arc<LastWord>,
    info: StreamInfo,
}

impl Proof {
    /// Starts the instance. What it logs at its start is kept, and nothing that it logs later.
    pub(super) fn begin(plugin: &Plugin, services: &Services) -> Result<Proof, Fault> {
        let mut vm = plugin.start(services.throw_away())?;
        let last_word = Arc::new(LastWord { level: services.log.level(), line: Mutex::default() });
        vm.log_to(last_word.clone());
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let info = StreamInfo::new(services.clock.wall(), nowhere, nowhere);
        Ok(Proof { vm, last_word, info })
    }

    /// The instance.
    pub(super) fn vm(&mut self) -> &mut Vm {
        &mut self.vm
    }

    /// Has the guest make a context for an exchange or a connection, of which nothing follows. A guest that hears of
    /// one together with its headers is not asked.
    ///
    /// # Errors
    ///
    /// It fails, as a module for the background alone does. What it said last of it comes first in the message.
    pub fn open(&mut self, subject: Subject) -> Result<(), Fault> {
        self.open_in(self.vm.first_root(), subject)
    }

    /// Starts the plugin once more, with the configuration that a route gives it, as another root of the instance, and
    /// has that make a context for an exchange.
    ///
    /// # Errors
    ///
    /// It refuses the configuration, or fails. Then nothing more can be tried in this instance.
    pub fn add(&mut self, variant: &Plugin, services: &Services) -> Result<(), Fault> {
        self.vm.log_to(services.log.clone());
        let root = self.vm.add(variant, &services.throw_away());
        self.vm.log_to(self.last_word.clone());
        self.open_in(root?, Subject::Exchange)
    }

    fn open_in(&mut self, root: ContextId, subject: Subject) -> Result<(), Fault> {
        let stream = match subject {
            Subject::Exchange => Stream::new(RequestHead::nothing(), self.info.clone(), 1),
            Subject::Connection => Stream::connection(self.info.clone(), 1),
        };
        let opened = self.vm.open(root, &Rc::new(RefCell::new(stream)), 0);
        opened.map(drop).map_err(|fault| match self.last_word.take() {
            Some(word) => Fault { message: format!("{word}\n{}", fault.message), ..fault },
            None => fault,
        })
    }
}

/// A log that keeps the last critical line: SDKs log a panic's message as one before they trap.
#[derive(Debug)]
struct LastWord {
    /// What the guest is told of the level is what it was told before.
    level: LogLevel,
    line: Mutex<Option<String>>,
}

impl LastWord {
    fn take(&self) -> Option<String> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl GuestLog for LastWord {
    fn level(&self) -> LogLevel {
        self.level
    }

    fn line(&self, _: &str, level: LogLevel, line: &str) {
        if level == LogLevel::Critical {
            let kept = line[..line.floor_char_boundary(MAX_LAST_WORD)].to_owned();
            *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
    }

    fn dropped(&self, _: &str, _: u64) {}

    fn denied(&self, _: &str, _: Capability, _: &str) {}

    fn fault(&self, _: &str, _: &Fault) {}
}
