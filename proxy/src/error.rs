//! Why an exchange failed, in the words of whoever operates the proxy.
//!
//! It owns the one table from a failure to the client's status and text, the side at fault, and the words for metrics
//! and logs. It knows no I/O and answers nothing: `exchange` is the one place where a failure becomes a response.

use http::StatusCode;

/// Which side caused a failure, so that the right people look into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The client, or its network.
    Downstream,
    /// The service behind the proxy, or its network.
    Upstream,
    /// A filter of the chain.
    Filter,
    /// This proxy: its state or its configuration.
    Proxy,
}

impl Party {
    /// Its fixed word, for logs.
    pub fn word(self) -> &'static str {
        match self {
            Party::Downstream => "downstream",
            Party::Upstream => "upstream",
            Party::Filter => "filter",
            Party::Proxy => "proxy",
        }
    }
}

/// Writes the enum and the list of its variants from one source, so that no variant can lack its counter.
macro_rules! failures {
    ($(#[$outer:meta])* pub enum Failure { $($(#[$inner:meta])* $name:ident,)+ }) => {
        $(#[$outer])*
        pub enum Failure { $($(#[$inner])* $name,)+ }

        impl Failure {
            /// Every failure, in the order of its discriminant: `Failure::ALL[f.index()] == f`.
            pub const ALL: &[Failure] = &[$(Failure::$name),+];
        }
    };
}

failures! {
    /// Why an exchange was not what the client and the upstream meant it to be.
    ///
    /// `Display` is the message for the log; what the client may read is [`Failure::client_text`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
    pub enum Failure {
        /// The request's head is not HTTP.
        #[error("the request is malformed")]
        MalformedRequest,
        /// The request's path can be read in more than one way: the listener's `path_normalization` has no form for it.
        #[error("the request's path is ambiguous")]
        AmbiguousPath,
        /// The request's line and headers are larger, or more, than the listener allows.
        #[error("the request's head is larger than the listener allows")]
        RequestHeadTooLarge,
        /// The request's target is longer than the HTTP library takes.
        #[error("the request's target is too long")]
        UriTooLong,
        /// A request's head began and did not end in time.
        #[error("the request's head did not arrive in time")]
        RequestHeadTimeout,
        /// A method, a transfer coding or an upgrade that the proxy does not carry.
        #[error("the request asks for what this proxy does not implement")]
        Unsupported,
        /// The client changes to HTTP/2 on a connection that it began in HTTP/1.1, or speaks a version that nobody knows.
        #[error("the request's version of HTTP is not supported")]
        UnsupportedVersion,
        /// A connection to a listener with `proxy_protocol` does not begin with a valid header of that protocol.
        #[error("the connection does not say by the PROXY protocol whose it is")]
        NotIntroduced,
        /// A client says something else first than TLS does, on a listener that speaks nothing but TLS.
        #[error("the client does not speak TLS")]
        NotTls,
        /// A TLS handshake was not over within the listener's `handshake_timeout`.
        #[error("the TLS handshake took too long")]
        TlsTimeout,
        /// A client has no version of TLS, no cipher, or no protocol (ALPN) in common with the listener.
        #[error("the client and the listener have no version, cipher or protocol in common")]
        TlsIncompatible,
        /// A client ended the TLS handshake: most often it does not believe the certificate.
        #[error("the client refused the TLS handshake")]
        TlsRejected,
        /// A client has no certificate, or none that the listener's `client_ca` vouches for.
        #[error("the client's certificate is missing or not trusted")]
        TlsClientNotTrusted,
        /// A TLS handshake was cut, or broke the protocol's rules.
        #[error("the TLS handshake failed")]
        TlsFailed,
        /// A client's HTTP/2 connection breaks the protocol's rules.
        #[error("the client breaks the rules of HTTP/2")]
        Http2Protocol,
        /// A client sends more HTTP/2 frames that only cost than any client needs, or takes its requests back at once.
        #[error("the client sends more HTTP/2 frames than it has use for")]
        Http2Flood,
        /// The proxy itself has more to do than `overload` lets it. What there was too much of goes into the details.
        #[error("the proxy has more to do than its configuration lets it")]
        Overloaded,
        /// No route of the listener matches.
        #[error("no route matches")]
        NoRoute,
        /// The header field that names the route's cluster is missing, or names none that it may.
        #[error("the request names no cluster that the route allows")]
        ClusterNotFound,
        /// The cluster has no endpoint to send to.
        #[error("the cluster has no endpoint")]
        NoEndpoint,
        /// As many requests or connections of the cluster are in use as its `breakers` allow.
        #[error("the cluster is as busy as its breakers allow")]
        UpstreamOverflow,
        /// As many requests of the cluster are in flight as its `adaptive_concurrency` has found that it can do.
        #[error("the cluster has as many requests as it was found to be able to do")]
        UpstreamConcurrency,
        /// An endpoint refused the connection or could not be reached.
        #[error("no connection to the endpoint")]
        ConnectFailed,
        /// An endpoint did not take the connection within the cluster's `connect_timeout`.
        #[error("the connection to the endpoint took too long")]
        ConnectTimeout,
        /// The TLS handshake with an endpoint failed: it is not who it has to be, or there is no agreement with it.
        #[error("the TLS handshake with the endpoint failed")]
        UpstreamTlsFailed,
        /// The upstream closed or reset the connection before a whole response head, or reset a TCP connection.
        #[error("the upstream closed the connection before its response, or reset it")]
        UpstreamReset,
        /// The upstream's response head is not HTTP.
        #[error("the upstream's response is malformed")]
        UpstreamMalformed,
        /// The upstream's response head is larger than the cluster's `header_bytes`.
        #[error("the upstream's response head is larger than the cluster allows")]
        UpstreamHeadTooLarge,
        /// The upstream's response body ended before its framing said so. The head was sent by then.
        #[error("the upstream cut its response body")]
        UpstreamBodyCut,
        /// No response, or not the whole of it, within the route's `timeout`.
        #[error("the upstream did not answer within the route's timeout")]
        UpstreamTimeout,
        /// The exchange was not over within the route's `max_duration`.
        #[error("the exchange took longer than the route's max_duration")]
        DurationExceeded,
        /// The client neither sent nor took a byte for the listener's `stream_idle_timeout`.
        #[error("the client moved no byte within the stream's idle timeout")]
        RequestIdle,
        /// The upstream neither sent nor took a byte for the listener's `stream_idle_timeout`.
        #[error("the upstream moved no byte within the stream's idle timeout")]
        ResponseIdle,
        /// A TCP connection moved no byte for the listener's `idle_timeout`, either way, or a tunnel for its route's.
        #[error("the connection moved no byte within its idle timeout")]
        ConnectionIdle,
        /// A filter waits for more of the request's body than `buffer_limit` lets it hold.
        #[error("a filter needs more of the request body than may be held")]
        RequestTooLarge,
        /// A filter waits for more of the response's body than `buffer_limit` lets it hold.
        #[error("a filter needs more of the response body than may be held")]
        ResponseTooLarge,
        /// The client closed the connection within the request's body.
        #[error("the client cut its request body")]
        RequestBodyCut,
        /// The request's body is not framed as HTTP frames it.
        #[error("the request's body is malformed")]
        RequestBodyMalformed,
        /// The client went away before it had the whole response, or reset a TCP connection.
        #[error("the client left before the response ended, or reset its connection")]
        ClientLeft,
        /// A filter failed and its policy is `on_fault: closed`. The kind of fault goes into the details.
        #[error("a filter failed")]
        FilterFault,
        /// A filter had run more instructions than `limits.instructions_per_second` allows when the exchange began, and
        /// its policy is `on_rate_exceeded: closed`.
        #[error("a filter was over its rate of instructions")]
        FilterOverRate,
        /// A filter answered, and its `capabilities` do not let it.
        #[error("a filter answered though its capabilities do not grant that")]
        ReplyNotGranted,
        /// A filter closed the stream.
        #[error("a filter closed the stream")]
        FilterClosed,
        /// The exchange had not ended within `drain_timeout`.
        #[error("the proxy was shutting down and the drain's time was over")]
        Draining,
        /// The upstream agreed to an upgrade and the tunnel could not be made, or it speaks HTTP/2 and takes none.
        #[error("the upgraded connection could not be set up")]
        UpgradeFailed,
        /// The response cannot be sent as HTTP: its length contradicts its body or its status.
        #[error("the response cannot be framed")]
        Unframable,
    }
}

/// What a failure means to everybody concerned: a row of the table.
struct Facts {
    status: Option<u16>,
    at_fault: Party,
    reason: &'static str,
    flag: &'static str,
    client_text: &'static str,
}

/// Shortens the table's rows.
const fn row(
    status: Option<u16>,
    at_fault: Party,
    reason: &'static str,
    flag: &'static str,
    client_text: &'static str,
) -> Facts {
    Facts { status, at_fault, reason, flag, client_text }
}

impl Failure {
    /// The table. Flags are Envoy's (`%RESPONSE_FLAGS%` of its access log); `-` is where Envoy raises none.
    #[rustfmt::skip]
    const fn facts(self) -> Facts {
        use Failure::*;
        use Party::{Downstream, Filter, Proxy, Upstream};
        match self {
            MalformedRequest     => row(Some(400), Downstream, "malformed_request",       "DPE", "malformed request"),
            AmbiguousPath        => row(Some(400), Downstream, "ambiguous_path",          "-",   "ambiguous path"),
            RequestHeadTooLarge  => row(Some(431), Downstream, "request_head_too_large",  "DPE", "request headers too large"),
            UriTooLong           => row(Some(414), Downstream, "uri_too_long",            "DPE", "request target too long"),
            RequestHeadTimeout   => row(Some(408), Downstream, "request_head_timeout",    "-",   "request headers took too long"),
            Unsupported          => row(Some(501), Downstream, "unsupported",             "DPE", "not implemented"),
            UnsupportedVersion   => row(Some(505), Downstream, "unsupported_version",     "DPE", "HTTP version not supported"),
            NotIntroduced        => row(None,      Downstream, "not_introduced",          "-",   ""),
            NotTls               => row(None,      Downstream, "not_tls",                 "-",   ""),
            TlsTimeout           => row(None,      Downstream, "tls_timeout",             "-",   ""),
            TlsIncompatible      => row(None,      Downstream, "tls_incompatible",        "-",   ""),
            TlsRejected          => row(None,      Downstream, "tls_rejected",            "-",   ""),
            TlsClientNotTrusted  => row(None,      Downstream, "tls_client_not_trusted",  "-",   ""),
            TlsFailed            => row(None,      Downstream, "tls_failed",              "-",   ""),
            Http2Protocol        => row(None,      Downstream, "http2_protocol",          "DPE", ""),
            Http2Flood           => row(None,      Downstream, "http2_flood",             "DPE", ""),
            Overloaded           => row(Some(503), Proxy,      "overloaded",              "OM",  "overloaded"),
            NoRoute              => row(Some(404), Downstream, "no_route",                "NR",  "no route for this request"),
            ClusterNotFound      => row(Some(503), Proxy,      "cluster_not_found",       "NC",  "no cluster for this request"),
            NoEndpoint           => row(Some(503), Upstream,   "no_endpoint",             "UH",  "no healthy upstream"),
            UpstreamOverflow     => row(Some(503), Upstream,   "upstream_overflow",       "UO",  "upstream overloaded"),
            UpstreamConcurrency  => row(Some(503), Upstream,   "upstream_concurrency",    "-",   "upstream overloaded"),
            ConnectFailed        => row(Some(503), Upstream,   "connect_failed",          "UF",  "upstream connection failed"),
            ConnectTimeout       => row(Some(503), Upstream,   "connect_timeout",         "UF",  "upstream connection timed out"),
            UpstreamTlsFailed    => row(Some(503), Upstream,   "upstream_tls_failed",     "UF",  "upstream TLS handshake failed"),
            UpstreamReset        => row(Some(502), Upstream,   "upstream_reset",          "UC",  "upstream closed the connection"),
            UpstreamMalformed    => row(Some(502), Upstream,   "upstream_malformed",      "UPE", "upstream sent an invalid response"),
            UpstreamHeadTooLarge => row(Some(502), Upstream,   "upstream_head_too_large", "UPE", "upstream response headers too large"),
            UpstreamBodyCut      => row(None,      Upstream,   "upstream_body_cut",       "UC",  ""),
            UpstreamTimeout      => row(Some(504), Upstream,   "upstream_timeout",        "UT",  "upstream request timeout"),
            DurationExceeded     => row(Some(504), Proxy,      "duration_exceeded",       "DT",  "the exchange took too long"),
            RequestIdle          => row(Some(408), Downstream, "request_idle",            "SI",  "request idle for too long"),
            ResponseIdle         => row(Some(504), Upstream,   "response_idle",           "SI",  "upstream idle for too long"),
            ConnectionIdle       => row(None,      Downstream, "connection_idle",         "-",   ""),
            RequestTooLarge      => row(Some(413), Downstream, "request_too_large",       "-",   "request body too large"),
            ResponseTooLarge     => row(Some(500), Upstream,   "response_too_large",      "-",   "response body too large"),
            RequestBodyCut       => row(None,      Downstream, "request_body_cut",        "DC",  ""),
            RequestBodyMalformed => row(Some(400), Downstream, "request_body_malformed",  "DPE", "malformed request body"),
            ClientLeft           => row(None,      Downstream, "client_left",             "DC",  ""),
            FilterFault          => row(Some(503), Filter,     "filter_fault",            "-",   "a filter failed"),
            FilterOverRate       => row(Some(503), Filter,     "filter_over_rate",        "-",   "a filter is over its rate"),
            ReplyNotGranted      => row(Some(503), Filter,     "reply_not_granted",       "-",   "a filter failed"),
            FilterClosed         => row(None,      Filter,     "filter_closed",           "LR",  ""),
            Draining             => row(None,      Proxy,      "draining",                "-",   ""),
            UpgradeFailed        => row(Some(502), Upstream,   "upgrade_failed",          "UPE", "upgrade failed"),
            Unframable           => row(Some(502), Upstream,   "unframable",              "UPE", "response cannot be sent"),
        }
    }

    /// The status to answer with while no response head has been sent. `None`, and any failure after the head:
    /// cut the connection, so that the client cannot take what it has for the whole.
    pub fn status(self) -> Option<StatusCode> {
        self.facts().status.and_then(|code| StatusCode::from_u16(code).ok())
    }

    /// Who caused it.
    pub fn at_fault(self) -> Party {
        self.facts().at_fault
    }

    /// Its fixed word for metrics, logs and admin: snake_case, never changed once released.
    pub fn reason(self) -> &'static str {
        self.facts().reason
    }

    /// Envoy's response flag for it, for tools that read Envoy's access logs; `-` where Envoy has none.
    pub fn flag(self) -> &'static str {
        self.facts().flag
    }

    /// What the client may read: short, and nothing of the inside. Empty where nothing is sent.
    pub fn client_text(self) -> &'static str {
        self.facts().client_text
    }

    /// Its place in [`Failure::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The first digit of the status that a client was sent, if one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// No response head was sent.
    NoResponse,
    /// 1xx: an upgrade.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx, and anything from 600 on.
    ServerError,
}

impl StatusClass {
    /// Every class, in the order of its discriminant.
    pub const ALL: [StatusClass; 6] = [
        StatusClass::NoResponse,
        StatusClass::Informational,
        StatusClass::Success,
        StatusClass::Redirection,
        StatusClass::ClientError,
        StatusClass::ServerError,
    ];

    /// The class of a status.
    pub fn of(status: Option<StatusCode>) -> StatusClass {
        match status.map(|status| status.as_u16()) {
            None => StatusClass::NoResponse,
            Some(..200) => StatusClass::Informational,
            Some(200..300) => StatusClass::Success,
            Some(300..400) => StatusClass::Redirection,
            Some(400..500) => StatusClass::ClientError,
            Some(500..) => StatusClass::ServerError,
        }
    }

    /// Its word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            StatusClass::NoResponse => "none",
            StatusClass::Informational => "1xx",
            StatusClass::Success => "2xx",
            StatusClass::Redirection => "3xx",
            StatusClass::ClientError => "4xx",
            StatusClass::ServerError => "5xx",
        }
    }

    /// Its place in [`StatusClass::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How an exchange ended: what metrics tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What the client was sent.
    pub class: StatusClass,
    /// What went wrong, if anything: a response of any status that went through whole is no failure, whether the
    /// upstream, a filter or a route gave it.
    pub failure: Option<Failure>,
}

impl Outcome {
    /// `ok`, or the failure's reason.
    pub fn word(self) -> &'static str {
        self.failure.map_or("ok", Failure::reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_failure_has_a_reason_of_its_own() {
        let reasons: HashSet<_> = Failure::ALL.iter().map(|failure| failure.reason()).collect();
        assert_eq!(reasons.len(), Failure::ALL.len());
        for reason in reasons {
            assert!(
                reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{reason}"
            );
        }
    }

    #[test]
    fn an_index_leads_back_to_its_failure() {
        for (place, failure) in Failure::ALL.iter().enumerate() {
            assert_eq!(failure.index(), place);
        }
        for (place, class) in StatusClass::ALL.iter().enumerate() {
            assert_eq!(class.index(), place);
        }
    }

    #[test]
    fn a_failure_has_a_text_exactly_where_it_has_a_status() {
        for failure in Failure::ALL {
            assert_eq!(failure.status().is_some(), !failure.client_text().is_empty(), "{failure:?}");
        }
    }

    #[test]
    fn statuses_fall_into_their_class() {
        let class = |code| StatusClass::of(StatusCode::from_u16(code).ok()).word();
        assert_eq!([101, 200, 302, 499, 503].map(class), ["1xx", "2xx", "3xx", "4xx", "5xx"]);
        assert_eq!(StatusClass::of(None).word(), "none");
        assert_eq!(class(999), "5xx");
    }
}
