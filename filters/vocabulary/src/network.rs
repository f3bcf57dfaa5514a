//! Where requests come from.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// A range of addresses, `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// A range of IPv4 addresses is that, however it is written.
    fn of(network: IpNet) -> Network {
        const MAPPED_BITS: u8 = 96;
        let mapped = match network {
            IpNet::V6(v6) if v6.prefix_len() >= MAPPED_BITS => v6.addr().to_ipv4_mapped(),
            _ => None,
        };
        let v4 = mapped.and_then(|v4| Ipv4Net::new(v4, network.prefix_len() - MAPPED_BITS).ok());
        Network(v4.map_or(network, IpNet::V4))
    }

    /// Whether an address is in it. An IPv4 address is the same when it is written as an IPv6 one.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Network::of).map_err(|_| {
            let expected = "an address or a range of addresses, such as \"10.0.0.0/8\"";
            D::Error::invalid_value(Unexpected::Str(&text), &expected)
        })
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::read;

    #[test]
    fn an_address_is_in_its_range_however_it_is_written() {
        let network = read::<Network>("\"10.1.0.0/16\"").unwrap();
        assert!(network.contains("10.1.2.3".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!network.contains("10.2.0.0".parse().unwrap()));
        for mapped in ["::ffff:10.1.2.3", "::ffff:10.1.0.0/112", "::ffff:0:0/96"] {
            let network = read::<Network>(&format!("\"{mapped}\"")).unwrap();
            assert!(network.contains("10.1.2.3".parse().unwrap()), "{mapped}");
            assert!(!network.contains("::1".parse().unwrap()), "{mapped}");
        }
        assert!(!read::<Network>("\"::/0\"").unwrap().contains("10.1.2.3".parse().unwrap()));
        assert!(read::<Network>("\"::1\"").unwrap().contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.0.0.0/33", "example.com", "10.0.0"] {
            let error = read::<Network>(&format!("\"{text}\"")).unwrap_err();
            assert!(error.contains("expected an address or a range of addresses"), "{text} gave: {error}");
        }
    }
}
