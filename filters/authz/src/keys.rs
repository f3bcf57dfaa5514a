//! Keeps the keys that are fetched fresh, beside the exchanges, and lets those wait that need them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tidegate_sdk::log::{info, warn};
use tidegate_sdk::{Answer, Background, CalloutError};

use crate::jwt::{Issuer, LARGEST_KEY_SET};
use crate::report::Report;

/// Between two looks at whether it is time.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// What fetches keys.
pub(crate) struct Fetcher {
    report: Rc<Report>,
    /// There once the filter has started.
    background: RefCell<Option<Background>>,
    /// The exchanges that wait for a fetch, whichever: they look again.
    waiting: RefCell<Vec<Waker>>,
}

impl Fetcher {
    pub(crate) fn new(report: Rc<Report>) -> Fetcher {
        Fetcher { report, background: RefCell::default(), waiting: RefCell::default() }
    }

    /// Fetches the keys of these issuers now, and whenever their time is over.
    pub(crate) fn start<'a>(
        self: &Rc<Self>,
        issuers: impl Iterator<Item = &'a Rc<Issuer>>,
        background: &Background,
    ) {
        self.background.replace(Some(background.clone()));
        for issuer in issuers.filter(|issuer| issuer.fetch().is_some()) {
            let (fetcher, issuer, host) = (self.clone(), issuer.clone(), background.clone());
            background.spawn(async move {
                while let Some(fetch) = issuer.fetch() {
                    let wait = issuer.schedule.borrow().wait(fetch, host.now());
                    if wait.is_zero() && !issuer.schedule.borrow().is_under_way() {
                        fetcher.fetch(&issuer, &host).await;
                    } else {
                        // One that a request began ends within its timeout.
                        host.sleep(wait.max(SHORTEST_WAIT)).await;
                    }
                }
            });
        }
    }

    /// Waits for the keys of an issuer: for the fetch that is under way, or for a new one.
    pub(crate) async fn renew(self: &Rc<Self>, issuer: &Rc<Issuer>) {
        let host = self.background.borrow().clone();
        let Some(host) = host else { return };
        if !issuer.schedule.borrow().is_under_way() {
            // Not by the exchange itself: others wait for it too, and its client may leave.
            issuer.schedule.borrow_mut().begin(host.now());
            let (fetcher, theirs, background) = (self.clone(), issuer.clone(), host.clone());
            host.spawn(async move { fetcher.ask(&theirs, &background).await });
        }
        poll_fn(|cx| {
            if !issuer.schedule.borrow().is_under_way() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn fetch(&self, issuer: &Rc<Issuer>, host: &Background) {
        issuer.schedule.borrow_mut().begin(host.now());
        self.ask(issuer, host).await;
    }

    /// Asks, after the schedule was told so.
    async fn ask(&self, issuer: &Rc<Issuer>, host: &Background) {
        let Some(fetch) = issuer.fetch() else { return };
        let call = host.call(&fetch.cluster).path(&fetch.path).header("accept", "application/json");
        let call = match &fetch.authority {
            Some(authority) => call.authority(authority),
            None => call,
        };
        let answer = call.send(fetch.timeout.duration()).await;
        let name = &*issuer.config.issuer;
        match body(answer).and_then(|body| issuer.receive(&body, host.now())) {
            Ok(true) => {
                info!(issuer = name; "new keys");
                let passed_over = issuer.keys(host.now()).map(|keys| keys.passed_over.clone());
                for why in passed_over.unwrap_or_default() {
                    info!(issuer = name, why = why.as_str(); "a key is not used");
                }
                self.report.fetched(name, "ok");
            }
            Ok(false) => self.report.fetched(name, "unchanged"),
            Err(problem) => {
                issuer.fail(host.now());
                warn!(issuer = name, cluster = fetch.cluster.as_str(), problem = problem.as_str(); "no keys");
                self.report.fetched(name, "failed");
            }
        }
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

fn body(answer: Result<Answer, CalloutError>) -> Result<Vec<u8>, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.status() {
        200 if answer.body().len() <= LARGEST_KEY_SET => Ok(answer.body().to_vec()),
        200 => Err(format!("{} bytes; expected at most {LARGEST_KEY_SET}", answer.body().len())),
        status => Err(format!("status {status}; expected 200")),
    }
}
