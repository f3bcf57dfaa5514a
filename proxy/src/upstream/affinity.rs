//! Session affinity: a cookie that says which endpoint a client's first request went to.
//!
//! The cookie's value is the HMAC-SHA256 of the cluster's name and the endpoint's address. All values that can be right
//! are known when the configuration is made, so that a request's is only looked up: it costs no cryptography, tells the
//! client no address, and one that was made up or is of an endpoint that has left is not there.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::HeaderValue;
use sha2::Sha256;

use crate::config::model::{self, Address};
use crate::route::set_cookie;

/// The cookies of a cluster's endpoints.
#[derive(Debug)]
pub struct Affinity {
    name: String,
    strict: bool,
    endpoints: HashMap<Box<[u8]>, Address>,
    cookies: HashMap<Address, HeaderValue>,
}

impl Affinity {
    pub(super) fn new(config: &model::Affinity, cluster: &model::Cluster) -> Affinity {
        let (mut endpoints, mut cookies) = (HashMap::new(), HashMap::new());
        for address in cluster.addresses() {
            let value = value(config, &cluster.name, address);
            cookies.insert(address, set_cookie(&config.cookie, &value));
            endpoints.insert(value.into_bytes().into_boxed_slice(), address);
        }
        Affinity { name: config.cookie.name.clone(), strict: config.strict, endpoints, cookies }
    }

    /// The cookie's name.
    pub fn cookie_name(&self) -> &str {
        &self.name
    }

    /// Whether the endpoint is asked that the cookie says, even where it is unfit.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The endpoint that a cookie of this value is for, if it is one of the cluster's and the cookie is right.
    pub fn endpoint(&self, value: &[u8]) -> Option<Address> {
        self.endpoints.get(value).copied()
    }

    /// The value of the `set-cookie` field for an endpoint.
    pub fn cookie(&self, endpoint: Address) -> Option<&HeaderValue> {
        self.cookies.get(&endpoint)
    }
}

fn value(config: &model::Affinity, cluster: &str, address: Address) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(config.key.text.as_bytes()) else {
        return String::new();
    };
    mac.update(&(cluster.len() as u64).to_le_bytes());
    mac.update(cluster.as_bytes());
    mac.update(address.to_string().as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}
