//! What messages say about caching: `cache-control` and the fields that go with it (RFC 9111, sections 4.2 and 5.2).

use std::time::{Duration, UNIX_EPOCH};

use tidegate_sdk::Block;

/// What a time of more counts as, in seconds (RFC 9111, section 1.2.2).
const LONGEST: u64 = 1 << 31;

/// The directives of a message, all of its fields together.
pub(crate) struct Directives(String);

impl Directives {
    pub(crate) fn of(fields: &Block) -> Directives {
        Directives(fields.joined("cache-control").unwrap_or_default())
    }

    /// Whether a request is to be answered anew, however fresh what is stored is; `age` is that of it, in seconds.
    pub(crate) fn ask_for_new(&self, request: &Block, age: u64) -> bool {
        let by_pragma =
            || self.0.is_empty() && request.joined("pragma").is_some_and(|text| text.contains("no-cache"));
        self.has("no-cache") || self.seconds("max-age").is_some_and(|most| age > most) || by_pragma()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// A directive's time, in seconds. One that cannot be read is none at all: what is doubtful is not fresh.
    pub(crate) fn seconds(&self, name: &str) -> Option<u64> {
        let value = self.value(name)?.trim_matches('"');
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        // Digits that are too many for a number are a long time.
        Some(if is_number { value.parse().unwrap_or(LONGEST).min(LONGEST) } else { 0 })
    }

    /// What stands behind `=`; empty where nothing does.
    fn value(&self, name: &str) -> Option<&str> {
        let mut in_quotes = false;
        let directives = self.0.split(|c| {
            in_quotes ^= c == '"';
            c == ',' && !in_quotes
        });
        let mut directives = directives.map(|directive| directive.split_once('=').unwrap_or((directive, "")));
        let found = directives.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
        Some(found.1.trim())
    }
}

/// How long a response is fresh, in seconds; `None` where it does not say.
pub(crate) fn lifetime(fields: &Block, directives: &Directives) -> Option<u64> {
    if directives.has("no-cache") {
        return Some(0);
    }
    let explicit = directives.seconds("s-maxage").or_else(|| directives.seconds("max-age"));
    explicit.or_else(|| {
        let expires = fields.joined("expires")?;
        // A date that cannot be read, such as `0`, is in the past.
        Some(date(&expires).unwrap_or(0).saturating_sub(date(&fields.joined("date")?)?).min(LONGEST))
    })
}

/// How old a response is when it comes, in seconds.
pub(crate) fn initial_age(fields: &Block, now: Duration) -> u64 {
    let said = fields.joined("age").and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    let sent = fields.joined("date").and_then(|text| date(&text)).unwrap_or(now.as_secs());
    now.as_secs().saturating_sub(sent).max(said).min(LONGEST)
}

/// Seconds since 1970.
pub(crate) fn date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
