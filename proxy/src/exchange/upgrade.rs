//! Connections that change their protocol: once that is agreed on both sides are a tunnel, and the exchange lasts as long.

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::sync::oneshot;

use super::{Exchange, ReplyBody};
use crate::error::Failure;
use crate::http2::Duplex;
use crate::upstream::ResponseBody;

/// The client's side of a tunnel, which is there when it has its answer.
pub(crate) enum ClientTunnel {
    /// Its whole connection.
    Http1(OnUpgrade),
    /// One stream. Dropped where there is to be no tunnel.
    Http2(oneshot::Receiver<Duplex>),
}

/// The upstream's side of one, whose answer agreed to it.
pub(super) enum UpstreamTunnel {
    /// Its whole connection.
    Http1(OnUpgrade),
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
    /// Answers with the upstream's agreement, and carries bytes both ways until one side has ended and the other has got
    /// everything.
    pub(super) fn tunnel(self: Box<Self>, client: ClientTunnel, upgrade: Upgrade) -> Response<ReplyBody> {
        let Upgrade { response, upstream, lease } = upgrade;
        let tasks = self.tasks().clone();
        tasks.spawn(self.carry(client, upstream, lease));
        response.map(|()| ReplyBody::empty())
    }

    async fn carry(mut self: Box<Self>, client: ClientTunnel, upstream: UpstreamTunnel, lease: ResponseBody) {
        let client = async {
            match client {
                ClientTunnel::Http1(client) => client.await.map(|client| Client::Http1(TokioIo::new(client))),
                ClientTunnel::Http2(client) => Ok(client.await.map_or(Client::Left, Client::Http2)),
            }
        };
        let upstream = async {
            match upstream {
                UpstreamTunnel::Http1(upstream) => {
                    upstream.await.map(|upstream| Upstream::Http1(TokioIo::new(upstream)))
                }
                UpstreamTunnel::Http2(upstream) => Ok(Upstream::Http2(upstream)),
            }
        };
        match tokio::try_join!(client, upstream) {
            Ok((Client::Http1(client), Upstream::Http1(upstream))) => self.copy(client, upstream).await,
            Ok((Client::Http1(client), Upstream::Http2(upstream))) => self.copy(client, upstream).await,
            Ok((Client::Http2(client), Upstream::Http1(upstream))) => self.copy(client, upstream).await,
            Ok((Client::Http2(client), Upstream::Http2(upstream))) => self.copy(client, upstream).await,
            Ok((Client::Left, _)) => {}
            Err(error) => self.note(Some(Failure::UpgradeFailed), &error.to_string(), None),
        }
        drop(lease);
    }

    async fn copy<C, U>(&mut self, mut client: C, mut upstream: U)
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        // A reset is a way to end for protocols that have no other: what was carried is what counts.
        if let Ok((sent, received)) = copy_bidirectional(&mut client, &mut upstream).await {
            self.count_tunnel(sent, received);
        }
        self.complete();
    }
}

/// A client whose answer was sent.
enum Client {
    Http1(TokioIo<hyper::upgrade::Upgraded>),
    Http2(Duplex),
    /// It went away before.
    Left,
}

/// An upstream that agreed.
enum Upstream {
    Http1(TokioIo<hyper::upgrade::Upgraded>),
    Http2(Duplex),
}
