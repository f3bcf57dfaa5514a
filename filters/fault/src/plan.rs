//! Which faults one request gets. Knows no host: it asks for headers and for throws of the dice.

use std::time::Duration;

use crate::config::{ABORT_BODY, Abort, Config, LONGEST_DELAY, Match, Percent};

/// How finely percentages are drawn: all requests are so many parts.
pub(crate) const PARTS: u32 = Percent::ALL.0;

/// The faults of one request: at least one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Abort>,
    /// Bytes a second.
    pub(crate) rate: Option<u64>,
}

impl Config {
    /// `header` gives a request header's first value, `throw` a number below [`PARTS`], evenly spread.
    ///
    /// The dice are thrown before anything is read, so that a request without a fault costs next to nothing.
    pub(crate) fn plan(
        &self,
        header: impl Fn(&str) -> Option<String>,
        throw: impl FnMut() -> u32,
    ) -> Option<Plan> {
        let mut draw = Draw { header: &header, headers_allowed: self.allow_headers, throw };

        let asked = draw.number("x-envoy-fault-throughput-response").filter(|kib| *kib > 0);
        let configured = self.rate_limit.as_ref().map(|limit| (limit.percent, limit.bytes_per_second()));
        let rate = draw.one(
            asked.map(|kib| kib.saturating_mul(1024)),
            "x-envoy-fault-throughput-response-percentage",
            configured,
        );

        let asked = draw.number("x-envoy-fault-delay-request").map(Duration::from_millis);
        let configured = self.delay.as_ref().map(|delay| (delay.percent, delay.fixed));
        let delay = draw.one(asked, "x-envoy-fault-delay-request-percentage", configured);
        let delay = delay.map(|delay| delay.min(LONGEST_DELAY)).filter(|delay| !delay.is_zero());

        let asked = draw.number("x-envoy-fault-abort-request").filter(|status| (200..600).contains(status));
        let asked = asked.map(|status| Abort::Status { status: status as u16, body: ABORT_BODY.into() });
        let configured = self.abort.as_ref().map(|abort| (abort.percent, abort.abort.clone()));
        let abort = draw.one(asked, "x-envoy-fault-abort-request-percentage", configured);

        let plan = Plan { delay, abort, rate };
        (plan.is_something() && self.matches.accepts(&header)).then_some(plan)
    }
}

impl Plan {
    fn is_something(&self) -> bool {
        self.delay.is_some() || self.abort.is_some() || self.rate.is_some()
    }
}

impl Match {
    fn accepts(&self, header: impl Fn(&str) -> Option<String>) -> bool {
        let headers = || self.headers.iter().all(|(name, rule)| rule.accepts(header(name).as_deref()));
        let cookies = || {
            let cookies = header("cookie").unwrap_or_default();
            let mut rules = self.cookies.iter();
            rules.all(|(name, rule)| rule.accepts(tidegate_sdk::find_cookie(&cookies, name)))
        };
        headers() && (self.cookies.is_empty() || cookies())
    }
}

/// Draws the faults of one request.
struct Draw<'a, H, T> {
    header: &'a H,
    headers_allowed: bool,
    throw: T,
}

impl<H: Fn(&str) -> Option<String>, T: FnMut() -> u32> Draw<'_, H, T> {
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
        // No throw for a certainty.
        (percent == Percent::ALL || (self.throw)() < percent.0).then_some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    /// What a request with these headers gets when the dice show `throw`.
    fn plan(config: &Config, headers: &[(&str, &str)], throw: u32) -> Option<Plan> {
        let header =
            |name: &str| headers.iter().find(|(k, _)| *k == name).map(|(_, value)| (*value).to_owned());
        config.plan(header, || throw)
    }

    fn aborted(status: u16) -> Option<Plan> {
        let abort = Abort::Status { status, body: ABORT_BODY.into() };
        Some(Plan { delay: None, abort: Some(abort), rate: None })
    }

    #[test]
    fn the_percentage_is_kept_to_its_fractions() {
        let config = config(r#"{"abort": {"status": 503, "percent": 0.5}}"#);
        assert_eq!(plan(&config, &[], 4_999), aborted(503));
        assert_eq!(plan(&config, &[], 5_000), None);
    }

    #[test]
    fn a_request_without_a_fault_reads_no_header() {
        let config = config(
            r#"{"abort": {"status": 503, "percent": 1}, "match": {"headers": {"a": {"present": true}}}}"#,
        );
        let plan = config.plan(|name| panic!("{name} was read"), || 999_999);
        assert_eq!(plan, None);
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
        let plan = plan(&config(r#"{"allow_headers": true}"#), &headers, 999_999).unwrap();
        assert_eq!(plan.abort, Some(Abort::Status { status: 418, body: ABORT_BODY.into() }));
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
    fn rates_are_kilobits_in_the_file_and_kibibytes_in_the_header() {
        let config = config(r#"{"rate_limit": {"kbps": 64}, "allow_headers": true}"#);
        assert_eq!(plan(&config, &[], 0).unwrap().rate, Some(8_000));
        assert_eq!(
            plan(&config, &[("x-envoy-fault-throughput-response", "64")], 0).unwrap().rate,
            Some(65_536)
        );
    }

    #[test]
    fn what_a_client_asks_for_has_bounds() {
        let config = config(r#"{"allow_headers": true}"#);
        let delay = |ms| plan(&config, &[("x-envoy-fault-delay-request", ms)], 0).map(|plan| plan.delay);
        assert_eq!(delay("3600001"), Some(Some(LONGEST_DELAY)));
        assert_eq!(delay("0"), None, "nothing to wait for");
        assert_eq!(
            plan(&config, &[("x-envoy-fault-throughput-response", "0")], 0),
            None,
            "it would never end"
        );
    }
}
