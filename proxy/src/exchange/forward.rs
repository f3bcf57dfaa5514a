//! The request on its way to an upstream, and the head of the response that comes back.

use std::cell::Cell;
use std::pin::pin;

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Response};

use super::Exchange;
use super::answer::Ending;
use super::headers::{self, Wish};
use super::retry::{self, Attempts, Sending};
use super::ties::Ties;
use crate::config::model::{Forward, Route};
use crate::error::Failure;
use crate::route;
use crate::upstream::{RequestBody, ResponseBody};
use crate::wasm::stream::Progress;

impl Exchange {
    /// Sends the request to a cluster of the route, and waits for the response's head.
    pub(super) async fn forward(
        &mut self,
        route: &Route,
        forward: &Forward,
        body: RequestBody,
    ) -> Result<Box<Response<ResponseBody>>, Ending> {
        let target = self.target.ok_or(Failure::ClusterNotFound)?;
        let cluster = target.cluster;
        self.take_cluster(cluster);
        let site = self.site.clone();
        let trusted = site.listener().trusted_hops > 0;
        let policy = retry::policy(route, &self.run.stream().borrow().request.headers, trusted);
        let body = self.mirror(route, forward, body);
        let ties = {
            let made = site.upstreams().cluster(cluster).ok_or(Failure::ClusterNotFound)?;
            Ties::of(forward, target, made, &self.run.stream().borrow(), &self.peer)
        };
        let criteria = ties.criteria();
        // Of the one attempt, and of those that there are where there is a policy.
        let (attempt, attempts) = (Cell::default(), Attempts::default());
        let sent = {
            let make = |body| self.upstream_request(route, forward, body);
            let upstreams = site.upstreams();
            let sending = pin!(async {
                if let Some(policy) = &policy {
                    let (attempts, policy, tasks) = (&attempts, &**policy, site.tasks());
                    let sending = Sending { upstreams, tasks, cluster, criteria, policy, make, attempts };
                    return Box::pin(sending.run(body)).await;
                }
                let again = || make(RequestBody::Empty).ok();
                let sent = upstreams.send(cluster, &criteria, make(body)?, again, &attempt).await;
                sent.map_err(Ending::from_upstream)
            });
            self.watch.over(&self.run, pin!(self.run.interruptible(sending))).await
        };
        if sent.as_ref().is_err_and(Ending::is_of_slow_upstream) {
            match policy {
                Some(_) => attempts.note_timeout(site.upstreams(), cluster),
                None => site.upstreams().note_timeout(cluster, &attempt.get()),
            }
        }
        let (attempt, attempts) = match policy {
            Some(_) => (attempts.last(), attempts.count()),
            None => (attempt.get(), 1),
        };
        let mut stream = self.run.stream().borrow_mut();
        stream.info.upstream = attempt.endpoint;
        stream.info.upstream_local = attempt.local;
        self.report.log(|entry| {
            entry.upstream = attempt.endpoint;
            entry.attempts = Some(attempts);
        });
        let response = sent?;
        ties.tie(attempt.endpoint, attempts > 1, &mut self.cookies);
        Ok(response)
    }

    fn take_cluster(&mut self, cluster: usize) {
        if let Some(route) = self.route {
            self.report.route(self.site.cell(route, Some(cluster)));
        }
        self.report.log(|entry| entry.cluster = Some(self.site.cluster_name(cluster)));
    }

    /// The request as it is sent: the head that came out of the chain, with what the route changes. The head itself is
    /// kept: guests may go on reading it, and it may have to be sent again.
    pub(super) fn upstream_request(
        &self,
        route: &Route,
        forward: &Forward,
        body: RequestBody,
    ) -> Result<Box<Request<RequestBody>>, Ending> {
        let mut request = Box::new(Request::new(body));
        let mut stream = self.run.stream().borrow_mut();
        stream.request_progress = Progress::Body;
        let head = &stream.request;
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = match &forward.path {
            None => head.uri.clone(),
            Some(rewrite) => route::rewrite_path(&head.uri, &route.matches.path, rewrite)
                .map_err(|error| Ending::failed(Failure::MalformedRequest, error.to_string()))?,
        };
        let headers = request.headers_mut();
        headers.clone_from(&head.headers);
        let known = &|operator: &_| self.known(&stream, operator);
        route.request_headers.apply(headers, known);
        if let Some(host) = forward.host.as_ref().and_then(|host| host.of(known)) {
            if !Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@')) {
                return Err(Ending::failed(Failure::MalformedRequest, "rewritten_host_is_none".to_owned()));
            }
            headers.insert(HOST, host);
        }
        retry::drop_wishes(headers);
        if let Some(deadline) = retry::deadline(route, &head.headers) {
            retry::tell_deadline(headers, deadline.saturating_sub(self.watch.beginning.elapsed()));
        }
        if !self.run.is_empty() {
            headers::drop_hop_by_hop(headers); // a guest may have written some
        }
        if let Some(Wish { protocol, extended }) = &self.upgrade {
            headers::ask_upgrade(headers, protocol.clone());
            if *extended && protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
                headers::add_websocket_key(headers);
            }
        }
        Ok(request)
    }
}
