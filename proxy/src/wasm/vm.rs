//! One running instance of a plugin on one worker: the callbacks that the pipeline calls.
//!
//! It must not be called while one of its own calls is in progress, which Rust's borrowing sees to, nor while the
//! stream is borrowed. After a [`Fault`] it is dead and to be dropped: nothing enters the guest again.

mod connection;

use std::time::Duration;

use super::abi::{AbiVersion, Callback, DataStatus, HeadersStatus, MapType, TrailersStatus};
use super::context::ROOT;
use super::effect::{CalloutResult, Effect};
use super::fault::Fault;
use super::header_map;
use super::host::Host;
use super::instance::{Exports, Guest, HeadersFunc};
use super::module::Module;
use super::plugin::Plugin;
use super::services::Services;
use super::stream::{Direction, StreamRef};

/// A context of one instance, as its guest knows it.
pub type ContextId = u32;

/// How long a stream context may wait for `proxy_done` after it said in `proxy_on_done` that it was not done, and how
/// many may wait at once; beyond either it is deleted without.
const MAX_PARKED: Duration = Duration::from_secs(60);
const MAX_PARKED_COUNT: usize = 1024;

/// One instance.
pub struct Vm {
    guest: Guest,
    exports: Exports,
    module: Module,
    lone_stop: bool,
}

impl Vm {
    pub(super) fn start(plugin: &Plugin, services: Services) -> Result<Vm, Fault> {
        let (guest, exports) = Guest::start(plugin, services)?;
        let module = plugin.module().clone();
        let lone_stop =
            plugin.filter().allow_on_headers_stop_iteration || module.abi() == AbiVersion::V0_2_100;
        Ok(Vm { guest, exports, module, lone_stop })
    }

    /// Makes a context for an exchange, in which the filter is the `stage`th of the chain
    /// (`proxy_on_context_create`; a guest that takes it together with the request's headers hears of it then).
    pub fn open(&mut self, stream: &StreamRef, stage: usize) -> Result<ContextId, Fault> {
        self.delete_late()?;
        let context = self.host_mut().contexts.open(stream, stage);
        if self.exports.merged.request_headers.is_none() {
            self.announce(context)?;
        }
        Ok(context)
    }

    /// Tells the guest of a context, unless it knows it.
    fn announce(&mut self, context: ContextId) -> Result<(), Fault> {
        if self.host_mut().contexts.announce(context)
            && let Some(create) = &self.exports.context_create
        {
            self.guest.enter(Callback::ContextCreate, context, false, create, (context, ROOT))?;
            self.settle()?;
        }
        Ok(())
    }

    /// Shows the headers of a direction (`proxy_on_request_headers`, `proxy_on_response_headers`). `end_of_stream`:
    /// neither a body nor trailers follow. If the guest sent a local reply, it stops whatever it says.
    pub fn on_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<HeadersStatus, Fault> {
        let answer = match self.enter_merged_headers(context, direction, end_of_stream)? {
            Some(answer) => HeadersStatus::from_merged(answer, self.lone_stop),
            None => match self.enter_headers(context, direction, end_of_stream)? {
                Some(answer) => HeadersStatus::from_guest(answer, self.lone_stop),
                None => return Ok(HeadersStatus::Continue),
            },
        };
        let replied = self.settle()?;
        match answer {
            HeadersStatus::Leave => self.host_mut().contexts.close(context),
            _ if replied => return Ok(HeadersStatus::StopAllIterationAndWatermark),
            _ => {}
        }
        Ok(answer)
    }

    /// Calls the guest with the headers of a direction; no answer from one that has no callback for them.
    fn enter_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<Option<u32>, Fault> {
        self.announce(context)?;
        let (export, map) = match direction {
            Direction::Request => (&self.exports.request_headers, MapType::RequestHeaders),
            Direction::Response => (&self.exports.response_headers, MapType::ResponseHeaders),
        };
        let Some(export) = export else { return Ok(None) };
        let callback = Callback::headers(direction);
        let count = self.count(context, map);
        match export {
            HeadersFunc::Two(export) => {
                self.guest.enter(callback, context, end_of_stream, export, (context, count))
            }
            HeadersFunc::Three(export) => {
                let params = (context, count, u32::from(end_of_stream));
                self.guest.enter(callback, context, end_of_stream, export, params)
            }
        }
        .map(Some)
    }

    /// The same by tidegate's own callback, if the guest has it.
    fn enter_merged_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<Option<u32>, Fault> {
        let callback = Callback::headers(direction);
        let end = u32::from(end_of_stream);
        match direction {
            Direction::Request => {
                let Some(export) = &self.exports.merged.request_headers else { return Ok(None) };
                if !self.guest.host_mut().contexts.announce(context) {
                    return Ok(None);
                }
                let params = (context, ROOT, self.count(context, MapType::RequestHeaders), end);
                self.guest.enter(callback, context, end_of_stream, export, params).map(Some)
            }
            Direction::Response => {
                self.announce(context)?;
                let Some(export) = &self.exports.merged.response_headers else { return Ok(None) };
                let params = (context, self.count(context, MapType::ResponseHeaders), end);
                self.guest.enter(callback, context, end_of_stream, export, params).map(Some)
            }
        }
    }

    /// Shows a piece of a direction's body, which is in the stream's stage (`proxy_on_request_body`,
    /// `proxy_on_response_body`).
    pub fn on_body(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<DataStatus, Fault> {
        self.announce(context)?;
        let export = match direction {
            Direction::Request => &self.exports.request_body,
            Direction::Response => &self.exports.response_body,
        };
        let Some(export) = export else { return Ok(DataStatus::Continue) };
        let params = (context, self.body_len(context, direction), u32::from(end_of_stream));
        let answer = self.guest.enter(Callback::body(direction), context, end_of_stream, export, params)?;
        if self.settle()? {
            return Ok(DataStatus::StopIterationNoBuffer);
        }
        Ok(DataStatus::from_guest(answer))
    }

    /// Shows the trailers of a direction (`proxy_on_request_trailers`, `proxy_on_response_trailers`).
    pub fn on_trailers(&mut self, context: ContextId, direction: Direction) -> Result<TrailersStatus, Fault> {
        self.announce(context)?;
        let (export, map) = match direction {
            Direction::Request => (&self.exports.request_trailers, MapType::RequestTrailers),
            Direction::Response => (&self.exports.response_trailers, MapType::ResponseTrailers),
        };
        let Some(export) = export else { return Ok(TrailersStatus::Continue) };
        let params = (context, self.count(context, map));
        let answer = self.guest.enter(Callback::trailers(direction), context, true, export, params)?;
        if self.settle()? {
            return Ok(TrailersStatus::StopIteration);
        }
        Ok(TrailersStatus::from_guest(answer))
    }

    /// Ends a context: `proxy_on_log`, `proxy_on_done`, `proxy_on_delete`, Envoy's order for HTTP. An id that is none is
    /// no error.
    pub fn close(&mut self, context: ContextId) -> Result<(), Fault> {
        self.log(context)?;
        self.release(context)
    }

    /// The first part of [`close`](Vm::close), where other filters of the chain come between: `proxy_on_log`.
    /// A guest that takes both parts as one has them here.
    pub fn log(&mut self, context: ContextId) -> Result<(), Fault> {
        if !is_live(self.guest.host(), context) {
            return Ok(());
        }
        self.announce(context)?;
        if let Some(end) = &self.exports.merged.end {
            let is_done = self.guest.enter(Callback::Log, context, true, end, context)? != 0;
            self.settle()?;
            if !is_done {
                return self.park(context);
            }
            self.host_mut().contexts.close(context);
            return Ok(());
        }
        if let Some(log) = &self.exports.log {
            self.guest.enter(Callback::Log, context, true, log, context)?;
            self.settle()?;
        }
        Ok(())
    }

    /// The second part: `proxy_on_done`, `proxy_on_delete`. A guest that says it is not done keeps the context until
    /// `proxy_done`, for a minute at most.
    pub fn release(&mut self, context: ContextId) -> Result<(), Fault> {
        if !is_live(self.host(), context) {
            return Ok(());
        }
        if self.ask_done(context)? { self.delete(context) } else { self.park(context) }
    }

    /// Has a context wait for `proxy_done`, unless too many wait.
    fn park(&mut self, context: ContextId) -> Result<(), Fault> {
        if self.host().contexts.parked() >= MAX_PARKED_COUNT {
            return self.delete(context);
        }
        let host = self.host_mut();
        let now = host.services.clock.monotonic();
        host.contexts.park(context, now);
        Ok(())
    }

    /// Lets the root tick (`proxy_on_tick`).
    pub fn on_tick(&mut self) -> Result<(), Fault> {
        self.delete_late()?;
        let Some(tick) = &self.exports.tick else { return Ok(()) };
        self.guest.enter(Callback::Tick, ROOT, false, tick, ROOT)?;
        self.settle().map(drop)
    }

    /// Hands the root what became of a callout (`proxy_on_http_call_response`). A token that is not in flight has no
    /// effect: the guest hears of each callout once.
    pub fn on_http_call_response(&mut self, token: u32, result: CalloutResult) -> Result<(), Fault> {
        let host = self.guest.host_mut();
        if !host.callouts.end(token) {
            return Ok(());
        }
        let (response, status) = result.into_parts();
        host.callout_status = status;
        let Some(export) = &self.exports.http_call_response else { return Ok(()) };
        let (headers, body, trailers) = response.as_ref().map_or((0, 0, 0), |response| {
            let trailers = response.trailers.as_ref().map_or(0, http::HeaderMap::len);
            // `:status` is one more.
            (response.headers.len() as u32 + 1, response.body.len() as u32, trailers as u32)
        });
        host.callout_response = response;
        let params = (ROOT, token, headers, body, trailers);
        let outcome = self.guest.enter(Callback::HttpCallResponse, ROOT, true, export, params);
        self.host_mut().callout_response = None;
        outcome?;
        self.settle().map(drop)
    }

    /// Tells the root that the plugin goes (`proxy_on_done`, `proxy_on_delete`). A root that says it is not done is
    /// deleted when it calls `proxy_done`, if the instance lives that long: see [`is_finished`](Vm::is_finished).
    pub fn shutdown(&mut self) {
        // A fault is counted where it happens, and there is nothing left that it could concern.
        let _ = self.try_shutdown();
    }

    /// Whether nothing keeps the instance after [`shutdown`](Vm::shutdown).
    pub fn is_finished(&self) -> bool {
        self.guest.is_dead() || !self.host().root_parked
    }

    fn try_shutdown(&mut self) -> Result<(), Fault> {
        if self.ask_done(ROOT)? {
            return self.delete(ROOT);
        }
        self.host_mut().root_parked = true;
        Ok(())
    }

    /// Whether the guest asked for anything since the last time.
    pub fn has_effects(&self) -> bool {
        !self.host().effects.is_empty()
    }

    /// What the guest asked for since the last time.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.host_mut().effects)
    }

    /// Whether the guest exports a callback; one that it does not is never entered.
    pub fn handles(&self, callback: Callback) -> bool {
        self.module.handles(callback)
    }

    /// The exchanges that it has a context for, each with the filter's place in its chain: they are to be told of its
    /// fault.
    pub fn streams(&self) -> impl Iterator<Item = (StreamRef, usize)> + '_ {
        let live = self.host().contexts.iter().filter(|(_, context)| context.parked.is_none());
        live.map(|(_, context)| (context.stream.clone(), context.stage))
    }

    /// How much memory the guest has, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.host().memory.map_or(0, |memory| memory.data_size(&self.guest.store))
    }

    fn host(&self) -> &Host {
        self.guest.host()
    }

    fn host_mut(&mut self) -> &mut Host {
        self.guest.host_mut()
    }

    fn count(&self, context: ContextId, map: MapType) -> u32 {
        let context = self.host().contexts.stream(context);
        context.map_or(0, |context| header_map::count(&context.stream.borrow(), map))
    }

    fn body_len(&self, context: ContextId, direction: Direction) -> u32 {
        let Some(context) = self.host().contexts.stream(context) else { return 0 };
        let stream = context.stream.borrow();
        let len = stream.stages.get(context.stage).map_or(0, |stage| stage.body(direction).len());
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    /// Performs what the guest asked for at the end of the call, and says whether it sent a local reply on the stream
    /// of the call.
    fn settle(&mut self) -> Result<bool, Fault> {
        let replied = self.host().replied;
        if !self.host().finished.is_empty() {
            self.delete_finished()?;
        }
        Ok(replied)
    }

    fn ask_done(&mut self, context: ContextId) -> Result<bool, Fault> {
        self.announce(context)?;
        let Some(done) = &self.exports.done else { return Ok(true) };
        let answer = self.guest.enter(Callback::Done, context, true, done, context)?;
        self.settle()?;
        Ok(answer != 0)
    }

    /// The end of a context, once and for all.
    fn delete(&mut self, context: ContextId) -> Result<(), Fault> {
        // From here on `proxy_done` finds nothing to end.
        self.host_mut().contexts.unpark(context);
        let outcome = match &self.exports.delete {
            Some(delete) => self.guest.enter(Callback::Delete, context, true, delete, context),
            None => Ok(()),
        };
        self.host_mut().contexts.close(context);
        outcome
    }

    /// Deletes the contexts for which the guest called `proxy_done`.
    fn delete_finished(&mut self) -> Result<(), Fault> {
        for context in std::mem::take(&mut self.host_mut().finished) {
            if context == ROOT {
                self.host_mut().root_parked = false;
            }
            self.delete(context)?;
        }
        Ok(())
    }

    /// Deletes the contexts that have waited for `proxy_done` too long.
    fn delete_late(&mut self) -> Result<(), Fault> {
        if self.host().contexts.parked() == 0 {
            return Ok(());
        }
        let host = self.host();
        let Some(deadline) = host.services.clock.monotonic().checked_sub(MAX_PARKED) else { return Ok(()) };
        for context in host.contexts.parked_before(deadline) {
            self.delete(context)?;
        }
        Ok(())
    }
}

/// Whether a context's exchange has not ended for its guest yet.
fn is_live(host: &Host, context: ContextId) -> bool {
    host.contexts.stream(context).is_some_and(|context| context.parked.is_none())
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vm").field("filter", &self.host().filter.name).finish_non_exhaustive()
    }
}
