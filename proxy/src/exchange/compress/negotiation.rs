//! Which coding a client likes best (RFC 9110 section 12.5.3).

use http::HeaderValue;

use crate::config::model::Coding;

/// A coding's name in `content-encoding`.
pub(super) fn token(coding: Coding) -> &'static str {
    match coding {
        Coding::Zstd => "zstd",
        Coding::Brotli => "br",
        Coding::Gzip => "gzip",
    }
}

/// The coding of those that are `offered`, in their order, that the client likes best, if it likes it as much as none at
/// all. A client that does not say takes none: many of those cannot.
pub(super) fn choose(offered: &[Coding], accepted: &[&HeaderValue]) -> Option<Coding> {
    let weights = || {
        accepted.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(weigh)
    };
    let weight = |name: &str| weights().find(|(named, _)| is(named, name)).map(|(_, weight)| weight);
    let any = weight("*");
    let plain = weight("identity").or(any.filter(|weight| *weight == 0)).unwrap_or(1);
    let mut best: Option<(Coding, u16)> = None;
    for &coding in offered {
        let weight = weight(token(coding)).or(any).unwrap_or(0);
        if weight > 0 && weight >= plain && best.is_none_or(|(_, most)| weight > most) {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

/// `x-gzip` is `gzip` (RFC 9110 section 8.4.1.3).
fn is(named: &str, name: &str) -> bool {
    named.eq_ignore_ascii_case(name) || (name == "gzip" && named.eq_ignore_ascii_case("x-gzip"))
}

/// One of the list: a name, and its weight in thousandths. One that cannot be read is not wanted.
fn weigh(item: &str) -> (&str, u16) {
    let mut parts = item.split(';');
    let name = parts.next().unwrap_or_default().trim();
    let weight = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())
    });
    let weight = match weight {
        None => 1000,
        Some(Some(weight)) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        Some(_) => 0,
    };
    (name, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accepted: &[&str]) -> Option<&'static str> {
        let values: Vec<_> = accepted.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
        choose(&[Coding::Zstd, Coding::Brotli, Coding::Gzip], &values.iter().collect::<Vec<_>>()).map(token)
    }

    #[test]
    fn a_client_gets_the_coding_that_it_likes_best() {
        for (accepted, expected) in [
            (&["gzip"][..], Some("gzip")),
            (&["gzip, br, zstd"], Some("zstd")),
            (&["gzip, br"], Some("br")),
            (&["GZIP"], Some("gzip")),
            (&["x-gzip"], Some("gzip")),
            (&["zstd;q=0.5, br;q=0.8, gzip;q=0.8"], Some("br")),
            (&["br;q=0, gzip;q=0.001, identity;q=0"], Some("gzip")),
            (&["gzip ; q = 0.5, identity;q=0.4"], Some("gzip")),
            (&["*"], Some("zstd")),
            (&["zstd;q=0, *"], Some("br")),
            (&["deflate", "br"], Some("br")),
            (&["identity;q=0, *;q=0.1"], Some("zstd")),
        ] {
            assert_eq!(chosen(accepted), expected, "{accepted:?}");
        }
    }

    #[test]
    fn a_client_that_takes_none_gets_none() {
        for accepted in [
            &[][..],
            &[""],
            &["identity"],
            &["deflate, compress"],
            &["gzip;q=0"],
            &["gzip;q=2"],
            &["gzip;q=x"],
            &["*;q=0"],
            &["gzipped"],
            &["gzip;q=0.5, identity"],
        ] {
            assert_eq!(chosen(accepted), None, "{accepted:?}");
        }
    }
}
