//! The workers' threads, and what they are told.
//!
//! A configuration comes in two steps, so that all workers take it or none does: each prepares it, then all of them change
//! to it.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};

use super::worker::{Plan, Shared, Worker};

/// What a worker is told.
enum Order {
    /// Prepare this beside what is served.
    Prepare(Plan, oneshot::Sender<anyhow::Result<()>>),
    /// Serve what was prepared.
    Adopt(oneshot::Sender<()>),
    /// It is not to be served: another worker could not prepare it.
    Forget,
    /// What is recorded has changed: serve the same accordingly, then say so.
    Renew(oneshot::Sender<()>),
    /// How far it has come with the memory has changed: have connections look.
    Relieve,
    /// Accept no more, end what is under way, end.
    Drain,
}

/// What a worker says that nobody asked.
enum Report {
    Failed(anyhow::Error),
    Ended,
}

/// The workers.
pub(super) struct Crew {
    orders: Orders,
    reports: mpsc::Receiver<Report>,
    threads: Vec<JoinHandle<()>>,
    alive: usize,
}

/// The way to tell the workers something.
#[derive(Clone)]
pub(super) struct Orders(Arc<[mpsc::UnboundedSender<Order>]>);

impl Crew {
    /// Starts the workers. They serve nothing yet.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(super) fn start(shared: &Arc<Shared>) -> anyhow::Result<Crew> {
        let (report, reports) = mpsc::channel(2 * shared.workers());
        let mut orders = Vec::with_capacity(shared.workers());
        let mut threads = Vec::with_capacity(shared.workers());
        for index in 0..shared.workers() {
            let (order, received) = mpsc::unbounded_channel();
            let seed = Seed { index, shared: shared.clone(), orders: received, report: report.clone() };
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || seed.run()).context("cannot start a worker thread")?);
            orders.push(order);
        }
        Ok(Crew { orders: Orders(orders.into()), reports, threads, alive: shared.workers() })
    }

    pub(super) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Waits for a worker to end although nobody told it to.
    pub(super) async fn lost(&mut self) -> anyhow::Error {
        let report = self.reports.recv().await;
        self.alive = self.alive.saturating_sub(1);
        match report {
            Some(Report::Failed(error)) => error,
            Some(Report::Ended) | None => anyhow!("a worker thread ended unexpectedly"),
        }
    }

    /// Waits until every worker has ended.
    pub(super) async fn ended(&mut self) {
        while self.alive > 0 && self.reports.recv().await.is_some() {
            self.alive -= 1;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic was reported by its hook
        }
    }
}

impl Orders {
    /// Has every worker prepare a configuration: a plan for each. All of them have what they need, or none keeps it.
    ///
    /// # Errors
    ///
    /// Why a worker cannot serve it, or that one has ended.
    pub(super) async fn prepare(&self, plans: Vec<Plan>) -> anyhow::Result<()> {
        let workers = self.0.iter().zip(plans);
        let answers: Vec<_> =
            workers.map(|(worker, plan)| ask(worker, |done| Order::Prepare(plan, done))).collect();
        let mut outcome = Ok(());
        for answer in answers {
            let prepared = answer.await.unwrap_or_else(|_| Err(anyhow!("a worker has ended")));
            outcome = outcome.and(prepared);
        }
        if outcome.is_err() {
            self.forget();
        }
        outcome
    }

    /// Has every worker forget what it prepared.
    pub(super) fn forget(&self) {
        self.0.iter().for_each(|worker| drop(worker.send(Order::Forget)));
    }

    /// Has every worker serve what it prepared, and waits until they do.
    pub(super) async fn adopt(&self) {
        let answers: Vec<_> = self.0.iter().map(|worker| ask(worker, Order::Adopt)).collect();
        for answer in answers {
            let _ = answer.await; // a worker that has ended is noticed elsewhere
        }
    }

    /// Has every worker look at what is to be recorded, and waits until they have.
    pub(super) async fn renew(&self) {
        let answers: Vec<_> = self.0.iter().map(|worker| ask(worker, Order::Renew)).collect();
        for answer in answers {
            let _ = answer.await; // a worker that has ended watches nobody
        }
    }

    /// Has every worker's connections look how far it has come with the memory.
    pub(super) fn relieve(&self) {
        self.0.iter().for_each(|worker| drop(worker.send(Order::Relieve)));
    }

    pub(super) fn drain(&self) {
        self.0.iter().for_each(|worker| drop(worker.send(Order::Drain)));
    }
}

/// Tells a worker something that it answers; one that has ended does not.
fn ask<T>(
    worker: &mpsc::UnboundedSender<Order>,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> oneshot::Receiver<T> {
    let (done, answer) = oneshot::channel();
    let _ = worker.send(order(done));
    answer
}

/// What a worker begins with.
struct Seed {
    index: usize,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Order>,
    report: mpsc::Sender<Report>,
}

/// Says that a worker has ended when it is dropped, also by a panic.
struct LastWord(mpsc::Sender<Report>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let _ = self.0.try_send(Report::Ended);
    }
}

impl Seed {
    fn run(self) {
        let report = self.report.clone();
        let ended = self.shared.clone();
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .context("cannot start a worker's runtime")
            .map(|runtime| {
                let _last_word = LastWord(report.clone());
                runtime.block_on(self.work());
            });
        drop(ended);
        if let Err(error) = result {
            let _ = report.try_send(Report::Failed(error));
        }
    }

    async fn work(self) {
        let Seed { index, shared, mut orders, .. } = self;
        let mut worker = Worker::new(index, shared);
        let (mut prepared, mut renewals) = (None, Vec::new());
        loop {
            // What was prepared has the guests of the moment.
            if !renewals.is_empty() && prepared.is_none() {
                worker.renew();
                for done in renewals.drain(..) {
                    let _: Result<(), ()> = oneshot::Sender::send(done, ()); // nobody may wait any more
                }
            }
            let order = tokio::select! {
                biased;
                order = orders.recv() => order,
                () = worker.worn(), if prepared.is_none() => {
                    worker.recycle();
                    continue;
                }
            };
            let Some(order) = order else { break };
            match order {
                Order::Prepare(plan, done) => {
                    prepared = None;
                    let outcome = worker.prepare(plan).map(|next| prepared = Some(next));
                    let _ = done.send(outcome);
                }
                Order::Adopt(done) => {
                    if let Some(next) = prepared.take() {
                        worker.adopt(next);
                    }
                    let _ = done.send(());
                }
                Order::Forget => prepared = None,
                Order::Renew(done) => renewals.push(done),
                Order::Relieve => worker.relieve(),
                Order::Drain => break,
            }
        }
        drop(prepared);
        worker.end().await;
    }
}
