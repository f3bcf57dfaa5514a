//! A stored response: whether a response may be one, for how long it is fresh, and how it is written into a cell.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_sdk::Block;

use crate::control::{Directives, date, initial_age, lifetime};

/// What is stored: statuses whose meaning does not depend on the request (RFC 9110, section 15.1), and no parts.
const STATUSES: [u16; 6] = [200, 203, 301, 308, 404, 410];
/// Fields of the message that brought the response, not of the response.
const OF_THE_MESSAGE: [&str; 6] =
    ["age", "cache-status", "content-length", "connection", "transfer-encoding", "warning"];

/// Everything but the body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    /// When it came, in seconds since 1970, and how old it was then.
    stored: u64,
    initial_age: u64,
    /// For how long it is fresh, and for how long it may be used beyond that: while it is renewed, and when that fails.
    lifetime: u64,
    while_revalidate: u64,
    if_error: u64,
    /// Requests with `authorization` may have it too.
    pub(crate) is_public: bool,
}

impl Entry {
    /// What a request asks by whether a response is still right, and the field of the response that it is asked with.
    pub(crate) const CONDITIONS: [(&str, &str); 2] =
        [("if-none-match", "etag"), ("if-modified-since", "last-modified")];

    /// The entry for a response, if it may be stored (RFC 9111, section 3). `has_authorization` is of its request.
    pub(crate) fn new(
        status: u16,
        fields: &Block,
        now: Duration,
        default_lifetime: u64,
        has_authorization: bool,
    ) -> Option<Entry> {
        let directives = Directives::of(fields);
        let has = |name| fields.values(name).next().is_some();
        let is_public = ["public", "s-maxage", "must-revalidate"].iter().any(|name| directives.has(name));
        let is_for_one = directives.has("no-store") || directives.has("private") || has("set-cookie");
        if !STATUSES.contains(&status) || is_for_one || (has_authorization && !is_public) {
            return None;
        }
        let lifetime = lifetime(fields, &directives).unwrap_or(default_lifetime);
        let can_be_renewed = has("etag") || has("last-modified");
        if lifetime == 0 && !can_be_renewed {
            return None;
        }
        let strict = ["must-revalidate", "proxy-revalidate", "s-maxage", "no-cache"];
        let is_strict = strict.iter().any(|name| directives.has(name));
        let beyond = |name| if is_strict { 0 } else { directives.seconds(name).unwrap_or(0) };
        let kept = fields.iter().filter(|(name, _)| !name.starts_with(b":") && !is_of_the_message(name));
        let kept: Option<Vec<_>> = kept.map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        Some(Entry {
            status,
            fields: kept?,
            stored: now.as_secs(),
            initial_age: initial_age(fields, now),
            lifetime,
            while_revalidate: beyond("stale-while-revalidate"),
            if_error: beyond("stale-if-error"),
            is_public,
        })
    }

    /// The entry after the service has said that it is still right (RFC 9111, section 3.2). `None`: not to be kept.
    pub(crate) fn renewed(&self, fields: &Block, now: Duration, default_lifetime: u64) -> Option<Entry> {
        let is_new = |name: &str| fields.values(name).next().is_some();
        let old = self.fields.iter().filter(|(name, _)| !is_new(name));
        let old = old.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let merged: Block = fields.iter().chain(old).collect();
        Entry::new(self.status, &merged, now, default_lifetime, self.is_public)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// In seconds.
    pub(crate) fn age(&self, now: Duration) -> u64 {
        self.initial_age + now.as_secs().saturating_sub(self.stored)
    }

    /// How much longer it is fresh, in seconds; below 0 for how long it has not been.
    pub(crate) fn ttl(&self, now: Duration) -> i64 {
        self.lifetime as i64 - self.age(now) as i64
    }

    pub(crate) fn may_be_used_while_renewed(&self, now: Duration) -> bool {
        self.ttl(now) + self.while_revalidate as i64 > 0
    }

    pub(crate) fn may_be_used_after_an_error(&self, now: Duration) -> bool {
        self.ttl(now) + self.if_error as i64 > 0
    }

    /// Whether there is anything by which the service could say that it is still right.
    pub(crate) fn can_be_renewed(&self) -> bool {
        Entry::CONDITIONS.iter().any(|(_, validator)| self.field(validator).is_some())
    }

    /// For how long the cell is to be kept, when what is stale is kept for so long.
    pub(crate) fn kept_for(&self, now: Duration, stale: u64) -> Duration {
        let beyond =
            self.while_revalidate.max(self.if_error).max(if self.can_be_renewed() { stale } else { 0 });
        Duration::from_secs(self.ttl(now).max(0) as u64 + beyond)
    }

    /// Whether a client that has this already needs not get it again (RFC 9110, section 13.2.2).
    pub(crate) fn is_known_to(&self, if_none_match: Option<&str>, if_modified_since: Option<&str>) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        match (if_none_match, if_modified_since) {
            (Some(tags), _) => {
                let mine = self.field("etag").map(opaque);
                tags.trim() == "*" || tags.split(',').any(|tag| mine.as_ref() == Some(&opaque(tag)))
            }
            (None, Some(since)) => {
                let changed = self.field("last-modified").and_then(date);
                changed.zip(date(since)).is_some_and(|(changed, since)| changed <= since)
            }
            (None, None) => false,
        }
    }

    /// The entry and its body, as a cell has them.
    pub(crate) fn write(&self, body: &[u8]) -> Vec<u8> {
        let head = serde_json::to_vec(self).unwrap_or_default();
        [&(head.len() as u32).to_le_bytes(), &head[..], body].concat()
    }

    /// `None` for what this did not write.
    pub(crate) fn read(cell: &[u8]) -> Option<(Entry, &[u8])> {
        let (length, rest) = cell.split_first_chunk()?;
        let (head, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some((serde_json::from_slice(head).ok()?, body))
    }
}

fn is_of_the_message(name: &[u8]) -> bool {
    OF_THE_MESSAGE.iter().any(|one| one.as_bytes() == name)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}
