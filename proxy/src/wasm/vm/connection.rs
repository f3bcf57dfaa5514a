//! The callbacks of a TCP connection. Its context is opened as that of an exchange is, with
//! [`Vm::open`](super::Vm::open).

use super::{ContextId, Vm, is_live};
use crate::wasm::abi::{Callback, ConnectionStatus, PeerType};
use crate::wasm::fault::Fault;
use crate::wasm::stream::Direction;
use crate::wasm::witness::Op;

impl Vm {
    /// Tells of a connection before anything was read from it (`proxy_on_new_connection`).
    pub fn on_new_connection(&mut self, context: ContextId) -> Result<ConnectionStatus, Fault> {
        self.step(self.watched(|| Op::NewConnection { context }), |vm| vm.show_connection(context))
    }

    fn show_connection(&mut self, context: ContextId) -> Result<ConnectionStatus, Fault> {
        self.announce(context)?;
        let Some(export) = &self.exports.new_connection else { return Ok(ConnectionStatus::Continue) };
        let answer = self.guest.enter(Callback::NewConnection, context, false, export, context)?;
        self.settle()?;
        Ok(ConnectionStatus::from_guest(answer))
    }

    /// Shows a piece of a direction's data, which is in the stream's stage (`proxy_on_downstream_data`,
    /// `proxy_on_upstream_data`). `end_of_stream`: its sender has ended it.
    pub fn on_data(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<ConnectionStatus, Fault> {
        self.step(self.watched(|| Op::Data { context, direction: direction.into(), end_of_stream }), |vm| {
            vm.show_data(context, direction, end_of_stream)
        })
    }

    fn show_data(
        &mut self,
        context: ContextId,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<ConnectionStatus, Fault> {
        self.announce(context)?;
        let export = match direction {
            Direction::Request => &self.exports.downstream_data,
            Direction::Response => &self.exports.upstream_data,
        };
        let Some(export) = export else { return Ok(ConnectionStatus::Continue) };
        let params = (context, self.body_len(context, direction), u32::from(end_of_stream));
        let answer = self.guest.enter(Callback::data(direction), context, end_of_stream, export, params)?;
        self.settle()?;
        Ok(ConnectionStatus::from_guest(answer))
    }

    /// Tells that the upstream has ended its side (`proxy_on_upstream_connection_close`).
    pub fn on_upstream_close(&mut self, context: ContextId, peer: PeerType) -> Result<(), Fault> {
        self.step(self.watched(|| Op::UpstreamClose { context, peer: peer as u32 }), |vm| {
            vm.show_upstream_close(context, peer)
        })
    }

    fn show_upstream_close(&mut self, context: ContextId, peer: PeerType) -> Result<(), Fault> {
        self.announce(context)?;
        let Some(export) = &self.exports.upstream_close else { return Ok(()) };
        let params = (context, peer as u32);
        self.guest.enter(Callback::UpstreamConnectionClose, context, true, export, params)?;
        self.settle().map(drop)
    }

    /// Ends a connection's context: `proxy_on_downstream_connection_close`, `proxy_on_done`, `proxy_on_log`,
    /// `proxy_on_delete`, the order of the written ABI and of Envoy for TCP. A guest that says it is not done keeps the
    /// context until `proxy_done`, for a minute at most. An id that is none is no error.
    pub fn close_connection(&mut self, context: ContextId, peer: PeerType) -> Result<(), Fault> {
        self.step(self.watched(|| Op::CloseConnection { context, peer: peer as u32 }), |vm| {
            vm.end_connection(context, peer)
        })
    }

    fn end_connection(&mut self, context: ContextId, peer: PeerType) -> Result<(), Fault> {
        if !is_live(self.host(), context) {
            return Ok(());
        }
        self.announce(context)?;
        if let Some(export) = &self.exports.downstream_close {
            let params = (context, peer as u32);
            self.guest.enter(Callback::DownstreamConnectionClose, context, true, export, params)?;
            self.settle()?;
        }
        let is_done = self.ask_done(context)?;
        if let Some(log) = &self.exports.log {
            self.guest.enter(Callback::Log, context, true, log, context)?;
            self.settle()?;
        }
        if is_done { self.delete(context) } else { self.park(context) }
    }
}
