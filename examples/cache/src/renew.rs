//! Asks the service whether what is stored is still right, while clients are answered with it (RFC 5861, section 3).

use std::rc::Rc;
use std::time::Duration;

use tidegate_sdk::log::warn;
use tidegate_sdk::{Answer, Background, Block};

use crate::entry::Entry;
use crate::{Config, Key, Store};

/// How long it may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// Request headers that are not repeated: they are of its connection, its condition or its place.
const NOT_REPEATED: [&[u8]; 6] =
    [b"if-none-match", b"if-modified-since", b"content-length", b"host", b"cache-control", b"connection"];

/// One stored response.
pub(crate) struct Renewal {
    pub(crate) config: Rc<Config>,
    pub(crate) store: Rc<Store>,
    pub(crate) key: Key,
    pub(crate) entry: Entry,
    pub(crate) body: Vec<u8>,
    pub(crate) has_authorization: bool,
}

impl Renewal {
    /// One at a time for each address, whichever worker.
    pub(crate) async fn run(self, host: Background, cluster: String, authority: String, path: String) {
        let fields = repeated(&self.key.request);
        let mut call = host.call(&cluster).authority(&authority).path(&path);
        for (name, value) in &fields {
            call = call.header(name, value);
        }
        for (condition, validator) in Entry::CONDITIONS {
            if let Some(value) = self.entry.field(validator) {
                call = call.header(condition, value);
            }
        }
        match call.send(TIMEOUT).await {
            Ok(answer) => self.take(&answer, host.now()),
            Err(error) => warn!("not renewed: {error}"),
        }
        self.store.end_renewal(&self.key.address);
    }

    fn take(&self, answer: &Answer, now: Duration) {
        let fields = answer.headers().iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let fields: Block = fields.collect();
        let default = self.config.default_lifetime;
        let (new, body) = match answer.status() {
            304 => (self.entry.renewed(&fields, now, default), self.body.as_slice()),
            status => (Entry::new(status, &fields, now, default, self.has_authorization), answer.body()),
        };
        if let Some(new) = new.filter(|_| body.len() <= self.config.max_object) {
            let time = new.kept_for(now, self.config.keep_stale);
            self.store.keep(&self.key.address, &self.key.request, &new, body, time);
        }
    }
}

fn repeated(request: &Block) -> Vec<(String, String)> {
    let fields = request.iter().filter(|(name, _)| !name.starts_with(b":") && !NOT_REPEATED.contains(name));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    fields.filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}
