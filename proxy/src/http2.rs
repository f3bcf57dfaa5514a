//! What HTTP/2 connections of both sides have in common.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use h2::{Ping, PingPong};
use tokio::time::Sleep;

use crate::config::model;

/// Finds out whether the other side is still there (RFC 9113, 6.7). A connection that is not asked has none.
pub(crate) struct Keepalive {
    settings: model::Keepalive,
    pings: PingPong,
    timer: Pin<Box<Sleep>>,
    /// A ping is to be answered before the timer fires.
    asked: bool,
}

/// The other side did not answer in time.
#[derive(Debug)]
pub(crate) struct Gone;

impl Keepalive {
    /// Begins with the first wait. `pings` are the connection's.
    pub(crate) fn begin(settings: Option<model::Keepalive>, pings: Option<PingPong>) -> Option<Keepalive> {
        let (settings, pings) = settings.zip(pings)?;
        let timer = Box::pin(tokio::time::sleep(settings.interval));
        Some(Keepalive { settings, pings, timer, asked: false })
    }

    /// Asks, and waits for the answers. To be polled with the connection, before it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        loop {
            if self.asked && self.pings.poll_pong(cx).is_ready() {
                self.asked = false;
                self.wait(self.settings.interval);
            }
            ready!(self.timer.as_mut().poll(cx));
            // Refused only where the connection is closed, as whoever polls that finds out.
            if self.asked || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(Gone);
            }
            self.asked = true;
            self.wait(self.settings.timeout);
        }
    }

    fn wait(&mut self, time: std::time::Duration) {
        self.timer.as_mut().reset((Instant::now() + time).into());
    }
}
