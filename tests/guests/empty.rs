//! Does nothing, or leaves at once (configuration: `{"leave": true}`): what it costs is what the SDK costs.

use serde::Deserialize;
use tidegate_sdk::{Filter, Next, Request, filter};

filter!(Empty);

#[derive(Deserialize)]
struct Empty {
    #[serde(default)]
    leave: bool,
}

impl Filter for Empty {
    type Config = Empty;
    type State = ();

    fn new(config: Empty) -> Result<Empty, String> {
        Ok(config)
    }

    fn on_request_headers(&self, _: &mut (), _: &Request<'_>) -> Next {
        if self.leave { Next::Leave } else { Next::Continue }
    }
}
