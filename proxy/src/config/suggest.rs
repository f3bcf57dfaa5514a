//! "Did you mean": what to say about a name that is not known.

/// Names that are listed when none is close.
const MAX_LISTED: usize = 12;

/// The remedy for `word` where one of `known` is meant. `what` names them in the plural.
pub(crate) fn remedy<'a>(word: &str, what: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(meant) = closest(word, known.clone()) {
        return format!("did you mean `{meant}`?");
    }
    let listed: Vec<_> = known.clone().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    match (listed.len(), known.count()) {
        (0, _) => format!("there are no {what}"),
        (shown, all) if shown < all => {
            format!("the {what} are {} and {} more", listed.join(", "), all - shown)
        }
        _ => format!("the {what} are {}", listed.join(", ")),
    }
}

/// The known name that `word` is most likely a misspelling of.
fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    // Beyond this length nobody's typing slipped, and the comparison's cost grows with the square.
    if length > 64 {
        return None;
    }
    let nearby = known.filter(|name| name.len() <= 256).map(|name| (distance(word, name), name));
    let (distance, name) = nearby.min_by_key(|&(distance, _)| distance)?;
    let allowed = (length.max(name.chars().count()) / 3).max(1);
    (distance <= allowed).then_some(name)
}

fn distance(word: &str, name: &str) -> usize {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    strsim::osa_distance(&plain(word), &plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["address", "routes", "load_balancer"];
        let remedy = |word| remedy(word, "fields", known.into_iter());
        assert_eq!(remedy("adress"), "did you mean `address`?");
        assert_eq!(remedy("loadBalancer"), "did you mean `load_balancer`?");
        assert_eq!(remedy("route"), "did you mean `routes`?");
        assert_eq!(remedy("tls"), "the fields are `address`, `routes`, `load_balancer`");
        assert_eq!(super::remedy("x", "clusters", [].into_iter()), "there are no clusters");
    }
}
