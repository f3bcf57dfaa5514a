//! Uses futures as filters might, and as they should not: does what the request header `x-do` names.
//!
//! * `bell`: waits until somebody rings; `ring` does, `ring-and-reply` too, `ring-at-end` when its exchange is over,
//!   `ring-by-drop` when what is remembered of it is dropped, `ring-own` after it began to wait itself.
//! * `lock`: waits for a lock, which it keeps for a minute.
//! * `sleep`: waits 100 ms; `both`, `trailers`: waits 5 ms in these callbacks of both directions.
//! * `two`: waits twice, of which the first is to stay paused, and `two-then-none` also replies at once.
//! * `keep`: pauses and leaves its handle; `release` lets those go on, `release-and-reply` too, `ask-for` spawns work for
//!   them, and `settle-for` work without an end, which rings when it is dropped.
//! * `background`: has the background ask `up` and ring; waits until then.
//! * `restless`: wakes itself for ever, beside the exchange.
//! * `race`: asks `up` and waits 10 ms, whichever is first; `at-once`, `for-ever`: asks with such a timeout.
//! * `reply-then-wait`: replies, and waits at the reply's headers; `reply-late`: replies and goes on to do things.
//! * `bad-status`, `bad-header`: replies as no host can; `reset-late`, `panic-late`: does so after 5 ms.
//! * `leave`, `leave-at-body`, `leave-at-response`: leaves there, when it is asked to; what it remembers rings when it is
//!   dropped, and work beside the exchange would log. `leave-waiting`: leaves with a wait of 5 ms begun, `leave-later`: the
//!   wait says so. `leave-replied`, `leave-replied-at-response`: replies and leaves. `leave-holding`: holds the request's
//!   body and leaves at the response; `leave-holding-on`: the same while it waits 5 ms at the body. `leave-keeping`: leaves at the body and keeps its handle.
//! * `nest`: futures in futures in futures; `label`: counts under a label of 100 kB; `cookie`: shows one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tidegate_sdk::{
    Background, Body, CounterFamily, Exchange, Filter, Next, NoConfig, Request, Response, filter, log,
};

filter!(Tasks);

const MS: Duration = Duration::from_millis(1);

struct Tasks {
    bell: Rc<Bell>,
    lock: Rc<Lock>,
    kept: RefCell<Vec<Exchange>>,
    background: RefCell<Option<Background>>,
    labels: CounterFamily<1>,
}

#[derive(Default)]
struct State {
    task: String,
    ringer: Option<Ringer>,
}

impl State {
    /// Logs what the filter is shown, where the task is to leave.
    fn note(&self, what: &str) {
        if self.task.starts_with("leave") {
            log::info!("[tasks] sees {what}");
        }
    }
}

/// Rings for those who wait at that time.
#[derive(Default)]
struct Bell {
    rung: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(self.rung.get() + 1);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) {
        let before = self.rung.get();
        poll_fn(|cx| {
            if self.rung.get() > before {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

struct Ringer(Rc<Bell>);

impl Drop for Ringer {
    fn drop(&mut self) {
        self.0.ring();
    }
}

/// One at a time.
#[derive(Default)]
struct Lock {
    taken: Cell<bool>,
    released: Bell,
}

struct Held<'a>(&'a Lock);

impl Lock {
    async fn take(&self) -> Held<'_> {
        while self.taken.replace(true) {
            self.released.wait().await;
        }
        Held(self)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.released.ring();
    }
}

impl Filter for Tasks {
    type Config = NoConfig;
    type State = State;

    fn new(_: NoConfig) -> Result<Tasks, String> {
        Ok(Tasks {
            bell: Rc::default(),
            lock: Rc::default(),
            kept: RefCell::default(),
            background: RefCell::default(),
            labels: CounterFamily::new("labels", ["label"]),
        })
    }

    fn on_start(&self, background: &Background) {
        self.background.replace(Some(background.clone()));
    }

    fn on_request_headers(&self, state: &mut State, request: &Request<'_>) -> Next {
        state.task = request.header("x-do").unwrap_or_default();
        let bell = self.bell.clone();
        match state.task.as_str() {
            "bell" => return self.wait_for_bell(request),
            "ring" => self.bell.ring(),
            "ring-and-reply" => {
                self.bell.ring();
                return request.reply(200).body("it was rung").send();
            }
            "ring-own" => {
                let next = self.wait_for_bell(request);
                self.bell.ring();
                return next;
            }
            "ring-by-drop" => state.ringer = Some(Ringer(bell)),
            "lock" => {
                let lock = self.lock.clone();
                return request.wait(async move |exchange| {
                    let _held = lock.take().await;
                    log::info!("has the lock");
                    exchange.sleep(Duration::from_secs(60)).await;
                    Next::Continue
                });
            }
            "sleep" => return request.wait(async |exchange| later(&exchange, 100, Next::Continue).await),
            "two" | "two-then-none" => {
                let first = request.wait(async |exchange| later(&exchange, 1, Next::Pause).await);
                request.wait(async |exchange| later(&exchange, 2, Next::Continue).await);
                return if state.task == "two" { first } else { request.reply(403).send() };
            }
            "keep" => {
                log::info!("[tasks] {} waits", request.path());
                self.kept.borrow_mut().push((**request).clone());
                return Next::Pause;
            }
            "release" | "release-and-reply" => {
                for exchange in self.kept.take() {
                    exchange.request_headers().set("x-released", "yes");
                    exchange.resume_request();
                }
                if state.task == "release-and-reply" {
                    return request.reply(200).body("they are released").send();
                }
                request.set_header("x-released", "no");
            }
            "background" => {
                if let Some(background) = &*self.background.borrow() {
                    let host = background.clone();
                    background.spawn(async move {
                        let asked = host.call("up").path("/asked").send(Duration::from_secs(1)).await;
                        let said = asked.map_or(0, |answer| answer.body().len());
                        host.sleep(5 * MS).await;
                        log::info!("[tasks] the background got {said} bytes");
                        bell.ring();
                    });
                }
                return self.wait_for_bell(request);
            }
            "ask-for" => {
                for exchange in self.kept.take() {
                    exchange.spawn(async |exchange| {
                        ask(&exchange, Duration::from_secs(1)).await;
                        exchange.resume_request();
                    });
                }
            }
            "settle-for" => {
                for exchange in self.kept.take() {
                    let ringer = Ringer(bell.clone());
                    exchange.spawn(async move |_| {
                        let _ringer = ringer;
                        std::future::pending().await
                    });
                }
            }
            "restless" => request.spawn(async |_| {
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                })
                .await;
            }),
            "race" => return request.wait(async |exchange| race(&exchange).await),
            "at-once" | "for-ever" => {
                let timeout = if state.task == "at-once" { Duration::ZERO } else { Duration::MAX };
                return request.wait(async move |exchange| {
                    ask(&exchange, timeout).await;
                    Next::Continue
                });
            }
            "reply-then-wait" => return request.reply(403).send(),
            "reply-late" => {
                return request.wait(async |exchange| {
                    exchange.sleep(5 * MS).await;
                    let next = exchange.reply(403).send();
                    exchange.sleep(5 * MS).await;
                    log::warn!("after the reply");
                    next
                });
            }
            "bad-status" => return request.reply(99).details("nonsense").send(),
            "bad-header" => return request.reply(302).header("location", "/a\r\nb: c").send(),
            "reset-late" => {
                return request.wait(async |exchange| {
                    exchange.sleep(5 * MS).await;
                    exchange.reset()
                });
            }
            "panic-late" => {
                return request.wait(async |exchange| {
                    exchange.sleep(5 * MS).await;
                    panic!("late")
                });
            }
            "nest" => {
                return request.wait(async move |exchange| {
                    exchange.spawn(async move |exchange| {
                        exchange.spawn(async move |exchange| {
                            exchange.sleep(MS).await;
                            bell.ring();
                        });
                    });
                    later(&exchange, 2, Next::Continue).await
                });
            }
            "leave" | "leave-at-body" | "leave-at-response" => {
                state.ringer = Some(Ringer(bell));
                request.spawn(async |exchange| {
                    exchange.sleep(MS).await;
                    log::warn!("[tasks] the filter is still there");
                });
                if state.task == "leave" {
                    return Next::Leave;
                }
            }
            "leave-replied" => {
                request.reply(403).send();
                return Next::Leave;
            }
            "leave-waiting" | "leave-later" => {
                let next = if state.task == "leave-later" { Next::Leave } else { Next::Continue };
                let waits = request.wait(async move |exchange| later(&exchange, 5, next).await);
                return if state.task == "leave-waiting" { Next::Leave } else { waits };
            }
            "label" => self.labels.with([&"\u{e4}".repeat(50_000)]).increment(),
            "cookie" => request.set_header("x-cookie", request.cookie("user").unwrap_or_default()),
            _ => {}
        }
        Next::Continue
    }

    fn on_request_body(&self, state: &mut State, request: &Request<'_>, body: &Body) -> Next {
        state.note("the request's body");
        match state.task.as_str() {
            "leave-at-body" => return Next::Leave,
            "leave-keeping" => {
                self.kept.borrow_mut().push((**request).clone());
                return Next::Leave;
            }
            "leave-holding" => return Next::Pause,
            "leave-holding-on" => {
                return request.wait(async |exchange| later(&exchange, 5, Next::Continue).await);
            }
            _ => {}
        }
        if state.task == "both" && body.is_last() {
            return request.wait(async |exchange| later(&exchange, 5, Next::Continue).await);
        }
        Next::Continue
    }

    fn on_request_trailers(&self, state: &mut State, request: &Request<'_>) -> Next {
        if state.task == "trailers" {
            request.trailers().set("x-seen", "yes");
            return request.wait(async |exchange| later(&exchange, 5, Next::Continue).await);
        }
        Next::Continue
    }

    fn on_response_headers(&self, state: &mut State, response: &Response<'_>) -> Next {
        state.note("the response");
        match state.task.as_str() {
            "leave-at-response" | "leave-holding" | "leave-holding-on" => return Next::Leave,
            "leave-replied-at-response" if response.status() == 200 => {
                response.reply(403).send();
                return Next::Leave;
            }
            _ => {}
        }
        if matches!(state.task.as_str(), "both" | "reply-then-wait") {
            return response.wait(async |exchange| {
                exchange.sleep(5 * MS).await;
                exchange.response_headers().set("x-waited", "yes");
                Next::Continue
            });
        }
        Next::Continue
    }

    fn on_response_body(&self, state: &mut State, response: &Response<'_>, body: &Body) -> Next {
        if state.task == "both" && body.is_last() {
            return response.wait(async |exchange| later(&exchange, 5, Next::Continue).await);
        }
        Next::Continue
    }

    fn on_response_trailers(&self, state: &mut State, response: &Response<'_>) -> Next {
        if state.task == "trailers" {
            return response.wait(async |exchange| later(&exchange, 5, Next::Continue).await);
        }
        Next::Continue
    }

    fn on_end(&self, state: &mut State, _: &Exchange) {
        state.note("the end");
        if state.task == "ring-at-end" {
            self.bell.ring();
        }
    }
}

impl Tasks {
    fn wait_for_bell(&self, request: &Request<'_>) -> Next {
        log::info!("[tasks] {} waits", request.path());
        let bell = self.bell.clone();
        request.wait(async move |exchange| {
            bell.wait().await;
            exchange.request_headers().set("x-rung", "yes");
            Next::Continue
        })
    }
}

async fn later(exchange: &Exchange, ms: u32, next: Next) -> Next {
    exchange.sleep(ms * MS).await;
    next
}

async fn ask(exchange: &Exchange, timeout: Duration) {
    let said = match exchange.call("up").send(timeout).await {
        Ok(answer) => answer.status().to_string(),
        Err(error) => error.to_string(),
    };
    exchange.request_headers().set("x-answer", said);
}

async fn race(exchange: &Exchange) -> Next {
    let mut asked = pin!(exchange.call("up").send(Duration::from_secs(1)));
    let mut slept = pin!(exchange.sleep(10 * MS));
    poll_fn(|cx| if asked.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { slept.as_mut().poll(cx) })
        .await;
    Next::Continue
}
