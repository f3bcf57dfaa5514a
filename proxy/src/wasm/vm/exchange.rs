//! The callbacks of an exchange: its head, body and trailers, both ways, and its end.

use super::{ContextId, MAX_PARKED_COUNT, Vm, is_live};
use crate::wasm::abi::{Callback, DataStatus, HeadersStatus, MapType, TrailersStatus};
use crate::wasm::fault::Fault;
use crate::wasm::grants::Capability;
use crate::wasm::header_map;
use crate::wasm::instance::HeadersFunc;
use crate::wasm::stream::Direction;
use crate::wasm::witness::Op;

impl Vm {
    /// Shows the headers of a direction (`proxy_on_request_headers`, `proxy_on_response_headers`). `end_of_stream`:
    /// neither a body nor trailers follow. If the guest sent a local reply, it stops whatever it says.
    pub fn on_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<HeadersStatus, Fault> {
        self.step(
            self.watched(|| Op::Headers { context, direction: direction.into(), end_of_stream }),
            |vm| vm.show_headers(context, direction, end_of_stream),
        )
    }

    fn show_headers(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<HeadersStatus, Fault> {
        let answer = match self.enter_merged_headers(context, direction, end_of_stream)? {
            Some(answer) => HeadersStatus::from_merged(answer, self.current_root().lone_stop),
            None => match self.enter_headers(context, direction, end_of_stream)? {
                Some(answer) => HeadersStatus::from_guest(answer, self.current_root().lone_stop),
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
                let Some(export) = self.exports.merged_request_headers() else { return Ok(None) };
                if !self.guest.host_mut().contexts.announce(context) {
                    return Ok(None);
                }
                let (parent, count) = (self.parent(context), self.count(context, MapType::RequestHeaders));
                let params = (context, parent, count, end);
                self.guest.enter(callback, context, end_of_stream, export, params).map(Some)
            }
            Direction::Response => {
                self.announce(context)?;
                let Some(export) = self.exports.merged_response_headers() else { return Ok(None) };
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
        self.step(self.watched(|| Op::Body { context, direction: direction.into(), end_of_stream }), |vm| {
            vm.show_body(context, direction, end_of_stream)
        })
    }

    fn show_body(
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
        self.step(self.watched(|| Op::Trailers { context, direction: direction.into() }), |vm| {
            vm.show_trailers(context, direction)
        })
    }

    fn show_trailers(&mut self, context: ContextId, direction: Direction) -> Result<TrailersStatus, Fault> {
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

    /// Ends a context: `proxy_on_log`, `proxy_on_done`, `proxy_on_delete`, Envoy's order for HTTP. An id that is none
    /// is no error.
    pub fn close(&mut self, context: ContextId) -> Result<(), Fault> {
        self.log(context)?;
        self.release(context)
    }

    /// The first part of [`close`](Vm::close), where other filters of the chain come between: `proxy_on_log`.
    /// A guest that takes both parts as one has them here.
    pub fn log(&mut self, context: ContextId) -> Result<(), Fault> {
        self.step(self.watched(|| Op::Log { context }), |vm| vm.tell_of_end(context))
    }

    fn tell_of_end(&mut self, context: ContextId) -> Result<(), Fault> {
        if !is_live(self.guest.host(), context) {
            return Ok(());
        }
        self.announce(context)?;
        if let Some(end) = self.exports.merged_end() {
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
        self.step(self.watched(|| Op::Release { context }), |vm| vm.let_go(context))
    }

    fn let_go(&mut self, context: ContextId) -> Result<(), Fault> {
        if !is_live(self.host(), context) {
            return Ok(());
        }
        if self.ask_done(context)? { self.delete(context) } else { self.park(context) }
    }

    /// Has a context wait for `proxy_done`, unless too many wait.
    pub(super) fn park(&mut self, context: ContextId) -> Result<(), Fault> {
        if self.host().contexts.parked() >= MAX_PARKED_COUNT {
            return self.delete(context);
        }
        let host = self.host_mut();
        let now = host.services.clock.monotonic();
        host.contexts.park(context, now);
        Ok(())
    }

    fn count(&self, context: ContextId, map: MapType) -> u32 {
        let Some(context) = self.host().contexts.stream(context) else { return 0 };
        let stream = context.stream.borrow();
        match &self.host().roots[context.root].grants {
            None => header_map::count(&stream, map),
            Some(grants) => {
                header_map::count_of(&stream, map, |name| grants.allows(Capability::HeadersRead, name))
            }
        }
    }

    pub(super) fn body_len(&self, context: ContextId, direction: Direction) -> u32 {
        let Some(context) = self.host().contexts.stream(context) else { return 0 };
        let stream = context.stream.borrow();
        let len = stream.stages.get(context.stage).map_or(0, |stage| stage.body(direction).len());
        u32::try_from(len).unwrap_or(u32::MAX)
    }
}
