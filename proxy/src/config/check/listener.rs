//! Checks listeners: names and addresses are unique, chains name filters that exist, and what is of HTTP is not given
//! for TCP.

use std::collections::BTreeSet;
use std::mem::take;

use super::super::bounds;
use super::super::decode::{Field, Located};
use super::super::model::{Address, Listener, ListenerLimits, Protocol, Route, RouteFilters, ServerNames};
use super::super::raw;
use super::super::scalar::{Mode, Text, Traffic, UpgradeProtocol};
use super::super::source::Span;
use super::exposure::Inherited;
use super::{Checker, Unique, items};
use crate::path::{EscapedSlashes, PathNormalization};

impl Checker<'_> {
    pub(super) fn listeners(&mut self, list: Located<Vec<Field<raw::Listener>>>) -> Vec<Listener> {
        if list.value.is_empty() {
            self.log.error_with_hint(
                list.span,
                "there are no listeners",
                "without one no traffic comes in: add one",
            );
        }
        let log = self.log;
        let mut names = Unique::new(log);
        let mut addresses = Unique::new(log);
        let mut listeners = Vec::new();
        for raw in items(list.value) {
            let Located { value: mut raw, span } = raw;
            let name = self.required(take(&mut raw.name), "name", span);
            let address = self.required(take(&mut raw.address), "address", span);
            if let Some(name) = &name {
                self.name(name);
                names.take(name.value.clone(), name.span, || {
                    format!("two listeners have the name `{}`", name.value)
                });
            }
            let is_certain = |at: Address| at.ip().is_none_or(|at| at.port() != 0);
            if let Some(address) = address.as_ref().filter(|address| is_certain(address.value.0)) {
                let at = address.value.0;
                addresses.take(at, address.span, || format!("two listeners have the address {at}"));
            }
            let server_names = self.server_names(take(&mut raw.server_names));
            let protocol = self.protocol(&mut raw, &server_names, span);
            let traffic = protocol.as_ref().map_or(Traffic::Http, traffic_of);
            let tls = take(&mut raw.tls).given().and_then(|raw| self.termination(raw, traffic));
            let filters = self.chain(raw.filters);
            let require_signature_by = self.signers(raw.require_signature_by);
            let path_normalization = path_normalization(raw.path_normalization.value().unwrap_or_default());
            let routes = match protocol {
                Some(Protocol::Http | Protocol::Auto(_)) => self.required(raw.routes, "routes", span),
                Some(Protocol::Tcp(_)) | None => None,
            };
            let cors = self.or_off(take(&mut raw.cors), None, |raw| self.cors(raw));
            let compression = self.or_off(take(&mut raw.compression), None, |raw| self.compression(raw));
            let decompression =
                self.or_off(take(&mut raw.decompression), None, |raw| self.decompression(raw));
            let inherited = Inherited { chain: filters.clone(), cors, compression, decompression };
            let routes =
                routes.map(|list| self.routes(list, &inherited, &path_normalization)).unwrap_or_default();
            let (Some(name), Some(address), Some(protocol)) = (name, address, protocol) else { continue };
            self.places.listener_addresses.push(address.span);
            let runs = every_filter(&filters, &routes);
            listeners.push(Listener {
                name: name.value,
                address: address.value.0,
                socket_mode: self.socket_mode(take(&mut raw.socket_mode), address.value.0),
                proxy_protocol: raw.proxy_protocol.value().unwrap_or(false),
                grpc_web: raw.grpc_web.value().unwrap_or(false),
                h2c_upgrade: raw.h2c_upgrade.value().unwrap_or(false),
                upgrades: self.upgrades(raw.upgrades),
                send_proxy_protocol: raw.send_proxy_protocol.value().map(|Text(version)| version),
                filters,
                runs,
                require_signature_by,
                protocol,
                tls,
                server_names,
                routes,
                error_pages: self.error_pages(raw.error_pages),
                access_log: raw.access_log.value().unwrap_or(false),
                buffer_limit: self.bytes(raw.buffer_limit, bounds::BUFFER_LIMIT),
                trusted_hops: self.count(raw.trusted_hops, bounds::TRUSTED_HOPS),
                path_normalization,
                http2: self.http2(raw.http2),
                limits: self.listener_limits(raw.limits.value().unwrap_or_default()),
            });
        }
        listeners
    }

    /// What comes in, and for TCP where it goes. Fields that are the other's are refused; where it is not known which
    /// it is, none.
    fn protocol(&self, raw: &mut raw::Listener, names: &ServerNames, span: Span) -> Option<Protocol> {
        let (one, several) = (take(&mut raw.cluster), take(&mut raw.clusters));
        let traffic = match take(&mut raw.protocol) {
            Field::Given(traffic) => traffic.value.0,
            Field::Absent => Traffic::Http,
            Field::Invalid => return None,
        };
        if traffic != Traffic::Http {
            match (one.is_absent(), several.is_absent()) {
                (true, true) if traffic == Traffic::Tcp && !names.is_empty() => {}
                (true, true) => {
                    let hint = match traffic {
                        Traffic::Auto => "say where goes what is not HTTP: `cluster: NAME`",
                        _ => "say where connections go: `cluster: NAME`",
                    };
                    self.log.error_with_hint(span, "the field `cluster` is missing here", hint);
                }
                (false, false) => {
                    let hint = "`clusters` has each with its weight";
                    let message = "`cluster` and `clusters` cannot be given together";
                    self.log.error_with_hint(span, message, hint);
                }
                _ => {}
            }
        }
        Some(match traffic {
            Traffic::Tcp => {
                self.refuse_what_only_http_has(raw);
                Protocol::Tcp(self.shares(one, several))
            }
            Traffic::Auto => Protocol::Auto(self.shares(one, several)),
            Traffic::Http => {
                if let Some(span) = raw.send_proxy_protocol.span() {
                    let hint = "upstreams of HTTP read `x-forwarded-for`: requests of several clients share a connection";
                    self.log.error_with_hint(span, "`send_proxy_protocol` is of TCP listeners", hint);
                }
                for (field, span) in [("cluster", one.span()), ("clusters", several.span())] {
                    if let Some(span) = span {
                        let message = format!("an HTTP listener has its `{field}` in a route");
                        let hint =
                            format!("write `routes: [{{match: {{}}, {field}: …}}]`, or add `protocol: tcp`");
                        self.log.error_with_hint(span, message, hint);
                    }
                }
                Protocol::Http
            }
        })
    }

    fn socket_mode(&self, raw: Field<Text<Mode>>, address: Address) -> Option<u32> {
        let Located { value: Text(Mode(mode)), span } = raw.given()?;
        if !matches!(address, Address::Unix(at) if at.path().is_some()) {
            let hint = "only a UNIX socket with a path has permissions: remove it";
            self.log.error_with_hint(span, "`socket_mode` has no effect here", hint);
        }
        Some(mode)
    }

    fn refuse_what_only_http_has(&self, raw: &raw::Listener) {
        let limits = match &raw.limits {
            Field::Given(limits) => [
                ("limits.header_bytes", limits.value.header_bytes.span()),
                ("limits.headers", limits.value.headers.span()),
                ("limits.header_timeout", limits.value.header_timeout.span()),
                ("limits.stream_idle_timeout", limits.value.stream_idle_timeout.span()),
            ],
            Field::Absent | Field::Invalid => [("", None); 4],
        };
        let fields = [
            ("routes", raw.routes.span()),
            ("trusted_hops", raw.trusted_hops.span()),
            ("http2", raw.http2.span()),
            ("path_normalization", raw.path_normalization.span()),
            ("cors", raw.cors.span()),
            ("compression", raw.compression.span()),
            ("grpc_web", raw.grpc_web.span()),
            ("h2c_upgrade", raw.h2c_upgrade.span()),
            ("upgrades", raw.upgrades.span()),
            ("decompression", raw.decompression.span()),
            ("error_pages", raw.error_pages.span()),
        ];
        for (field, span) in fields.into_iter().chain(limits) {
            let Some(span) = span else { continue };
            let message = format!("`{field}` is of HTTP, and this is a TCP listener");
            let hint = match field {
                "routes" => {
                    "connections go to its `cluster`, or to its `clusters` with their weights".to_owned()
                }
                "limits.stream_idle_timeout" => "`limits.idle_timeout` is that of its connections".to_owned(),
                _ => format!("remove `{field}`"),
            };
            self.log.error_with_hint(span, message, hint);
        }
    }

    fn chain(&mut self, field: Field<Vec<Field<String>>>) -> Vec<usize> {
        let mut twice = Unique::new(self.log);
        let mut chain = Vec::new();
        for name in items(field.value().unwrap_or_default()) {
            let Some(index) = self.named_filter(&name) else { continue };
            twice.take(index, name.span, || format!("the filter `{}` is in this chain twice", name.value));
            chain.push(index);
        }
        chain
    }

    fn upgrades(&self, raw: Field<Vec<Field<Text<UpgradeProtocol>>>>) -> Vec<String> {
        let Some(list) = raw.value() else { return vec!["websocket".to_owned()] };
        let mut twice = Unique::new(self.log);
        let mut protocols = Vec::new();
        for Located { value: Text(UpgradeProtocol(protocol)), span } in items(list) {
            twice.take(protocol.clone(), span, || format!("`{protocol}` is in this list twice"));
            protocols.push(protocol);
        }
        protocols
    }

    fn listener_limits(&self, raw: raw::ListenerLimits) -> ListenerLimits {
        ListenerLimits {
            connections: self.count(raw.connections, bounds::CONNECTIONS),
            header_bytes: self.bytes(raw.header_bytes, bounds::HEADER_BYTES),
            headers: self.count(raw.headers, bounds::HEADERS),
            header_timeout: self.duration(raw.header_timeout, bounds::HEADER_TIMEOUT),
            detection_timeout: self.duration(raw.detection_timeout, bounds::DETECTION_TIMEOUT),
            stream_idle_timeout: self.duration(raw.stream_idle_timeout, bounds::STREAM_IDLE_TIMEOUT),
            idle_timeout: self.duration(raw.idle_timeout, bounds::DOWNSTREAM_IDLE_TIMEOUT),
        }
    }
}

fn traffic_of(protocol: &Protocol) -> Traffic {
    match protocol {
        Protocol::Http => Traffic::Http,
        Protocol::Tcp(_) => Traffic::Tcp,
        Protocol::Auto(_) => Traffic::Auto,
    }
}

/// The filters of a listener's chain and of its routes' chains, in order, each once.
fn every_filter(chain: &[usize], routes: &[Route]) -> Vec<usize> {
    let own = routes.iter().filter_map(|route| match &route.filters {
        RouteFilters::Chain(links) => Some(links.iter().map(|link| link.filter)),
        RouteFilters::Inherited | RouteFilters::Changed(_) => None,
    });
    let every: BTreeSet<usize> = chain.iter().copied().chain(own.flatten()).collect();
    every.into_iter().collect()
}

fn path_normalization(raw: raw::PathNormalization) -> PathNormalization {
    PathNormalization {
        normalize_path: raw.normalize_path.value().unwrap_or(true),
        merge_slashes: raw.merge_slashes.value().unwrap_or(true),
        escaped_slashes: raw.escaped_slashes.value().map_or(EscapedSlashes::Keep, |Text(action)| action),
    }
}
