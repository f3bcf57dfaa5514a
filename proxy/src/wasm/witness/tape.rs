//! What the world answered once, and is to answer again.
//!
//! Only what depends on the world is answered so: the time, randomness, what other instances share, facts about the
//! exchange. What follows from the exchange itself the host works out anew, so that another build of the guest, which
//! asks in another order or asks for more, gets true answers.

use std::collections::VecDeque;

use super::blob::Value;
use super::step::Hostcall;

/// The answers of one step, in order.
#[derive(Debug, Default)]
pub(crate) struct Tape(VecDeque<Hostcall>);

impl Tape {
    /// A tape of what was recorded in a step.
    pub(crate) fn new(hostcalls: Vec<Hostcall>) -> Tape {
        Tape(hostcalls.into())
    }

    /// What a call is answered with: the first answer to the same question that was not given yet. None where the
    /// host is to answer.
    pub(crate) fn answer(&mut self, call: &str, args: &[Value]) -> Option<Hostcall> {
        let source = source(call, args);
        if source == Source::Host {
            return None;
        }
        let place = self.0.iter().position(|answer| answer.call == call && answer.args == args)?;
        let answer = self.0.remove(place)?;
        (source == Source::World || answer.status != Some(0)).then_some(answer)
    }
}

/// Whether a tape has a use for this.
pub(crate) fn is_of_world(hostcall: &Hostcall) -> bool {
    source(&hostcall.call, &hostcall.args) != Source::Host
}

/// Who answers a hostcall in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The host: it follows from the exchange and from what the guest did.
    Host,
    /// The world.
    World,
    /// The host, which takes part in it; but what the world refused is refused.
    HostUnlessRefused,
}

fn source(call: &str, args: &[Value]) -> Source {
    match call {
        "proxy_get_current_time_nanoseconds"
        | "clock_time_get"
        | "random_get"
        | "proxy_get_shared_data"
        | "proxy_set_shared_data"
        | "proxy_get_metric"
        | "proxy_register_shared_queue"
        | "proxy_resolve_shared_queue"
        | "proxy_enqueue_shared_queue"
        | "proxy_dequeue_shared_queue"
        | "proxy_get_upstream_hosts"
        | "proxy_get_property" => Source::World,
        "proxy_call_foreign_function" if is_of_cells(args) => Source::World,
        "proxy_http_call"
        | "proxy_grpc_call"
        | "proxy_grpc_stream"
        | "proxy_grpc_send"
        | "proxy_define_metric"
        | "proxy_set_property" => Source::HostUnlessRefused,
        _ => Source::Host,
    }
}

/// Whether a foreign function is about what workers share.
fn is_of_cells(args: &[Value]) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"tidegate.bucket.", b"tidegate.counter.", b"tidegate.kv."];
    let Some(Value::Bytes(name)) = args.first() else { return false };
    PREFIXES.iter().any(|prefix| name.0.starts_with(prefix))
}
