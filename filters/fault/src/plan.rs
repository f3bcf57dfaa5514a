//! Which faults one request gets. Knows no host: it asks for headers and for throws of the dice.

use std::time::Duration;

use vocabulary::Percent;

use crate::config::{Abort, Config, CorruptConfig, Delay, TruncateConfig};

/// The faults of one request: at least one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan<'a> {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Abort>,
    /// Bytes a second.
    pub(crate) rate: Option<u64>,
    pub(crate) truncate: Option<&'a TruncateConfig>,
    pub(crate) corrupt: Option<&'a CorruptConfig>,
}

/// What the configuration looks at in a request.
pub(crate) trait Facts: vocabulary::Facts + expression::Facts {}

impl<F: vocabulary::Facts + expression::Facts> Facts for F {}

impl Config {
    /// `throw` gives a number below [`Percent::PARTS`], evenly spread.
    ///
    /// The dice are thrown before anything is read, so that a request without a fault costs next to nothing.
    pub(crate) fn plan(&self, request: &impl Facts, throw: impl FnMut() -> u32) -> Option<Plan<'_>> {
        let header = |name: &str| vocabulary::Facts::header(request, name);
        let mut draw = Draw { header, headers_allowed: self.allow_headers, throw };
        let plan = Plan {
            rate: draw.rate(self),
            delay: draw.delay(self),
            abort: draw.abort(self),
            truncate: draw.configured(self.truncate.as_ref(), |truncate| truncate.percent),
            corrupt: draw.configured(self.corrupt.as_ref(), |corrupt| corrupt.percent),
        };
        let is_meant = || self.when.as_ref().is_none_or(|when| when.evaluate(request) == Some(true));
        (plan.is_something() && self.matches.accepts(request) && is_meant()).then_some(plan)
    }
}

impl Plan<'_> {
    fn is_something(&self) -> bool {
        let Plan { delay, abort, rate, truncate, corrupt } = self;
        delay.is_some() || abort.is_some() || rate.is_some() || truncate.is_some() || corrupt.is_some()
    }
}

/// Draws the faults of one request.
struct Draw<H, T> {
    header: H,
    headers_allowed: bool,
    throw: T,
}

impl<H: Fn(&str) -> Option<String>, T: FnMut() -> u32> Draw<H, T> {
    fn rate(&mut self, config: &Config) -> Option<u64> {
        let asked = self.number("x-envoy-fault-throughput-response").filter(|kib| *kib > 0);
        let configured = config.rate_limit.as_ref().map(|limit| (limit.percent, limit.bytes_per_second));
        let asked = asked.map(|kib| kib.saturating_mul(1024));
        self.one(asked, "x-envoy-fault-throughput-response-percentage", configured)
    }

    fn delay(&mut self, config: &Config) -> Option<Duration> {
        let asked = self.number("x-envoy-fault-delay-request");
        let asked = asked.map(|ms| Delay::new(Duration::from_millis(ms)).duration());
        let configured = config.delay.as_ref().map(|delay| (delay.percent, delay.duration()));
        let delay = self.one(asked, "x-envoy-fault-delay-request-percentage", configured);
        delay.filter(|delay| !delay.is_zero())
    }

    /// As in Envoy, a status that a header asks for comes before a gRPC status, and both have one percentage.
    fn abort(&mut self, config: &Config) -> Option<Abort> {
        let asked = self.number("x-envoy-fault-abort-request").and_then(Abort::with_status);
        let in_grpc = || self.number("x-envoy-fault-abort-grpc-request").and_then(Abort::with_grpc_status);
        let asked = asked.or_else(in_grpc);
        let configured = config.abort.as_ref().map(|abort| (abort.percent, abort.abort.clone()));
        self.one(asked, "x-envoy-fault-abort-request-percentage", configured)
    }

    /// What the client asks for by a header, if it may; what does not read as a number is as good as absent.
    fn number(&self, name: &str) -> Option<u64> {
        let text = if self.headers_allowed { (self.header)(name)? } else { return None };
        text.trim().parse().ok()
    }

    /// One kind of fault, if this request is to get it: as the client asks, else as configured. The client can lower
    /// the percentage that the operator set, not raise it.
    fn one<F>(&mut self, asked: Option<F>, percentage: &str, configured: Option<(Percent, F)>) -> Option<F> {
        let (percent, fault) = match (asked, configured) {
            (None, configured) => configured?,
            (Some(asked), configured) => {
                let most = configured.map_or(Percent::ALL, |(percent, _)| percent);
                let percent = self.number(percentage).map(Percent::whole);
                (percent.map_or(most, |percent| percent.min(most)), asked)
            }
        };
        percent.includes(&mut self.throw).then_some(fault)
    }

    /// One kind of fault that no header asks for.
    fn configured<F>(&mut self, fault: Option<F>, percent: impl FnOnce(&F) -> Percent) -> Option<F> {
        fault.filter(|fault| percent(fault).includes(&mut self.throw))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::ABORT_BODY;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    struct Request<'a>(&'a [(&'a str, &'a str)]);

    impl vocabulary::Facts for Request<'_> {
        fn header(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
        }

        fn client(&self) -> Option<IpAddr> {
            None
        }

        fn cluster(&self) -> Option<String> {
            Some("api".to_owned())
        }
    }

    impl expression::Facts for Request<'_> {
        fn headers(&self) -> Vec<(String, Vec<u8>)> {
            self.0.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
        }

        fn address(&self) -> Option<String> {
            None
        }

        fn principal(&self) -> Option<String> {
            None
        }
    }

    /// What a request with these headers gets when the dice show `throw`.
    fn plan<'c>(config: &'c Config, headers: &[(&str, &str)], throw: u32) -> Option<Plan<'c>> {
        config.plan(&Request(headers), || throw)
    }

    fn answer(status: u16, grpc_status: Option<u8>) -> Abort {
        Abort::Answer { status, grpc_status, body: ABORT_BODY.into() }
    }

    fn aborted(status: u16) -> Option<Plan<'static>> {
        Some(Plan { abort: Some(answer(status, None)), ..Plan::default() })
    }

    #[test]
    fn the_percentage_is_kept_to_its_fractions() {
        let config = config(r#"{"abort": {"status": 503, "percent": 0.5}}"#);
        assert_eq!(plan(&config, &[], 4_999), aborted(503));
        assert_eq!(plan(&config, &[], 5_000), None);
    }

    /// A request that nobody looks at.
    struct Unread;

    impl vocabulary::Facts for Unread {
        fn header(&self, name: &str) -> Option<String> {
            panic!("{name} was read")
        }

        fn client(&self) -> Option<IpAddr> {
            panic!("the address was read")
        }

        fn cluster(&self) -> Option<String> {
            panic!("the cluster was read")
        }
    }

    impl expression::Facts for Unread {
        fn headers(&self) -> Vec<(String, Vec<u8>)> {
            panic!("the headers were read")
        }

        fn address(&self) -> Option<String> {
            panic!("the address was read")
        }

        fn principal(&self) -> Option<String> {
            panic!("the principal was read")
        }
    }

    #[test]
    fn a_request_without_a_fault_reads_no_header() {
        let config = config(
            r#"{"abort": {"status": 503, "percent": 1}, "match": {"headers": {"a": {"present": true}}},
                "when": "request.method == \"GET\""}"#,
        );
        assert_eq!(config.plan(&Unread, || 999_999), None);
    }

    #[test]
    fn headers_and_cookies_must_all_match() {
        let config = config(
            r#"{"abort": {"status": 503}, "match": {"headers": {"x-user": {"prefix": "an"}, "x-not": {"present": false}},
                "cookies": {"beta": {"exact": "1"}}}}"#,
        );
        assert_eq!(plan(&config, &[("x-user", "ann"), ("cookie", "a=b; beta=1")], 0), aborted(503));
        assert_eq!(plan(&config, &[("x-user", "bob"), ("cookie", "beta=1")], 0), None);
        assert_eq!(plan(&config, &[("x-user", "ann"), ("cookie", "beta=12")], 0), None);
        assert_eq!(plan(&config, &[("x-user", "ann"), ("x-not", ""), ("cookie", "beta=1")], 0), None);
        assert_eq!(plan(&config, &[("x-user", "ann")], 0), None);
    }

    #[test]
    fn clients_choose_faults_only_where_that_is_allowed() {
        let headers = [("x-envoy-fault-abort-request", "418"), ("x-envoy-fault-delay-request", "20")];
        assert_eq!(plan(&config("{}"), &headers, 0), None);
        let config = config(r#"{"allow_headers": true}"#);
        let plan = plan(&config, &headers, 999_999).unwrap();
        assert_eq!(plan.abort, Some(answer(418, None)));
        assert_eq!(plan.delay, Some(Duration::from_millis(20)));
    }

    #[test]
    fn a_percentage_header_only_lowers_what_the_operator_set() {
        let config = config(r#"{"abort": {"status": 503, "percent": 50}, "allow_headers": true}"#);
        let asked = |percentage| {
            [("x-envoy-fault-abort-request", "418"), ("x-envoy-fault-abort-request-percentage", percentage)]
        };
        assert_eq!(plan(&config, &asked("100"), 499_999), aborted(418));
        assert_eq!(plan(&config, &asked("100"), 500_000), None);
        assert_eq!(plan(&config, &asked("10"), 99_999), aborted(418));
        assert_eq!(plan(&config, &asked("10"), 100_000), None);
        assert_eq!(plan(&config, &asked("many"), 499_999), aborted(418));
    }

    #[test]
    fn a_header_that_makes_no_sense_is_as_good_as_absent() {
        let config = config(r#"{"abort": {"status": 503}, "allow_headers": true}"#);
        for status in ["199", "600", "-1", "", "x"] {
            assert_eq!(
                plan(&config, &[("x-envoy-fault-abort-request", status)], 0),
                aborted(503),
                "{status}"
            );
        }
    }

    #[test]
    fn a_client_asks_for_a_grpc_status_and_for_a_status_before_it() {
        let config = config(r#"{"allow_headers": true}"#);
        let asked =
            [("x-envoy-fault-abort-grpc-request", "5"), ("x-envoy-fault-abort-request-percentage", "10")];
        assert_eq!(plan(&config, &asked, 99_999).unwrap().abort, Some(answer(404, Some(5))));
        assert_eq!(plan(&config, &asked, 100_000), None);
        let both = [("x-envoy-fault-abort-grpc-request", "5"), ("x-envoy-fault-abort-request", "418")];
        assert_eq!(plan(&config, &both, 0), aborted(418));
        assert_eq!(plan(&config, &[("x-envoy-fault-abort-grpc-request", "17")], 0), None);
    }

    #[test]
    fn an_expression_decides_and_one_that_fails_says_no() {
        let config =
            config(r#"{"abort": {"status": 503}, "when": "request.headers[\"x-size\"].size() > 2"}"#);
        assert_eq!(plan(&config, &[("x-size", "123")], 0), aborted(503));
        assert_eq!(plan(&config, &[("x-size", "12")], 0), None);
        assert_eq!(plan(&config, &[], 0), None);
    }

    #[test]
    fn faults_of_the_response_are_drawn_each_for_itself() {
        let config = config(
            r#"{"truncate": {"after": 5, "percent": 10}, "corrupt": {"bytes": 1, "percent": 20},
                "match": {"cluster": {"exact": "api"}}}"#,
        );
        let of = |throw| {
            let plan = plan(&config, &[], throw);
            plan.map(|plan| (plan.truncate.is_some(), plan.corrupt.is_some()))
        };
        assert_eq!([of(99_999), of(199_999), of(200_000)], [Some((true, true)), Some((false, true)), None]);
    }

    #[test]
    fn rates_are_kibibytes_in_the_file_and_in_the_header() {
        let config = config(r#"{"rate_limit": {"limit_kbps": 64}, "allow_headers": true}"#);
        for headers in [&[][..], &[("x-envoy-fault-throughput-response", "64")]] {
            assert_eq!(plan(&config, headers, 0).unwrap().rate, Some(65_536));
        }
    }

    #[test]
    fn what_a_client_asks_for_has_bounds() {
        let config = config(r#"{"allow_headers": true}"#);
        let delay = |ms| plan(&config, &[("x-envoy-fault-delay-request", ms)], 0).map(|plan| plan.delay);
        assert_eq!(delay("3600001"), Some(Some(Delay::LONGEST)));
        assert_eq!(delay("0"), None, "nothing to wait for");
        let rate = [("x-envoy-fault-throughput-response", "0")];
        assert_eq!(plan(&config, &rate, 0), None, "it would never end");
    }
}
