//! Does nothing: what it costs is what the SDK costs.

use tidegate_sdk::{Filter, NoConfig, filter};

filter!(Empty);

struct Empty;

impl Filter for Empty {
    type Config = NoConfig;
    type State = ();

    fn new(_: NoConfig) -> Result<Empty, String> {
        Ok(Empty)
    }
}
