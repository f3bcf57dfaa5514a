//! Connections that change their protocol: once that is agreed on both sides are a tunnel, and the exchange lasts as long.

use std::future::Future;
use std::pin::pin;

use http::header::SEC_WEBSOCKET_ACCEPT;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;

use super::answer::Ending;
use super::headers;
use super::tunnel::{Berth, Side, Tunnel, Whole};
use super::{Exchange, ReplyBody};
use crate::error::Failure;
use crate::filter::FlowBody;
use crate::http2::Duplex;
use crate::transport::BelowTls;
use crate::upstream::ResponseBody;
use crate::wasm::stream::Direction;

/// The client's side of a tunnel, which is there when it has its answer.
pub(crate) enum ClientTunnel {
    /// Its whole connection, and where its task finds the tunnel.
    Http1(OnUpgrade, BelowTls, Berth),
    /// One stream. Dropped where there is to be no tunnel.
    Http2(oneshot::Receiver<Duplex>),
}

/// The upstream's side of one, whose answer agreed to it.
pub(super) enum UpstreamTunnel {
    /// Its whole connection.
    Http1(OnUpgrade, BelowTls),
    /// One stream.
    Http2(Duplex),
}

/// An upstream's agreement to change the protocol. The lease is its connection's.
pub(super) struct Upgrade {
    pub(super) response: Response<()>,
    pub(super) upstream: UpstreamTunnel,
    pub(super) lease: ResponseBody,
}

impl Exchange {
    /// Passes the upstream's agreement to change the protocol on, its head through the chain.
    pub(super) async fn pass_upgrade(
        &mut self,
        mut response: Response<ResponseBody>,
    ) -> Result<Box<Upgrade>, Ending> {
        let Some(wish) = &self.upgrade else {
            return Err(Failure::UpstreamMalformed.into()); // nobody asked
        };
        let extended = wish.extended;
        let agreed = headers::upgrade_wanted(response.headers());
        let Some(protocol) = agreed.filter(|agreed| wish.is_for(agreed.as_bytes())) else {
            return Err(Failure::UpstreamMalformed.into()); // nobody asked for that
        };
        let upstream = match response.body_mut().take_tunnel() {
            Some(tunnel) => Some(UpstreamTunnel::Http2(tunnel)),
            None => {
                let below_tls = response.extensions_mut().remove::<BelowTls>().unwrap_or_default();
                let upgrade = response.extensions_mut().remove::<OnUpgrade>();
                upgrade.map(|upgrade| UpstreamTunnel::Http1(upgrade, below_tls))
            }
        };
        let upstream = upstream.ok_or(Failure::UpgradeFailed)?;
        let (mut parts, lease) = response.into_parts();
        headers::drop_hop_by_hop(&mut parts.headers);
        self.run.take_response(parts.status, parts.headers);
        let mut flow = FlowBody::new(self.run.clone(), Direction::Response, None::<ResponseBody>);
        self.filter_response_head(&mut flow).await?;
        let (status, headers) = self.response(&mut flow);
        let mut response = Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        if extended {
            *response.status_mut() = StatusCode::OK;
            response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        } else {
            if matches!(upstream, UpstreamTunnel::Http2(_)) {
                let request = &self.run.stream().borrow().request.headers;
                headers::accept_websocket(request, response.headers_mut());
            }
            headers::ask_upgrade(response.headers_mut(), protocol);
        }
        Ok(Box::new(Upgrade { response, upstream, lease }))
    }

    /// Answers with the upstream's agreement, and carries bytes both ways until one side has ended and the other has got
    /// everything.
    pub(super) fn tunnel(self: Box<Self>, client: ClientTunnel, upgrade: Upgrade) -> Response<ReplyBody> {
        let Upgrade { response, upstream, lease } = upgrade;
        let tasks = self.tasks().clone();
        match client {
            ClientTunnel::Http1(client, below_tls, berth) => {
                let client = async { Ok(Client::Http1(Whole::new(client.await?, below_tls))) };
                berth.moor(self.carry(client, upstream, lease));
            }
            ClientTunnel::Http2(client) => {
                let client = async { Ok(client.await.map_or(Client::Left, Client::Http2)) };
                tasks.spawn(self.carry(client, upstream, lease));
            }
        }
        response.map(|()| ReplyBody::empty())
    }

    async fn carry(
        mut self: Box<Self>,
        client: impl Future<Output = Result<Client, hyper::Error>>,
        upstream: UpstreamTunnel,
        lease: ResponseBody,
    ) {
        let upstream = async {
            match upstream {
                UpstreamTunnel::Http1(upstream, below_tls) => {
                    upstream.await.map(|upstream| Upstream::Http1(Whole::new(upstream, below_tls)))
                }
                UpstreamTunnel::Http2(upstream) => Ok(Upstream::Http2(upstream)),
            }
        };
        self.watch.whole = None; // that was for the answer
        self.run.meter().count(Direction::Request, 0); // as if something had moved: until now there was nothing to carry
        // Neither side is one before its requests are whole.
        let both = pin!(async { Ok(tokio::try_join!(client, upstream)) });
        match self.watch.over(&self.run, both).await {
            Ok(Ok((Client::Http1(client), Upstream::Http1(upstream)))) => self.copy(client, upstream).await,
            Ok(Ok((Client::Http1(client), Upstream::Http2(upstream)))) => self.copy(client, upstream).await,
            Ok(Ok((Client::Http2(client), Upstream::Http1(upstream)))) => self.copy(client, upstream).await,
            Ok(Ok((Client::Http2(client), Upstream::Http2(upstream)))) => self.copy(client, upstream).await,
            Ok(Ok((Client::Left, _))) => {}
            Ok(Err(error)) => self.note(Some(Failure::UpgradeFailed), &error.to_string(), None),
            Err(failure) => self.note_late(failure),
        }
        drop(lease);
    }

    /// For as long as the route lets nothing move, and lets an exchange last.
    async fn copy<C, U>(&mut self, client: C, upstream: U)
    where
        C: Side,
        U: Side,
    {
        self.peer.enter_tunnel();
        let mut tunnel = Tunnel::new(client, upstream);
        self.run.meter().count(Direction::Request, 0); // that it begins is news, too
        // A reset is a way to end for protocols that have no other.
        let carried = pin!(std::future::poll_fn(|cx| tunnel.poll(cx, self.run.meter()).map(|_| Ok(()))));
        match self.watch.over(&self.run, carried).await {
            Ok(()) => self.complete(),
            Err(failure) => self.note_late(failure),
        }
    }

    /// Notes that a tunnel took too long.
    fn note_late(&mut self, failure: Failure) {
        let failure = match failure {
            Failure::RequestIdle | Failure::ResponseIdle => Failure::ConnectionIdle,
            failure => failure,
        };
        self.note(Some(failure), failure.reason(), None);
    }
}

/// A client whose answer was sent.
enum Client {
    Http1(Whole),
    Http2(Duplex),
    /// It went away before.
    Left,
}

/// An upstream that agreed.
enum Upstream {
    Http1(Whole),
    Http2(Duplex),
}
