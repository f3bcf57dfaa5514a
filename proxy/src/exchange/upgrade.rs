//! Connections that change their protocol: after a 101 both sides are a tunnel, and the exchange lasts as long.

use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::{Exchange, ReplyBody};
use crate::error::Failure;
use crate::upstream::ResponseBody;

/// An upstream's agreement to change the protocol. The lease is its connection's.
pub(super) struct Upgrade {
    pub(super) response: Response<()>,
    pub(super) upstream: OnUpgrade,
    pub(super) lease: ResponseBody,
}

impl Exchange {
    /// Answers with the upstream's 101, and carries bytes both ways until one side has ended and the other has got
    /// everything.
    pub(super) fn tunnel(self: Box<Self>, client: OnUpgrade, upgrade: Upgrade) -> Response<ReplyBody> {
        let Upgrade { response, upstream, lease } = upgrade;
        let tasks = self.tasks().clone();
        tasks.spawn(self.carry(client, upstream, lease));
        response.map(|()| ReplyBody::empty())
    }

    async fn carry(mut self: Box<Self>, client: OnUpgrade, upstream: OnUpgrade, lease: ResponseBody) {
        match tokio::try_join!(client, upstream) {
            Ok((client, upstream)) => self.copy(client, upstream).await,
            Err(error) => self.note(Some(Failure::UpgradeFailed), &error.to_string(), None),
        }
        drop(lease);
    }

    async fn copy(&mut self, client: Upgraded, upstream: Upgraded) {
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        // A reset is a way to end for protocols that have no other: what was carried is what counts.
        if let Ok((sent, received)) = copy_bidirectional(&mut client, &mut upstream).await {
            self.count_tunnel(sent, received);
        }
        self.complete();
    }
}
