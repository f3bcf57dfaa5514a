//! Twenty endpoints some of which fail at any time, in every way that there is, and clients that ask at a fixed rate
//! whatever becomes of it: what the clients saw, and what the endpoints did.
//!
//! Who fails when, and how, is decided by a seed, so that two proxies can be put through the same.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How many endpoints there are.
pub(crate) const ENDPOINTS: usize = 20;

/// Requests a second, of all clients.
const RATE: u32 = 200;

/// No client waits longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an endpoint does with those who come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Nobody listens.
    Refuse,
    /// The connection is reset in the place of an answer.
    Reset,
    /// There is never an answer.
    Stall,
    /// 503.
    Unavailable,
    /// A right answer, late.
    Slow,
    /// Well and 503 in turn, for a short time each.
    Flap,
}

/// Those that do not serve.
const TROUBLES: [Mood; 6] =
    [Mood::Refuse, Mood::Reset, Mood::Stall, Mood::Unavailable, Mood::Slow, Mood::Flap];
const LATE: Duration = Duration::from_millis(100);
const FLAP: Duration = Duration::from_millis(150);

/// The endpoints, listening, before anything is asked of them.
pub(crate) struct Chaos {
    listeners: Vec<std::net::TcpListener>,
    addresses: Vec<SocketAddr>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// How many requests there were.
    pub(crate) asked: usize,
    /// Of those, the ones that were not answered 200.
    pub(crate) failures: Vec<String>,
    latencies: Vec<Duration>,
    /// How many requests reached an endpoint, health checks aside.
    pub(crate) reached: usize,
    /// How many requests reached an endpoint that would fail them, for each time that one began to.
    pub(crate) wasted: Vec<(String, usize)>,
    /// How long it took from when an endpoint was well again until it served.
    pub(crate) recoveries: Vec<(String, Duration)>,
}

impl Outcome {
    /// The share of requests that succeeded.
    pub(crate) fn success(&self) -> f64 {
        1.0 - self.failures.len() as f64 / self.asked as f64
    }

    /// How many requests an endpoint got for each that was asked.
    pub(crate) fn amplification(&self) -> f64 {
        self.reached as f64 / self.asked as f64
    }

    /// So many of a hundred answers took no longer.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted
            .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    /// All of it in a line.
    pub(crate) fn summary(&self) -> String {
        let slowest = self.recoveries.iter().max_by_key(|(_, after)| *after).cloned().unwrap_or_default();
        let most = self.wasted.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let wasted: usize = self.wasted.iter().map(|(_, count)| count).sum();
        format!(
            "{} asked, {:.3} % succeeded, p50 {:?}, p99 {:?}, amplification {:.3}, {wasted} sent to who would fail them \
             ({most} at most in one failure), recovery {:?} at most ({})",
            self.asked,
            100.0 * self.success(),
            self.percentile(50),
            self.percentile(99),
            self.amplification(),
            slowest.1,
            slowest.0,
        )
    }
}

/// One request that reached an endpoint.
struct Hit {
    at: Instant,
    failed: bool,
}

/// One endpoint's doings.
struct Endpoint {
    mood: watch::Sender<Mood>,
    hits: RefCell<Vec<Hit>>,
    /// When it began to fail, with how, and when it was well again.
    troubles: RefCell<Vec<(Mood, Instant, Option<Instant>)>>,
}

impl Chaos {
    /// Binds the endpoints.
    pub(crate) fn new() -> Chaos {
        let bind =
            |_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let listeners: Vec<_> = (0..ENDPOINTS).map(bind).collect();
        let address = |it: &std::net::TcpListener| it.local_addr().expect("a bound socket has an address");
        Chaos { addresses: listeners.iter().map(address).collect(), listeners }
    }

    /// Where the endpoints are.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Has clients ask `proxy` for `length`, while endpoints fail: six of them at any time, one in each way, and others
    /// every so often.
    pub(crate) fn run(self, proxy: SocketAddr, length: Duration, seed: u64) -> Outcome {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        LocalSet::new().block_on(&runtime, self.perform(proxy, length, seed))
    }

    async fn perform(self, proxy: SocketAddr, length: Duration, seed: u64) -> Outcome {
        let mut endpoints = Vec::new();
        for (listener, address) in self.listeners.into_iter().zip(self.addresses) {
            listener.set_nonblocking(true).expect("a socket takes its options");
            let listener = TcpListener::from_std(listener).expect("it can be polled");
            let (mood, moods) = watch::channel(Mood::Well);
            let endpoint = Rc::new(Endpoint { mood, hits: RefCell::default(), troubles: RefCell::default() });
            spawn_local(serve(endpoint.clone(), address, Some(listener), moods));
            endpoints.push(endpoint);
        }
        let trouble = spawn_local(trouble(endpoints.clone(), length, seed));
        let mut outcome = ask(proxy, length).await;
        trouble.await.expect("the script ends");
        for (number, endpoint) in endpoints.iter().enumerate() {
            endpoint.judge(number, &mut outcome);
        }
        outcome
    }
}

impl Endpoint {
    fn judge(&self, number: usize, outcome: &mut Outcome) {
        let hits = self.hits.borrow();
        outcome.reached += hits.len();
        let troubles = self.troubles.borrow();
        for (place, (mood, from, until)) in troubles.iter().enumerate() {
            let Some(until) = until else { continue };
            let who = || format!("endpoint {number}, {mood:?}");
            let failed = hits.iter().filter(|hit| hit.failed && (*from..*until).contains(&hit.at)).count();
            outcome.wasted.push((who(), failed));
            // One that was slow was never left alone, and one that fails again has not recovered.
            let next = troubles.get(place + 1).map(|(_, from, _)| *from);
            let served = hits.iter().find(|hit| hit.at >= *until && !hit.failed);
            match served {
                Some(hit) if *mood != Mood::Slow && next.is_none_or(|next| hit.at < next) => {
                    outcome.recoveries.push((who(), hit.at - *until));
                }
                _ => {}
            }
        }
    }
}

/// Has other endpoints fail six times over.
async fn trouble(endpoints: Vec<Rc<Endpoint>>, length: Duration, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let step = length / 7;
    let mut order: Vec<usize> = (0..ENDPOINTS).collect();
    for _ in 0..6 {
        random.shuffle(&mut order);
        for (&number, mood) in order.iter().zip(TROUBLES) {
            endpoints[number].troubles.borrow_mut().push((mood, Instant::now(), None));
            let _ = endpoints[number].mood.send(mood);
        }
        sleep(step).await;
        for &number in &order[..TROUBLES.len()] {
            let _ = endpoints[number].mood.send(Mood::Well);
            if let Some(last) = endpoints[number].troubles.borrow_mut().last_mut() {
                last.2 = Some(Instant::now());
            }
        }
        // Everybody is well for a moment, as after a rollout's step.
        sleep(step / 6).await;
    }
}

/// Listens while it is not of another mind.
async fn serve(
    endpoint: Rc<Endpoint>,
    address: SocketAddr,
    mut listener: Option<TcpListener>,
    mut moods: watch::Receiver<Mood>,
) {
    loop {
        let mood = *moods.borrow_and_update();
        if mood == Mood::Refuse {
            listener = None;
        } else if listener.is_none() {
            let socket = TcpSocket::new_v4().expect("a socket can be made");
            socket.set_reuseaddr(true).expect("a socket takes its options");
            socket.bind(address).expect("the port is still ours");
            listener = Some(socket.listen(1024).expect("a bound socket can listen"));
        }
        let Some(socket) = &listener else {
            if moods.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            accepted = socket.accept() => if let Ok((stream, _)) = accepted {
                spawn_local(answer(endpoint.clone(), stream, moods.clone()));
            },
            changed = moods.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Answers the requests of a connection, each as the endpoint is when it comes.
async fn answer(endpoint: Rc<Endpoint>, mut stream: TcpStream, mut moods: watch::Receiver<Mood>) {
    let _ = stream.set_nodelay(true);
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            let refuses = async { moods.wait_for(|mood| *mood == Mood::Refuse).await.is_ok() };
            tokio::select! {
                read = stream.read_buf(&mut head) => if !matches!(read, Ok(1..)) {
                    return;
                },
                true = refuses => return reset(stream),
            }
        }
        let mut mood = *endpoint.mood.borrow();
        if mood == Mood::Flap {
            let since =
                endpoint.troubles.borrow().last().map_or(Duration::ZERO, |(_, from, _)| from.elapsed());
            let turn = since.as_millis() / FLAP.as_millis();
            mood = if turn.is_multiple_of(2) { Mood::Unavailable } else { Mood::Well };
        }
        if !head.starts_with(b"GET /healthz") {
            let failed = !matches!(mood, Mood::Well | Mood::Slow);
            endpoint.hits.borrow_mut().push(Hit { at: Instant::now(), failed });
        }
        let text = match mood {
            Mood::Well | Mood::Flap => "200 OK",
            Mood::Unavailable => "503 Service Unavailable",
            Mood::Slow => {
                sleep(LATE).await;
                "200 OK"
            }
            Mood::Reset | Mood::Refuse => return reset(stream),
            Mood::Stall => {
                let _ = stream.read_buf(&mut head).await; // until the peer gives up
                return;
            }
        };
        let text = format!("HTTP/1.1 {text}\r\ncontent-length: 2\r\n\r\nok");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn reset(stream: TcpStream) {
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Asks at the fixed rate. A request counts from when it was due.
async fn ask(proxy: SocketAddr, length: Duration) -> Outcome {
    let (begin, pause) = (Instant::now(), Duration::from_secs(1) / RATE);
    let idle: Rc<RefCell<Vec<TcpStream>>> = Rc::default();
    let outcome: Rc<RefCell<Outcome>> = Rc::default();
    let mut asking = JoinSet::new();
    let mut due = begin;
    while due < begin + length {
        sleep_until(due).await;
        let (idle, outcome) = (idle.clone(), outcome.clone());
        asking.spawn_local(async move {
            let connection = idle.borrow_mut().pop();
            let asked = timeout(PATIENCE, exchange(proxy, connection)).await;
            let mut outcome = outcome.borrow_mut();
            outcome.asked += 1;
            match asked {
                Ok(Ok((stream, 200))) => {
                    outcome.latencies.push(due.elapsed());
                    idle.borrow_mut().push(stream);
                }
                Ok(Ok((_, status))) => outcome.failures.push(format!("{status} after {:?}", due - begin)),
                Ok(Err(error)) => outcome.failures.push(format!("{error} after {:?}", due - begin)),
                Err(_) => outcome.failures.push(format!("no answer after {:?}", due - begin)),
            }
        });
        due += pause;
    }
    while let Some(ended) = asking.join_next().await {
        ended.expect("nobody who asks fails");
    }
    outcome.take()
}

/// One request and its answer, on a connection that is kept.
async fn exchange(proxy: SocketAddr, connection: Option<TcpStream>) -> std::io::Result<(TcpStream, u16)> {
    let mut stream = match connection {
        Some(stream) => stream,
        None => TcpStream::connect(proxy).await?,
    };
    stream.set_nodelay(true)?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: chaos.test\r\n\r\n").await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or_default();
        if body.len() >= length {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            return Ok((stream, status.unwrap_or_default()));
        }
    }
}
