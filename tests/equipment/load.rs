//! Clients that ask as fast as they are answered, and what they saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::{Client, Response};

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How long each answer took.
    latencies: Vec<Duration>,
    /// Of the answers that were not as they should be, the first few.
    pub(crate) failures: Vec<String>,
}

impl Seen {
    /// How many answers there were.
    pub(crate) fn answers(&self) -> usize {
        self.latencies.len()
    }

    /// 99 of 100 answers took no longer.
    pub(crate) fn p99(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((sorted.len() * 99 / 100).min(last)).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: Seen) {
        self.latencies.extend(other.latencies);
        self.failures.extend(other.failures);
        self.failures.truncate(10);
    }
}

/// So many clients ask a listener for `/` again and again while `work` is done. `check` says what is wrong with an answer.
/// A client whose connection was ended in order goes on with another.
pub(crate) fn during<R>(
    address: SocketAddr,
    clients: usize,
    check: impl Fn(&Response) -> Result<(), String> + Sync,
    work: impl FnOnce() -> R,
) -> (R, Seen) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..clients).map(|_| scope.spawn(|| ask(address, &check, &over))).collect();
        // Whatever becomes of the work, the clients end.
        let ending = Ending(&over);
        let result = work();
        drop(ending);
        let mut seen = Seen::default();
        asking.into_iter().for_each(|asking| seen.add(asking.join().expect("a client only counts")));
        (result, seen)
    })
}

struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask(
    address: SocketAddr,
    check: &(impl Fn(&Response) -> Result<(), String> + Sync),
    over: &AtomicBool,
) -> Seen {
    let mut seen = Seen::default();
    let first = Instant::now();
    let mut client = Client::connect(address);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client
            .try_send(b"GET / HTTP/1.1\r\nhost: load.test\r\n\r\n")
            .and_then(|()| client.try_response_to("GET"));
        let failure = match answer {
            Ok(Some(response)) => {
                seen.latencies.push(began.elapsed());
                let closes = response.field("connection") == Some("close");
                let failure = check(&response).err();
                if closes {
                    client = Client::connect(address);
                }
                failure
            }
            // Nothing of an answer: the connection was ended while this was on its way.
            Ok(None) => Some("the connection ended before an answer".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failure) = failure {
            client = Client::connect(address);
            let (at, took) = (began - first, began.elapsed());
            seen.failures.push(format!("{failure} (asked after {at:?}, answered in {took:?})"));
            seen.failures.truncate(10);
        }
    }
    seen
}
