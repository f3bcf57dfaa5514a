//! What a guest may call: `table` lists every hostcall, a file for each family does them.
//!
//! A hostcall checks everything before it does anything, never waits, and answers with a status that the Rust SDK can
//! name wherever the ABI leaves a choice: that SDK panics on any other.

pub(crate) mod body;
pub(crate) mod callout;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod env;
pub(crate) mod foreign;
pub(crate) mod grpc;
pub(crate) mod headers;
pub(crate) mod higress;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod property;
pub(crate) mod queue;
pub(crate) mod refusal;
pub(crate) mod shared_data;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod timer;
pub(crate) mod wasi;

pub use foreign::{FOREIGN_FUNCTIONS, ForeignFunction};
pub(crate) use table::Form;
pub use table::{Family, HOSTCALLS, Hostcall, ResultForm, Since, Value};

use super::abi::Status;
use super::fault::Stop;
use super::memory::OutOfBounds;
use super::pairs::Malformed;

/// A guest's call into the host.
pub(crate) type Call<'a> = wasmtime::Caller<'a, super::host::Host>;

/// How a Proxy-Wasm hostcall ends: `Ok` is status 0.
pub(crate) type Outcome = Result<(), Halt>;

/// Any other end of a hostcall.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The guest is told this status.
    Status(Status),
    /// The guest is stopped.
    Trap(wasmtime::Error),
}

impl Halt {
    /// What it is to the guest.
    pub(crate) fn settle(self) -> wasmtime::Result<u32> {
        match self {
            Halt::Status(status) => Ok(status as u32),
            Halt::Trap(error) => Err(error),
        }
    }
}

impl From<Status> for Halt {
    fn from(status: Status) -> Halt {
        Halt::Status(status)
    }
}

impl From<OutOfBounds> for Halt {
    fn from(_: OutOfBounds) -> Halt {
        Halt::Status(Status::InvalidMemoryAccess)
    }
}

impl From<Malformed> for Halt {
    fn from(_: Malformed) -> Halt {
        Halt::Status(Status::BadArgument)
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Halt {
        Halt::Trap(wasmtime::Error::new(stop))
    }
}

/// Every name by which something can be called: hostcalls, and foreign functions.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    let hostcalls = HOSTCALLS.iter().map(|hostcall| hostcall.name);
    hostcalls.chain(FOREIGN_FUNCTIONS.iter().map(|function| function.name))
}

/// The hostcall that an import names.
pub(crate) fn find(module: &str, name: &str) -> Option<&'static Hostcall> {
    HOSTCALLS.iter().find(|hostcall| hostcall.name == name && hostcall.modules.contains(&module))
}
