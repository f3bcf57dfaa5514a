//! Who waits for a connection where no more may be made, and what lets them go on.

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;
use tokio::{join, select};

use super::server::{OK, Server};
use super::*;
use crate::config::model::Address;

/// A worker that may have one connection.
fn narrow(server: &Server) -> Worker {
    let mut config = cluster_config([server.address()]);
    config.recovery.breakers.connections_per_endpoint = 1;
    Worker::new(config)
}

/// A request that is told from others by its path.
fn named(path: &str) -> Request<RequestBody> {
    Request::builder().uri(path).header("host", "test").body(RequestBody::Empty).expect("a request")
}

#[test]
fn who_waits_for_a_connection_is_not_overtaken() {
    on_worker(async {
        let server = Server::start().await;
        let worker = narrow(&server);
        let (first, mut peer) = join!(worker.get(), server.answer(OK));
        let mut second = Box::pin(worker.send(named("/second")));
        begin(&mut second).await;
        let mut third = Box::pin(worker.send(named("/third")));
        begin(&mut third).await;
        // The connection is free from here on: one that comes now is behind those who waited.
        assert_eq!(text(first).await, "ok");
        let mut last = Box::pin(worker.send(named("/last")));
        begin(&mut last).await;
        let served = peer.serve_in_order(&["/second", "/third", "/last"]);
        let ends = async {
            assert_eq!(text(second.await).await, "ok");
            assert_eq!(text(third.await).await, "ok");
            assert_eq!(text(last.await).await, "ok");
        };
        join!(ends, served);
    });
}

#[test]
fn who_waits_for_a_connection_makes_the_next_where_the_one_there_was_is_closed() {
    on_worker(async {
        let server = Server::start().await;
        let worker = narrow(&server);
        let (first, peer) = join!(
            worker.get(),
            server.answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
        );
        let mut second = Box::pin(worker.send(named("/second")));
        begin(&mut second).await;
        let mut third = Box::pin(worker.send(named("/third")));
        begin(&mut third).await;
        assert_eq!(text(first).await, "ok");
        drop(peer);
        let served = async {
            let mut peer = server.accept().await;
            peer.serve_in_order(&["/second", "/third"]).await;
        };
        let ends = async {
            assert_eq!(text(second.await).await, "ok");
            assert_eq!(text(third.await).await, "ok");
        };
        join!(ends, served);
    });
}

#[test]
fn a_request_that_waited_goes_out_on_another_connection_where_its_own_was_just_closed() {
    on_worker(async {
        let server = Server::start().await;
        let worker = narrow(&server);
        let (first, peer) = join!(worker.get(), server.answer(OK));
        // It must not be received twice, so that it is only sent again if nothing of it was.
        let mut waiting = Box::pin(worker.send(request(Method::POST, RequestBody::Full("body".into()))));
        begin(&mut waiting).await;
        // The end comes with the last byte that was waited for: nobody has noticed it when the connection is handed on.
        drop(peer);
        assert_eq!(text(first).await, "ok");
        let (sent, _peer) = join!(waiting, server.answer(OK));
        assert_eq!(text(sent).await, "ok");
    });
}

#[test]
fn those_who_wait_no_longer_hold_nobody_up() {
    on_worker(async {
        let server = Server::start().await;
        let worker = narrow(&server);
        let (first, mut peer) = join!(worker.get(), server.answer(OK));
        let mut gone: Vec<_> = (0..200).map(|_| Box::pin(worker.get())).collect();
        for waiting in &mut gone {
            begin(waiting).await;
        }
        let mut last = Box::pin(worker.get());
        begin(&mut last).await;
        drop(gone);
        assert_eq!(text(first).await, "ok");
        let (sent, ()) = join!(last, peer.answer(OK));
        assert_eq!(text(sent).await, "ok");
    });
}

#[test]
fn what_a_request_waits_for_here_is_not_charged_to_its_endpoint() {
    on_worker(async {
        let server = Server::start().await;
        let mut config = cluster_config([server.address()]);
        config.recovery.breakers.connections_per_endpoint = 1;
        let comparison =
            model::Comparison { threshold: model::Times(300), request_volume: 1, minimum_hosts: 1 };
        config.recovery.outlier_detection = Some(model::OutlierDetection {
            consecutive_5xx: 0,
            consecutive_gateway_failures: 0,
            consecutive_local_failures: 0,
            interval: Duration::from_secs(3600),
            base_ejection_time: Duration::ZERO,
            max_ejection_time: Duration::ZERO,
            ejection_jitter: Duration::ZERO,
            max_ejection_percent: model::Percent(0),
            success_rate: None,
            failure_percentage: None,
            latency: Some(comparison),
        });
        let worker = Worker::new(config);
        let (first, mut peer) = join!(worker.get(), server.answer(OK));
        let mut waiting = Box::pin(worker.get());
        begin(&mut waiting).await;
        let free = Instant::now();
        assert_eq!(text(first).await, "ok");
        let (sent, ()) = join!(waiting, peer.answer(OK));
        assert_eq!(text(sent).await, "ok");
        assert!(worker.last.get().since.is_some_and(|since| since >= free));
    });
}

#[test]
fn a_configuration_that_is_never_served_changes_nothing_about_connections() {
    on_worker(async {
        let server = Server::start().await;
        let idle_timeout = Duration::from_millis(60);
        let worker = Worker::new(model::Cluster { idle_timeout, ..cluster_config([server.address()]) });
        let (sent, mut peer) = join!(worker.get(), server.answer(OK));
        assert_eq!(text(sent).await, "ok");
        let longer =
            model::Cluster { idle_timeout: Duration::from_secs(3600), ..worker.cluster.config().clone() };
        let next = Arc::new(worker.cluster.successor(Arc::new(longer)));
        let successor = worker.upstreams.successor(std::slice::from_ref(&next), |_| Default::default());
        assert_eq!((worker.idle(), successor.idle(0)), (1, 1), "they have it in common");
        peer.closed().await; // when the time of the one that is served is over
    });
}

/// A cluster of these servers that may have two connections.
fn of_two(servers: &[&Server]) -> Worker {
    let mut config = cluster_config(servers.iter().map(|server| server.address()));
    config.recovery.breakers.connections = 2;
    Worker::new(config)
}

#[test]
fn a_connection_that_is_closed_makes_room_for_one_to_another_endpoint() {
    on_worker(async {
        let (one, other) = (Server::start().await, Server::start().await);
        let worker = of_two(&[&one, &other]);
        let (first, _peer) = worker.ask(&one).await;
        let (second, _other_peer) = worker.ask(&other).await;
        let mut third = Box::pin(worker.get_from(&one));
        begin(&mut third).await;
        let mut fourth = Box::pin(worker.get_from(&one));
        begin(&mut fourth).await;
        drop(second); // not read to its end: its connection is of no use
        let (sent, mut peer) = join!(third, one.answer(OK));
        assert_eq!(text(sent).await, "ok");
        let (sent, ()) = join!(fourth, peer.answer(OK));
        assert_eq!((text(sent).await, text(first).await), ("ok".to_owned(), "ok".to_owned()));
    });
}

#[test]
fn whoever_looks_out_for_room_leaves_that_to_another_who_waits() {
    on_worker(async {
        let (one, other) = (Server::start().await, Server::start().await);
        let worker = of_two(&[&one, &other]);
        let (first, _peer) = worker.ask(&one).await;
        let (second, _other_peer) = worker.ask(&other).await;
        let mut gone = Box::pin(worker.get_from(&one));
        begin(&mut gone).await;
        let mut third = Box::pin(worker.get_from(&one));
        begin(&mut third).await;
        drop(gone);
        drop(second);
        let (sent, _peer) = join!(third, one.answer(OK));
        assert_eq!((text(sent).await, text(first).await), ("ok".to_owned(), "ok".to_owned()));
    });
}

#[test]
fn a_connection_that_is_closed_wakes_one_alone_of_the_endpoints_that_others_wait_for() {
    on_worker(async {
        let mut servers = Vec::new();
        for _ in 0..8 {
            servers.push(Rc::new(Server::start().await));
        }
        let mut config = cluster_config(servers.iter().map(|server| server.address()));
        config.recovery.breakers.connections = servers.len();
        let worker = Rc::new(Worker::new(config));
        let mut held = Vec::new();
        for server in &servers {
            held.push(worker.ask(server).await);
        }
        let polls = Rc::new(Cell::new(0));
        let mut waiting = Vec::new();
        for server in &servers[1..] {
            let (worker, server, polled) = (worker.clone(), server.clone(), polls.clone());
            waiting.push(spawn_local(async move {
                let mut waiting = pin!(worker.get_from(&server));
                let counted = poll_fn(|cx| {
                    polled.set(polled.get() + 1);
                    waiting.as_mut().poll(cx)
                });
                counted.await
            }));
            let count = polls.get();
            while polls.get() == count {
                yield_now().await;
            }
        }
        let first = waiting.remove(0);
        let before = polls.replace(0);
        assert_eq!(before, servers.len() - 1);

        drop(held.remove(0)); // not read to its end: its connection is of no use
        let (sent, _peer) = join!(first, servers[1].answer(OK));
        assert_eq!(text(sent.expect("it ends")).await, "ok");
        let of_first = 4;
        assert!(polls.get() <= of_first, "{} polls", polls.get());

        for (waiting, server) in waiting.into_iter().zip(&servers[2..]) {
            drop(held.remove(1));
            let (sent, _peer) = join!(waiting, server.answer(OK));
            assert_eq!(text(sent.expect("it ends")).await, "ok");
        }
    });
}

#[test]
fn an_endpoint_that_had_as_many_as_it_may_hears_of_what_is_closed_elsewhere_once_it_has_less() {
    on_worker(async {
        let (one, other) = (Server::start().await, Server::start().await);
        let mut config = cluster_config([one.address(), other.address()]);
        config.recovery.breakers.connections_per_endpoint = 2;
        config.recovery.breakers.connections = 2;
        let worker = Worker::new(config);
        let (first, _peer) = worker.ask(&one).await;
        let (second, _second_peer) = worker.ask(&one).await;
        let (beyond, _other_peer) = worker.ask(&other).await;
        let mut waiting = Box::pin(worker.get_from(&one));
        begin(&mut waiting).await;
        drop(first);
        begin(&mut waiting).await; // the cluster has two, still
        drop(beyond);
        let (sent, _peer) = join!(waiting, one.answer(OK));
        assert_eq!((text(sent).await, text(second).await), ("ok".to_owned(), "ok".to_owned()));
    });
}

#[test]
fn an_endpoint_that_may_have_no_more_leaves_what_is_closed_to_another() {
    on_worker(async {
        let (one, other, third) = (Server::start().await, Server::start().await, Server::start().await);
        let mut config = cluster_config([one.address(), other.address(), third.address()]);
        config.recovery.breakers.connections_per_endpoint = 3;
        config.recovery.breakers.connections = 4;
        let worker = Worker::new(config);
        let (_first, _peer) = worker.ask(&one).await;
        let (_second, _second_peer) = worker.ask(&one).await;
        let (_third, _other_peer) = worker.ask(&other).await;
        let (gone, _third_peer) = worker.ask(&third).await;
        let mut of_one = Box::pin(worker.get_from(&one));
        begin(&mut of_one).await;
        let mut of_other = Box::pin(worker.get_from(&other));
        begin(&mut of_other).await;

        let mut config = worker.cluster.config().clone();
        config.recovery.breakers.connections_per_endpoint = 2;
        let next = Arc::new(worker.cluster.successor(Arc::new(config)));
        worker.upstreams.successor(std::slice::from_ref(&next), |_| Default::default()).take_over();
        drop(gone);
        let of_other = async { join!(of_other, other.answer(OK)) };
        let (sent, _peer) = select! {
            sent = of_other => sent,
            _ = of_one => panic!("there may be no more"),
        };
        assert_eq!(text(sent).await, "ok");
    });
}

#[test]
fn nobody_waits_for_ever_where_connections_are_few_and_whoever_waits_may_leave() {
    on_worker(async {
        let servers = [Server::start().await, Server::start().await, Server::start().await];
        let addresses = servers.each_ref().map(|server| Address::from(server.address()));
        let mut config = cluster_config(servers.each_ref().map(Server::address));
        config.recovery.breakers.connections_per_endpoint = 2;
        config.recovery.breakers.connections = 4;
        servers.into_iter().for_each(Server::serve);
        let worker = Worker::new(config);
        let workers = [Rc::new(worker.beside()), Rc::new(worker.beside())];
        let mut rng = fastrand::Rng::with_seed(7);
        let mut all = Vec::new();
        for _ in 0..600 {
            let (worker, mut random) = (rng.choice(&workers).expect("two").clone(), rng.fork());
            all.push(spawn_local(async move {
                let preferred = random.choice(addresses);
                let criteria = Criteria { preferred, ..Criteria::default() };
                let sent = worker.send_as(&criteria, get(), || None);
                let patience = random.u64(1..40);
                match random.u8(..4) {
                    0 => drop(timeout(Duration::from_millis(patience), sent).await), // not read to its end
                    1 => drop(sent.await.expect("an answer")),
                    _ => assert_eq!(text(sent.await).await, "ok"),
                }
            }));
            if rng.bool() {
                yield_now().await;
            }
        }
        for one in all {
            one.await.expect("it ends well");
        }
    });
}

#[test]
fn a_connection_that_is_closed_makes_room_for_one_of_another_worker() {
    on_worker(async {
        let server = Server::start().await;
        let worker = of_two(&[&server]);
        let other = worker.beside();
        let (first, _peer) = join!(worker.get(), server.answer(OK));
        let (second, _other_peer) = join!(other.get(), server.answer(OK));
        let mut third = Box::pin(worker.get());
        begin(&mut third).await;
        drop(second);
        let (sent, _peer) = join!(third, server.answer(OK));
        assert_eq!((text(sent).await, text(first).await), ("ok".to_owned(), "ok".to_owned()));
    });
}

#[test]
fn a_limit_that_is_raised_is_raised_for_those_who_wait_already() {
    on_worker(async {
        let server = Server::start().await;
        let worker = narrow(&server);
        let (first, _peer) = join!(worker.get(), server.answer(OK));
        let mut second = Box::pin(worker.get());
        begin(&mut second).await;
        let mut config = worker.cluster.config().clone();
        config.recovery.breakers.connections_per_endpoint = 2;
        let next = Arc::new(worker.cluster.successor(Arc::new(config)));
        let successor = worker.upstreams.successor(std::slice::from_ref(&next), |_| Default::default());
        begin(&mut second).await; // as long as that is not served
        successor.take_over();
        let (sent, _peer) = join!(second, server.answer(OK));
        assert_eq!((text(sent).await, text(first).await), ("ok".to_owned(), "ok".to_owned()));
    });
}

/// A worker that asks its endpoint which version of HTTP it speaks, and keeps no connection.
fn asking(server: &Server) -> Worker {
    let mut config = cluster_config([server.address()]);
    config.protocol = model::ClusterProtocol::Auto;
    config.idle_connections = 0;
    config.recovery.breakers.pending = 1;
    Worker::new(config)
}

#[test]
fn a_request_goes_out_on_the_connection_by_which_it_asked_for_the_version() {
    on_worker(async {
        let server = Server::start().await;
        let worker = asking(&server);
        for _ in 0..2 {
            let (sent, mut peer) = join!(worker.get(), server.answer(OK));
            assert!(!worker.reused());
            assert_eq!(text(sent).await, "ok");
            peer.closed().await;
        }
    });
}

#[test]
fn a_request_that_asks_for_the_version_is_one_that_waits() {
    on_worker(async {
        let server = Server::start().await;
        let worker = asking(&server);
        let mut first = Box::pin(worker.get());
        begin(&mut first).await;
        let second = worker.get().await;
        let refused = crate::telemetry::metrics::Limit::Pending;
        assert!(matches!(second, Err(UpstreamError::Overflow(limit)) if limit == refused), "{second:?}");
        let (sent, _peer) = join!(first, server.answer(OK));
        assert_eq!(text(sent).await, "ok");
    });
}

#[test]
fn who_comes_while_the_first_connection_is_replaced_waits_for_the_next() {
    on_worker(async {
        let server = Server::start().await;
        let mut config = cluster_config([server.address()]);
        config.protocol = model::ClusterProtocol::Auto;
        config.recovery.breakers.connections_per_endpoint = 1;
        let worker = Worker::new(config);
        let (first, mut peer) = join!(worker.get(), server.answer(OK));
        let mut second = Box::pin(worker.get());
        begin(&mut second).await;
        drop(first); // not read to its end: its connection is of no use
        peer.closed().await;
        let mut third = Box::pin(worker.get());
        begin(&mut third).await;
        let served = async {
            let mut peer = server.answer(OK).await;
            peer.answer(OK).await;
        };
        let ends = async {
            assert_eq!(text(second.await).await, "ok");
            assert_eq!(text(third.await).await, "ok");
        };
        join!(ends, served);
    });
}
