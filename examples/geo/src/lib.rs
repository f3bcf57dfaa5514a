//! Says where a client is, by its address and a data file, and chooses the cluster of its region.
//!
//! ```yaml
//! config:
//!   data: {from_file: ./networks.csv}       # 192.0.2.0/24,DE
//!   regions: {eu: [DE, FR], us: [US]}       # everyone else: `default`
//!   default: us
//!   blocked: [XX]
//! ```
//!
//! Sets `x-geo-country` and `x-geo-region`, by which routes choose, whatever the client says of itself. The address is that of the
//! connection, or what a proxy that the listener trusts has told. Counter: `geo_requests{country, region}`.

mod table;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Deserialize;
use tidegate_sdk::log::info;
use tidegate_sdk::{CounterFamily, Filter, Next, Request, filter};

use crate::table::Table;

filter!(Geo);

// Which header it trusts, is for its configuration to say.
tidegate_sdk::manifest! {
    "headers": {"read": ["*"], "write": ["x-geo-country", "x-geo-region"]},
    "properties": {"read": ["source.address"]},
    "metrics": ["geo_*"],
    "reply": true
}

const COUNTRY: &str = "x-geo-country";
const REGION: &str = "x-geo-region";
/// Where the country or the region is not known.
const UNKNOWN: &str = "unknown";

/// What the operator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Lines of `PREFIX,COUNTRY`: `{from_file: ./networks.csv}`.
    data: String,
    /// The countries of each region.
    #[serde(default)]
    regions: BTreeMap<String, Vec<String>>,
    /// The region of every other country.
    default: Option<String>,
    /// Countries whose requests are refused.
    #[serde(default)]
    blocked: Vec<String>,
    /// A header with the client's address, of which the last is taken, where what sets it is trusted.
    trusted_header: Option<String>,
}

/// The filter.
struct Geo {
    table: Table,
    /// Each country's.
    regions: HashMap<String, String>,
    default: Option<String>,
    blocked: Vec<String>,
    trusted_header: Option<String>,
    requests: CounterFamily<2>,
}

impl Filter for Geo {
    type Config = Config;
    type State = ();

    fn new(config: Config) -> Result<Geo, String> {
        let table = Table::read(&config.data).map_err(|why| format!("data: {why}"))?;
        if let Some(default) =
            config.default.as_ref().filter(|default| !config.regions.contains_key(*default))
        {
            return Err(format!("default: `{default}` is none of the regions"));
        }
        let mut regions = HashMap::new();
        for (region, countries) in config.regions {
            for country in countries {
                if let Some(other) = regions.insert(country.clone(), region.clone()) {
                    return Err(format!("regions: `{country}` is in `{region}` and in `{other}`"));
                }
            }
        }
        info!(stretches = table.len(); "the data are read");
        let requests = CounterFamily::new("geo_requests", ["country", "region"]).at_most(512);
        let Config { default, blocked, trusted_header, .. } = config;
        Ok(Geo { table, regions, default, blocked, trusted_header, requests })
    }

    fn on_request_headers(&self, _: &mut (), request: &Request<'_>) -> Next {
        let country = self.address(request).and_then(|address| self.table.place(address));
        let region = country.and_then(|country| self.regions.get(country)).or(self.default.as_ref());
        let region = region.map_or(UNKNOWN, String::as_str);
        self.requests.with([country.unwrap_or(UNKNOWN), region]).increment();
        if let Some(country) = country.filter(|country| self.blocked.iter().any(|blocked| blocked == country))
        {
            let reply = request.reply(451).body("not available where you are\n");
            return reply.details(format!("geo_blocked:{country}")).send();
        }
        request.set_header(COUNTRY, country.unwrap_or(UNKNOWN));
        request.set_header(REGION, region);
        // The route was chosen by what the client said.
        request.clear_route_cache();
        Next::Leave
    }
}

impl Geo {
    fn address(&self, request: &Request<'_>) -> Option<IpAddr> {
        let Some(header) = &self.trusted_header else {
            return request.source_address().map(|address| address.ip());
        };
        // What is in front of the last was said by somebody before the one that is trusted.
        request.headers().block().joined(header)?.rsplit(',').next()?.trim().parse().ok()
    }
}
