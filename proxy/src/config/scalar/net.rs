//! Addresses and hosts.

use std::net::SocketAddr;

use schemars::{Schema, json_schema};

use super::super::model::{Address, HostMatch, ServerNamePattern};
use super::{Parse, Refusal};

impl Parse for SocketAddr {
    const EXPECTED: &'static str = "an address such as `127.0.0.1:8080` or `\"[::1]:8080\"`";

    fn parse(text: &str) -> Result<SocketAddr, Refusal> {
        text.parse().map_err(|_| Self::refuse(&text).hint(address_hint(text)))
    }

    fn from_number(number: u64) -> Result<SocketAddr, Refusal> {
        Err(Self::refuse(&number).hint(format!("add the IP address: `127.0.0.1:{number}`")))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(\\d+\\.\\d+\\.\\d+\\.\\d+|\\[[0-9a-fA-F:.%]+\\]):\\d+$" })
    }
}

impl Parse for Address {
    const EXPECTED: &'static str =
        "an address such as `127.0.0.1:8080`, `\"[::1]:8080\"` or `unix:/run/web.sock`";

    fn parse(text: &str) -> Result<Address, Refusal> {
        match Address::unix(text) {
            Some(Ok(address)) => Ok(Address::Unix(address)),
            Some(Err(error)) => Err(Self::refuse(&text).hint(error.to_string())),
            None if text.starts_with(['/', '.', '@']) => {
                Err(Self::refuse(&text).hint(format!("a UNIX socket is written `unix:{text}`")))
            }
            None => text.parse().map(Address::Ip).map_err(|_| Self::refuse(&text).hint(address_hint(text))),
        }
    }

    fn from_number(number: u64) -> Result<Address, Refusal> {
        Err(Self::refuse(&number).hint(format!("add the IP address: `127.0.0.1:{number}`")))
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^((\\d+\\.\\d+\\.\\d+\\.\\d+|\\[[0-9a-fA-F:.%]+\\]):\\d+|unix:.+)$",
        })
    }
}

/// Who may use a file: bits of `chmod(2)`, in octal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode(pub(crate) u32);

impl Parse for Mode {
    const EXPECTED: &'static str = "permissions in octal digits such as `\"0660\"`";

    fn parse(text: &str) -> Result<Mode, Refusal> {
        let mode =
            text.bytes().all(|digit| matches!(digit, b'0'..=b'7')).then(|| u32::from_str_radix(text, 8).ok());
        match mode.flatten() {
            Some(mode) if mode <= 0o777 => Ok(Mode(mode)),
            _ => Err(Self::refuse(&text)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }
}

fn address_hint(text: &str) -> String {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return format!("add a port: `{}`", SocketAddr::new(ip, 8080));
    }
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_err() => "a port is a number from 0 to 65535".to_owned(),
        Some(("", port)) => format!("add the IP address: `0.0.0.0:{port}` for every interface"),
        Some((host, _)) if host.contains(':') => "an IPv6 address is written in brackets".to_owned(),
        _ => "host names are not looked up: give an IP address and a port".to_owned(),
    }
}

/// `None` is any host.
impl Parse for Option<HostMatch> {
    const EXPECTED: &'static str = "a host such as `api.example.com`, `\"*.example.com\"` or `api.*`";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let host = text.to_ascii_lowercase();
        if host == "*" {
            return Ok(None);
        }
        let (matches, fixed) = if let Some(suffix) = host.strip_prefix('*') {
            (HostMatch::Suffix(suffix.to_owned()), suffix.strip_prefix('.'))
        } else if let Some(prefix) = host.strip_suffix('*') {
            (HostMatch::Prefix(prefix.to_owned()), prefix.strip_suffix('.'))
        } else {
            (HostMatch::Exact(host.clone()), Some(host.as_str()))
        };
        let fixed = fixed.ok_or_else(|| {
            Self::refuse(&text).hint("`*` stands for whole labels: `*.example.com` or `api.*`")
        })?;
        check_host(fixed).map_err(|hint| Self::refuse(&text).hint(hint))?;
        Ok(Some(matches))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Parse for ServerNamePattern {
    const EXPECTED: &'static str = "a host such as `api.example.com` or `\"*.example.com\"`";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let host = text.to_ascii_lowercase();
        let (below, fixed) = match host.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, host.as_str()),
        };
        check_host(fixed).map_err(|hint| Self::refuse(&text).hint(hint))?;
        if fixed.starts_with('[') || fixed.parse::<std::net::IpAddr>().is_ok() {
            return Err(Self::refuse(&text).hint("no client asks for an address by name"));
        }
        let fixed = fixed.to_owned();
        Ok(if below { ServerNamePattern::Below(fixed) } else { ServerNamePattern::Exact(fixed) })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// A host without port, as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Host(pub(crate) String);

impl Parse for Host {
    const EXPECTED: &'static str = "a host such as `www.example.com`";

    fn parse(text: &str) -> Result<Host, Refusal> {
        check_host(text).map_err(|hint| Self::refuse(&text).hint(hint))?;
        Ok(Host(text.to_owned()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// Refuses what can never be in a `host` header's host part (RFC 9110 section 7.2; RFC 3986 section 3.2.2).
pub(super) fn check_host(host: &str) -> Result<(), &'static str> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if inner.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Ok(());
    }
    if host.contains("://") || host.contains('/') {
        return Err("give the host only: no scheme, no path");
    }
    if host.contains(':') {
        return Err("hosts are compared without their port: leave the port out");
    }
    if host.contains('*') {
        return Err("one `*` only, at the beginning or at the end");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    match host.is_empty() || host.starts_with('.') || host.contains("..") || !host.chars().all(allowed) {
        true => Err(
            "a host is made of letters, digits, `-` and `.`; names in other scripts are written in their `xn--` form",
        ),
        false => Ok(()),
    }
}
