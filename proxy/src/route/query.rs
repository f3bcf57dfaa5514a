//! The parameters of a query, as they were sent.

/// The value of the first parameter of that name; empty where the parameter has no `=`.
///
/// Neither names nor values are decoded: `%20` and `+` are what they are. Envoy matches routes in the same way.
pub(super) fn first<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter(|parameter| !parameter.is_empty()).find_map(|parameter| {
        let (found, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (found == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts_as_it_was_sent() {
        let query = "a=1&b&c=x=y&&a=2&d=%20+";
        assert_eq!(first(query, "a"), Some("1"));
        assert_eq!(first(query, "b"), Some(""));
        assert_eq!(first(query, "c"), Some("x=y"));
        assert_eq!(first(query, "d"), Some("%20+"));
        assert_eq!(first(query, "e"), None);
        assert_eq!(first(query, ""), None);
        assert_eq!(first("", "a"), None);
    }
}
