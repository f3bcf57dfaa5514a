//! What a filter may do, where its configuration says so: nothing but what is named here.

use super::names::Names;

/// What a filter may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Grant {
    /// Everything that a filter can do: the file does not say.
    #[default]
    Everything,
    /// What its module's manifest asks for.
    Manifest,
    /// This and nothing else.
    Only(Box<Capabilities>),
}

/// What a filter may do. The default is nothing, except that it may log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Of the hostcalls and foreign functions that the rest allows, these alone; `None` for all of them.
    pub hostcalls: Option<Names>,
    /// The clusters that it may call, and whose endpoints it may see and choose among.
    pub clusters: Names,
    /// The headers and trailers of exchanges, in lower case; `host` is `:authority`.
    pub headers: Access,
    /// The bodies of exchanges and the data of connections.
    pub body: BodyAccess,
    /// Facts about exchanges, connections and the proxy, and what filters store: paths with dots between their parts.
    pub properties: Access,
    /// Keys of shared data and cells, and names of shared queues.
    pub shared_data: Names,
    /// The metrics that it may define.
    pub metrics: Names,
    /// Whether it may answer requests itself and have exchanges take longer than their routes say.
    pub reply: bool,
    /// The least level of what is taken into the log.
    pub log: LogFloor,
}

/// What may be read and what may be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// What may be read.
    pub read: Names,
    /// What may be set, added and removed.
    pub write: Names,
}

/// What a filter may do with bodies; each includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyAccess {
    /// Nothing: it learns how long they are.
    #[default]
    None,
    /// See them.
    Read,
    /// Change them.
    Write,
}

/// The least level of a filter's lines that are taken into the log. The numbers are the ABI's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogFloor {
    /// Everything that the log itself takes.
    #[default]
    Trace = 0,
    /// No trace.
    Debug = 1,
    /// Neither trace nor debug.
    Info = 2,
    /// Warnings and errors.
    Warn = 3,
    /// Errors.
    Error = 4,
    /// What a guest says as it gives up.
    Critical = 5,
    /// Nothing.
    None = 6,
}

/// A header's name as grants have it: in lower case, `host` as `:authority`, under which filters see it in requests.
pub fn header_name(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "host" => ":authority".to_owned(),
        lower => lower.to_owned(),
    }
}

/// What is known under a name of its own besides, as in Envoy before 1.33.
const ALIASES: [(&str, &str); 4] = [
    ("cluster_name", "xds.cluster_name"),
    ("route_name", "xds.route_name"),
    ("listener_direction", "xds.listener_direction"),
    ("connection_id", "connection.id"),
];

/// A property's name as grants have it: one for what has several.
pub fn property_name(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// The properties that are maps of headers or trailers, of which filters see what is granted them as headers.
pub const HEADER_PROPERTIES: [&str; 5] = [
    "request.headers_bytes",
    "request.headers",
    "response.headers_bytes",
    "response.headers",
    "response.trailers",
];

/// Whether a property is a map of headers or one of its members.
pub fn shows_headers(name: &str) -> bool {
    let is_below =
        |map: &str| name.strip_prefix(map).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    HEADER_PROPERTIES.iter().any(|map| is_below(map))
}
