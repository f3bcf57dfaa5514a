//! The callbacks of a root: time, queues, answers of callouts, and its end.

use bytes::Bytes;

use super::{ContextId, Vm, is_live};
use crate::wasm::abi::Callback;
use crate::wasm::effect::{CalloutResult, CalloutStatus};
use crate::wasm::fault::Fault;
use crate::wasm::grpc::{GrpcEvent, Shown, TokenKind};
use crate::wasm::root::RootEnd;
use crate::wasm::witness::{Blob, Op};

impl Vm {
    /// Lets a root tick (`proxy_on_tick`).
    pub fn on_tick(&mut self, root: ContextId) -> Result<(), Fault> {
        self.delete_late()?;
        self.step(self.watched(|| Op::Tick), |vm| vm.tick(root))
    }

    fn tick(&mut self, root: ContextId) -> Result<(), Fault> {
        if self.root_mut(root).is_none_or(|root| root.end == RootEnd::Gone) {
            return Ok(());
        }
        let Some(tick) = &self.exports.tick else { return Ok(()) };
        self.guest.enter(Callback::Tick, root, false, tick, root)?;
        self.settle().map(drop)
    }

    /// Tells a root of an item in a queue that it registered (`proxy_on_queue_ready`): of one, and says whether there
    /// was one to be told of. It may have been taken out already.
    pub fn on_queue_ready(&mut self, root: ContextId) -> Result<bool, Fault> {
        self.delete_late()?;
        let there = self.root_mut(root).filter(|root| root.end != RootEnd::Gone);
        let Some(queue) = there.and_then(|root| root.inbox.as_ref()?.take()) else { return Ok(false) };
        self.tell_of_queue(root, queue).map(|()| true)
    }

    /// Tells a root of an item in this queue.
    pub(crate) fn tell_of_queue(&mut self, root: ContextId, queue: u32) -> Result<(), Fault> {
        self.step(self.watched(|| Op::QueueReady { queue }), |vm| {
            let Some(export) = &vm.exports.queue_ready else { return Ok(()) };
            vm.guest.enter(Callback::QueueReady, root, false, export, (root, queue))?;
            vm.settle().map(drop)
        })
    }

    /// Calls the guest by a number that embedder and guest agree on (`proxy_on_foreign_function`). `arguments` are in
    /// the buffer `CallData` (8) during the call, and not afterwards. Nothing in the proxy calls it, as in Envoy; it is
    /// there for who embeds the host. An id that is no context's has no effect.
    pub fn on_foreign_function(
        &mut self,
        context: ContextId,
        function: u32,
        arguments: Bytes,
    ) -> Result<(), Fault> {
        self.step(
            self.watched(|| Op::ForeignFunction { context, function, arguments: Blob(arguments.clone()) }),
            |vm| vm.call_function(context, function, arguments),
        )
    }

    fn call_function(&mut self, context: ContextId, function: u32, arguments: Bytes) -> Result<(), Fault> {
        let is_root = self.root_mut(context).is_some_and(|root| root.end != RootEnd::Gone);
        if is_live(self.host(), context) {
            self.announce(context)?;
        } else if !is_root {
            return Ok(());
        }
        let Some(export) = &self.exports.foreign_function else { return Ok(()) };
        let params = (context, function, u32::try_from(arguments.len()).unwrap_or(u32::MAX));
        self.guest.host_mut().call_data = Some(arguments);
        let outcome = self.guest.enter(Callback::ForeignFunction, context, false, export, params);
        self.host_mut().call_data = None;
        outcome?;
        self.settle().map(drop)
    }

    /// Hands the root that asked for it what became of a callout (`proxy_on_http_call_response`). A token that is not in flight has no
    /// effect: the guest hears of each callout once.
    pub fn on_http_call_response(&mut self, token: u32, result: CalloutResult) -> Result<(), Fault> {
        self.step(self.watched(|| Op::HttpCallResponse { token, result: (&result).into() }), |vm| {
            vm.answer_http(token, result)
        })
    }

    fn answer_http(&mut self, token: u32, result: CalloutResult) -> Result<(), Fault> {
        let host = self.guest.host_mut();
        let Some(root) = host.callouts.end(token) else { return Ok(()) };
        let (response, status) = result.into_parts();
        host.note_status(root, status);
        let Some(export) = &self.exports.http_call_response else { return Ok(()) };
        let (headers, body, trailers) = response.as_ref().map_or((0, 0, 0), |response| {
            let trailers = response.trailers.as_ref().map_or(0, http::HeaderMap::len);
            // `:status` is one more.
            (response.headers.len() as u32 + 1, response.body.len() as u32, trailers as u32)
        });
        host.callout_response = response;
        let params = (root, token, headers, body, trailers);
        let outcome = self.guest.enter(Callback::HttpCallResponse, root, true, export, params);
        self.host_mut().callout_response = None;
        outcome?;
        self.settle().map(drop)
    }

    /// Hands the root that asked for it what came of a gRPC callout (`proxy_on_grpc_receive` and the three beside it).
    /// Whether it is still in flight: the guest hears of one that has ended, or that it has cancelled, no more.
    pub fn on_grpc(&mut self, token: u32, event: GrpcEvent) -> Result<bool, Fault> {
        self.step(self.watched(|| Op::Grpc { token, event: (&event).into() }), |vm| {
            vm.answer_grpc(token, event)
        })
    }

    fn answer_grpc(&mut self, token: u32, event: GrpcEvent) -> Result<bool, Fault> {
        let host = self.guest.host_mut();
        let Some(root) = host.grpc.root(token) else { return Ok(false) };
        let is_call = TokenKind::of(token) == Some(TokenKind::GrpcCall);
        match event {
            GrpcEvent::Close { .. } => host.end_grpc(token),
            GrpcEvent::Message(_) if is_call => {
                host.end_grpc(token);
                host.note_status(root, CalloutStatus::default());
            }
            // Of a call its guest is told the end alone.
            _ if is_call => return Ok(true),
            _ => {}
        }
        let exports = &self.exports.grpc;
        let (callback, export, number) = match event {
            GrpcEvent::InitialMetadata(status, metadata) => {
                let count = metadata.len() + usize::from(status.is_some());
                host.grpc.shown = Some(Shown::Initial(status, metadata));
                (Callback::GrpcReceiveInitialMetadata, &exports.initial_metadata, count as u32)
            }
            GrpcEvent::Message(message) => {
                let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
                host.grpc.shown = Some(Shown::Message(message));
                (Callback::GrpcReceive, &exports.receive, len)
            }
            GrpcEvent::TrailingMetadata(status, metadata) => {
                let count = metadata.len() + usize::from(status.is_some());
                host.grpc.shown = Some(Shown::Trailing(status, metadata));
                (Callback::GrpcReceiveTrailingMetadata, &exports.trailing_metadata, count as u32)
            }
            GrpcEvent::Close { status, message } => {
                host.note_status(root, CalloutStatus { code: status, message });
                (Callback::GrpcClose, &exports.close, status)
            }
        };
        let outcome = match export {
            Some(export) => self.guest.enter(callback, root, true, export, (root, token, number)),
            None => Ok(()),
        };
        self.host_mut().grpc.shown = None;
        outcome?;
        self.settle()?;
        Ok(self.host().grpc.root(token).is_some())
    }

    /// Tells a root that its plugin goes (`proxy_on_done`, `proxy_on_delete`); its callouts are forgotten. A root that
    /// says it is not done is deleted when it calls `proxy_done`, if the instance lives that long: see
    /// [`has_gone`](Vm::has_gone).
    ///
    /// # Errors
    ///
    /// The guest failed; then it is lost for all of its plugins.
    pub fn shutdown(&mut self, root: ContextId) -> Result<(), Fault> {
        self.step(self.watched(|| Op::Shutdown), |vm| vm.end_root(root))
    }

    fn end_root(&mut self, root: ContextId) -> Result<(), Fault> {
        if self.root_mut(root).is_none_or(|root| root.end != RootEnd::Running) {
            return Ok(());
        }
        let is_done = self.ask_done(root)?;
        if is_done {
            return self.delete(root);
        }
        if let Some(root) = self.root_mut(root) {
            root.end = RootEnd::Parked;
        }
        Ok(())
    }
}
