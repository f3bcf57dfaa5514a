//! Which requests a rule is for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::name::{HeaderName, Token};
use crate::network::Network;
use crate::value::Value;

/// What a rule looks at. Everything that is given must hold; nothing given is every request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// One of these methods.
    #[serde(default)]
    method: Methods,
    /// The path, without the query.
    path: Option<Value>,
    /// Each of these header fields: the first of its name.
    #[serde(default)]
    headers: BTreeMap<HeaderName, Value>,
    /// Each of these cookies.
    #[serde(default)]
    cookies: BTreeMap<Token, Value>,
    /// Each of these parameters of the query: the first of its name, decoded.
    #[serde(default)]
    query: BTreeMap<String, Value>,
    /// The client's address is in one of these ranges.
    #[serde(default)]
    client: Vec<Network>,
    /// The cluster that the request goes to.
    cluster: Option<Value>,
}

/// `GET`, or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a method, such as \"GET\", or a list of them")]
enum Methods {
    One(String),
    Several(Vec<String>),
}

impl Default for Methods {
    fn default() -> Methods {
        Methods::Several(Vec::new())
    }
}

impl Methods {
    fn all(&self) -> &[String] {
        match self {
            Methods::One(method) => std::slice::from_ref(method),
            Methods::Several(methods) => methods,
        }
    }
}

/// What rules look at in a request. Each is asked for only when a rule needs it.
pub trait Facts {
    /// The first value of a header; `:method` and `:path` are among them.
    fn header(&self, name: &str) -> Option<String>;

    /// The value of a cookie.
    fn cookie(&self, name: &str) -> Option<String> {
        tidegate_sdk::find_cookie(&self.header("cookie")?, name).map(str::to_owned)
    }

    /// The client's address.
    fn client(&self) -> Option<IpAddr>;

    /// The cluster that the request goes to.
    fn cluster(&self) -> Option<String>;
}

impl Facts for tidegate_sdk::Request<'_> {
    fn header(&self, name: &str) -> Option<String> {
        tidegate_sdk::Request::header(self, name)
    }

    fn cookie(&self, name: &str) -> Option<String> {
        tidegate_sdk::Request::cookie(self, name)
    }

    fn client(&self) -> Option<IpAddr> {
        self.source_address().map(|address| address.ip())
    }

    fn cluster(&self) -> Option<String> {
        self.cluster_name()
    }
}

impl Match {
    /// Whether it lets every request in.
    pub fn is_everything(&self) -> bool {
        let Match { method, path, headers, cookies, query, client, cluster } = self;
        let nothing = method.all().is_empty() && headers.is_empty() && cookies.is_empty() && query.is_empty();
        nothing && client.is_empty() && path.is_none() && cluster.is_none()
    }

    /// Whether a request is one of those that this is about.
    pub fn accepts(&self, request: &impl Facts) -> bool {
        self.accepts_method(request)
            && self.accepts_path(request)
            && self
                .headers
                .iter()
                .all(|(name, value)| value.accepts(request.header(name.as_str()).as_deref()))
            && self.accepts_cookies(request)
            && self.accepts_client(request)
            && self.cluster.as_ref().is_none_or(|value| value.accepts(request.cluster().as_deref()))
    }

    fn accepts_method(&self, request: &impl Facts) -> bool {
        let wanted = self.method.all();
        wanted.is_empty() || request.header(":method").is_some_and(|method| wanted.contains(&method))
    }

    fn accepts_path(&self, request: &impl Facts) -> bool {
        if self.path.is_none() && self.query.is_empty() {
            return true;
        }
        let target = request.header(":path").unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let parameter = |name: &str| tidegate_sdk::find_query(&target, name);
        self.path.as_ref().is_none_or(|value| value.accepts(Some(path)))
            && self.query.iter().all(|(name, value)| value.accepts(parameter(name).as_deref()))
    }

    fn accepts_cookies(&self, request: &impl Facts) -> bool {
        if self.cookies.is_empty() {
            return true;
        }
        let mut rules = self.cookies.iter();
        rules.all(|(name, value)| value.accepts(request.cookie(name.as_str()).as_deref()))
    }

    fn accepts_client(&self, request: &impl Facts) -> bool {
        self.client.is_empty()
            || request.client().is_some_and(|client| self.client.iter().any(|range| range.contains(client)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    struct Request {
        headers: Vec<(&'static str, &'static str)>,
        client: &'static str,
        cluster: Option<&'static str>,
    }

    impl Facts for Request {
        fn header(&self, name: &str) -> Option<String> {
            let found = self.headers.iter().find(|(found, _)| *found == name);
            found.map(|(_, value)| (*value).to_owned())
        }

        fn client(&self) -> Option<IpAddr> {
            self.client.parse().ok()
        }

        fn cluster(&self) -> Option<String> {
            self.cluster.map(str::to_owned)
        }
    }

    fn request() -> Request {
        let headers = vec![
            (":method", "GET"),
            (":path", "/items?page=2&q=a%20b"),
            ("x-user", "ann"),
            ("cookie", "a=b; beta=1"),
        ];
        Request { headers, client: "10.1.2.3", cluster: Some("api") }
    }

    #[test]
    fn nothing_said_is_every_request() {
        let everything = read::<Match>("{}").unwrap();
        assert!(everything.is_everything() && everything.accepts(&request()));
    }

    #[test]
    fn each_thing_that_is_said_must_hold() {
        let holding = [
            r#"{"method": "GET"}"#,
            r#"{"method": ["PUT", "GET"]}"#,
            r#"{"path": "/items"}"#,
            r#"{"path": {"glob": "/i*"}}"#,
            r#"{"headers": {"X-User": {"exact": "ann"}, "x-not": {"present": false}}}"#,
            r#"{"cookies": {"beta": {"exact": "1"}}}"#,
            r#"{"query": {"page": {"exact": "2"}, "q": {"exact": "a b"}}}"#,
            r#"{"client": ["192.0.2.0/24", "10.0.0.0/8"]}"#,
            r#"{"cluster": {"prefix": "api"}}"#,
        ];
        let failing = [
            r#"{"method": "PUT"}"#,
            r#"{"path": {"exact": "/items?page=2&q=a%20b"}}"#,
            r#"{"headers": {"x-user": {"exact": "ann"}, "x-not": {"present": true}}}"#,
            r#"{"cookies": {"beta": {"exact": "12"}}}"#,
            r#"{"query": {"page": {"exact": "2"}, "q": {"exact": "a%20b"}}}"#,
            r#"{"client": ["192.0.2.0/24"]}"#,
            r#"{"cluster": {"exact": "ap"}}"#,
        ];
        for json in holding {
            let rule = read::<Match>(json).unwrap();
            assert!(rule.accepts(&request()) && !rule.is_everything(), "{json}");
        }
        for json in failing {
            assert!(!read::<Match>(json).unwrap().accepts(&request()), "{json}");
        }
    }

    #[test]
    fn who_has_no_address_is_in_no_range() {
        let request = Request { client: "unix", ..request() };
        assert!(!read::<Match>(r#"{"client": ["0.0.0.0/0"]}"#).unwrap().accepts(&request));
    }

    #[test]
    fn an_error_has_the_place_the_value_and_what_was_expected() {
        let wrong = [
            (r#"{"headers": {"x-a": {"globe": "a"}}}"#, "headers.x-a.globe: unknown field `globe`"),
            (r#"{"cookies": {"a": {"glob": "["}}}"#, "cookies.a.glob: `[` is not a glob"),
            (r#"{"headers": {"x a": {"present": true}}}"#, "expected the name of a header"),
            (r#"{"method": 1}"#, "method: a method, such as \"GET\", or a list of them"),
            (r#"{"client": ["here"]}"#, "client[0]: invalid value: string \"here\", expected an address"),
            (r#"{"header": {}}"#, "unknown field `header`, expected one of `method`, `path`, `headers`"),
        ];
        for (json, message) in wrong {
            let error = read::<Match>(json).unwrap_err();
            assert!(error.contains(message), "{json} gave: {error}");
        }
    }
}
