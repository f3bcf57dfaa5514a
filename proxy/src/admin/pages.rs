//! The pages: from a path to a response. No I/O.

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::{AdminState, Stage};
use crate::telemetry::metrics::Format;

const TEXT: &str = "text/plain; charset=utf-8";

const INDEX: &str = "\
tidegate

/metrics  metrics, for Prometheus
/ready    200 while traffic should be sent here, 503 with the reason otherwise
/live     200 while the process answers
/filters  what each filter costs, by callback, as JSON: tidegate top shows it
/config   the configuration in effect, as JSON
";

/// Answers a request. The body of an answer to HEAD is left out by hyper.
pub(super) fn respond(
    state: &AdminState,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Response<Full<Bytes>> {
    let known = matches!(path, "/" | "/metrics" | "/ready" | "/live" | "/filters" | "/config");
    if !known {
        return page(StatusCode::NOT_FOUND, TEXT, "no such page; / lists them\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "this listener is read-only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => metrics(state, headers),
        "/ready" => ready(state.readiness.stage()),
        "/live" => page(StatusCode::OK, TEXT, "live\n"),
        "/filters" => page(StatusCode::OK, "application/json", (state.filters)()),
        "/config" => page(StatusCode::OK, "application/json", (state.config)()),
        _ => page(StatusCode::OK, TEXT, INDEX),
    }
}

fn metrics(state: &AdminState, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::negotiate(&accept.collect::<Vec<_>>().join(","));
    match (state.metrics)(format) {
        Ok(text) => page(StatusCode::OK, format.content_type(), text),
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "a source of metrics failed\n"),
    }
}

fn ready(stage: Stage) -> Response<Full<Bytes>> {
    let status = match stage {
        Stage::Ready => StatusCode::OK,
        Stage::Starting | Stage::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    page(status, TEXT, format!("{}\n", stage.word()))
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
