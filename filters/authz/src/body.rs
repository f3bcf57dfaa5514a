//! A request's body, collected for the external service while the request is held.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use tidegate_sdk::Exchange;
use tidegate_sdk::log::warn;

use crate::external::BodyConfig;
use crate::verdict::Reason;

/// How long the first of it may take to be shown.
const PATIENCE: Duration = Duration::from_secs(30);

/// The request's body as far as the external service gets it.
pub(crate) struct Collected {
    most: usize,
    allow_partial: bool,
    bytes: RefCell<Vec<u8>>,
    began: Cell<bool>,
    overflowed: Cell<bool>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Collected {
    pub(crate) fn new(config: &BodyConfig) -> Collected {
        Collected {
            most: config.max_bytes.0,
            allow_partial: config.allow_partial,
            bytes: RefCell::default(),
            began: Cell::new(false),
            overflowed: Cell::new(false),
            over: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// Takes all of the body that has come.
    pub(crate) fn take(&self, mut bytes: Vec<u8>, is_last: bool) {
        self.began.set(true);
        if bytes.len() > self.most {
            self.overflowed.set(true);
            bytes.truncate(self.most);
        }
        self.bytes.replace(bytes);
        if is_last || self.overflowed.get() {
            self.end();
        }
    }

    /// No more comes, or no more is needed.
    pub(crate) fn end(&self) {
        self.began.set(true);
        self.over.set(true);
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    /// It is not to be held any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Waits until there is as much of it as the service gets.
    pub(crate) async fn whole(&self, exchange: &Exchange) -> Result<Vec<u8>, Reason> {
        let mut patience = pin!(exchange.sleep(PATIENCE));
        let came = poll_fn(|cx| {
            self.waker.replace(Some(cx.waker().clone()));
            match (self.over.get(), self.began.get()) {
                (true, _) => Poll::Ready(true),
                // How slow it may be once it has begun is the host's to say.
                (false, true) => Poll::Pending,
                (false, false) => patience.as_mut().poll(cx).map(|()| false),
            }
        });
        if !came.await {
            warn!(
                "no body was shown within {PATIENCE:?}: set `allow_on_headers_stop_iteration` on this filter"
            );
            return Err(Reason::ExternalFailed);
        }
        match self.overflowed.get() && !self.allow_partial {
            true => Err(Reason::BodyTooLarge),
            false => Ok(self.bytes.take()),
        }
    }
}
