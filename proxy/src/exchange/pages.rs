//! Pages for errors: what a listener says in the place of an error's own words.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST, HeaderMap, LAST_MODIFIED,
};
use http::{HeaderName, StatusCode};

use super::Exchange;
use super::answer::{Answer, Ending};
use crate::config::model::{ErrorPage, Escape, Operator, RequestField};
use crate::error::Failure;
use crate::grpc::is_call;
use crate::telemetry::timestamp;
use crate::wasm::stream::RequestHead;

/// What speaks of a body that is not sent.
const OF_THE_BODY: [HeaderName; 10] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_DISPOSITION,
    ACCEPT_RANGES,
    ETAG,
    LAST_MODIFIED,
];

impl Exchange {
    /// Says it in the listener's words, where it has some for this answer.
    pub(super) fn write_page(&self, answer: &mut Answer) {
        if let Some(page) = self.page(answer.status, answer.failure, false) {
            self.fill(page, answer);
        }
    }

    /// What the client gets in the place of an upstream's response, if it is to get something else.
    pub(super) fn replace(&self, status: StatusCode, headers: &HeaderMap) -> Option<Ending> {
        let page = self.page(status, None, true)?;
        let mut answer = Answer::replacing(status, headers.clone());
        self.fill(page, &mut answer);
        Some(Ending::Answer(Box::new(answer)))
    }

    fn page(&self, status: StatusCode, failure: Option<Failure>, of_upstream: bool) -> Option<&ErrorPage> {
        let pages = &self.site.listener().error_pages;
        let page = pages.iter().find(|page| page.is_for(status, failure, of_upstream))?;
        // Its clients read a status that is in a header.
        (!is_call(&self.run.stream().borrow().request.headers)).then_some(page)
    }

    fn fill(&self, page: &ErrorPage, answer: &mut Answer) {
        let status = page.status.unwrap_or(answer.status);
        if let Some(content) = &page.content {
            let escape = Escape::of(content.content_type.to_str().unwrap_or_default());
            let body = content.body.render(escape, |operator| self.value(operator, status, answer));
            answer.body = Bytes::from(body);
            OF_THE_BODY.iter().for_each(|name| drop(answer.headers.remove(name)));
            answer.headers.insert(CONTENT_TYPE, content.content_type.clone());
        }
        answer.status = status;
        for (name, value) in &page.headers {
            answer.headers.insert(name, value.clone());
        }
    }

    /// What is known of the exchange.
    fn value(&self, operator: &Operator, status: StatusCode, answer: &Answer) -> Option<Cow<'static, str>> {
        let stream = self.run.stream().borrow();
        let (request, info) = (&stream.request, &stream.info);
        let field = |field: &RequestField| said(request, field);
        Some(match operator {
            Operator::ResponseCode => status.as_str().to_owned().into(),
            Operator::ResponseCodeDetails => answer.details.clone().into(),
            Operator::ResponseFlags => answer.failure.map_or("-", Failure::flag).into(),
            Operator::Outcome => answer.failure.map_or("ok", Failure::reason).into(),
            Operator::LocalReplyBody => String::from_utf8_lossy(&answer.body).into_owned().into(),
            Operator::Request(name, other) => field(name).or_else(|| field(other.as_ref()?))?.into(),
            Operator::Protocol => info.protocol.into(),
            Operator::ClientAddress { port: true } => info.source.to_string().into(),
            Operator::ClientAddress { port: false } => info.source.ip().to_string().into(),
            Operator::RouteName => info.route_name.as_ref()?.to_string().into(),
            Operator::Cluster => info.cluster_name.as_ref()?.to_string().into(),
            Operator::StartTime => timestamp(SystemTime::now()).to_string().into(),
        })
    }
}

/// What a request says in a field.
fn said(request: &RequestHead, field: &RequestField) -> Option<String> {
    let value = match field {
        RequestField::Method => return Some(request.method.to_string()),
        RequestField::Path => return Some(request.uri.to_string()),
        RequestField::Scheme => &request.scheme,
        RequestField::Authority => request.headers.get(HOST)?,
        RequestField::Named(name) => request.headers.get(name)?,
    };
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
