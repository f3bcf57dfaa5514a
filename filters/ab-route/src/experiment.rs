//! One experiment, and which variant a request gets. Knows no host: it asks for facts and for throws of the dice.

use schemars::JsonSchema;
use serde::Deserialize;
use vocabulary::{Facts, HeaderName, Match, Part, Percent, Token};

use crate::assign::Salt;
use crate::shadow::ShadowConfig;
use crate::shares::{Shares, scale};

/// An experiment, ready to use.
#[derive(Debug)]
pub(crate) struct Experiment {
    pub(crate) name: Token,
    pub(crate) variants: Vec<Variant>,
    /// The request headers that it sets, for whichever variant: nobody else's are believed.
    pub(crate) owned: Vec<HeaderName>,
    pub(crate) shares: Shares,
    /// For the variant of a user.
    pub(crate) assignment: Salt,
    /// For whether a user takes part. Another one, so that those who do are spread over all variants.
    pub(crate) participation: Salt,
    pub(crate) subject: Vec<Part>,
    pub(crate) stranger: Stranger,
    pub(crate) cohort: Vec<CohortRule>,
}

/// A variant, ready to use.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: Token,
    /// Request headers.
    pub(crate) sets: Vec<(HeaderName, String)>,
    /// Request headers of the experiment that are not this variant's.
    pub(crate) unsets: Vec<HeaderName>,
    pub(crate) response_sets: Vec<(HeaderName, String)>,
    pub(crate) cluster: Option<String>,
    pub(crate) always: Option<Match>,
    pub(crate) shadow: Option<ShadowConfig>,
}

/// What becomes of requests without a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stranger {
    /// The client gets a cookie, by which it is known from now on.
    Cookie,
    /// Each gets a variant by chance.
    Chance,
    /// They do not take part.
    Default,
}

/// Who takes part.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CohortRule {
    /// Which requests this rule is for; all without it.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// The share of their users that takes part; all without it. A larger share has everyone of a smaller one.
    #[serde(default)]
    pub(crate) percent: Percent,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(!try_from)]
pub(crate) struct HeaderText(pub(crate) String);

impl TryFrom<String> for HeaderText {
    type Error = String;

    fn try_from(text: String) -> Result<HeaderText, String> {
        match text.is_empty() || text.contains(char::is_control) {
            true => Err(format!("{text:?}; expected a text without control characters")),
            false => Ok(HeaderText(text)),
        }
    }
}

/// What an experiment asks about a request.
pub(crate) trait Visitor: Facts {
    /// What the request shows of this kind.
    fn part(&self, part: &Part) -> Option<String>;

    /// The number in the filter's cookie, which it gets now if it has none.
    fn number(&self) -> &str;

    /// The variant that it asks for, if it may.
    fn wish(&self, experiment: &Experiment) -> Option<usize>;

    /// Any number, each as likely as another.
    fn draw(&self) -> u64;
}

/// What one request gets of one experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// By its place.
    pub(crate) variant: usize,
    /// Asked for or by a rule, so that it says nothing about users in general.
    pub(crate) forced: bool,
}

impl Experiment {
    /// The variant of a request; `None` for one that does not take part.
    pub(crate) fn assign(&self, visitor: &impl Visitor) -> Option<Assigned> {
        if let Some(variant) = visitor.wish(self).or_else(|| self.always(visitor)) {
            return Some(Assigned { variant, forced: true });
        }
        let participants = match self.cohort.is_empty() {
            true => Percent::ALL,
            false => self.cohort.iter().find(|rule| rule.matches.accepts(visitor))?.percent,
        };
        let subject = self.subject_of(visitor);
        if subject.is_none() && self.stranger != Stranger::Chance {
            return None;
        }
        let number = |salt: Salt| match &subject {
            Some(subject) => salt.hash(subject),
            None => visitor.draw(),
        };
        let takes_part = participants.includes(|| scale(number(self.participation), Percent::PARTS));
        takes_part.then(|| Assigned { variant: self.shares.variant(number(self.assignment)), forced: false })
    }

    /// The place of a variant of this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.variants.iter().position(|variant| variant.name.as_str() == name)
    }

    fn always(&self, visitor: &impl Visitor) -> Option<usize> {
        let is_for = |variant: &Variant| variant.always.as_ref().is_some_and(|rule| rule.accepts(visitor));
        self.variants.iter().position(is_for)
    }

    fn subject_of(&self, visitor: &impl Visitor) -> Option<String> {
        let known = self.subject.iter().filter_map(|part| visitor.part(part)).find(|value| !value.is_empty());
        known.or_else(|| (self.stranger == Stranger::Cookie).then(|| visitor.number().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::Config;

    #[derive(Default)]
    struct Someone {
        headers: Vec<(&'static str, String)>,
        number: &'static str,
        wish: Option<&'static str>,
        draw: u64,
    }

    impl Someone {
        fn user(name: impl ToString) -> Someone {
            Someone { headers: vec![("x-user", name.to_string())], ..Someone::default() }
        }

        fn with(mut self, name: &'static str, value: &str) -> Someone {
            self.headers.push((name, value.to_owned()));
            self
        }
    }

    impl Facts for Someone {
        fn header(&self, name: &str) -> Option<String> {
            self.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone())
        }

        fn client(&self) -> Option<IpAddr> {
            None
        }

        fn cluster(&self) -> Option<String> {
            None
        }
    }

    impl Visitor for Someone {
        fn part(&self, part: &Part) -> Option<String> {
            match part {
                Part::Header(name) => self.header(name),
                other => panic!("{other:?} was asked for"),
            }
        }

        fn number(&self) -> &str {
            self.number
        }

        fn wish(&self, experiment: &Experiment) -> Option<usize> {
            experiment.find(self.wish?)
        }

        fn draw(&self) -> u64 {
            self.draw
        }
    }

    /// An experiment with two halves; `more` are fields of it.
    fn halves(more: &str) -> Experiment {
        let json = format!(
            r#"{{"cookie": {{}}, "experiments": [{{"name": "checkout", "subject": ["header:x-user", "header:x-device"],
                "variants": [{{"name": "control", "weight": 1}},
                    {{"name": "blue", "weight": 1, "always": {{"headers": {{"x-staff": {{"present": true}}}}}}}}]
                {more}}}]}}"#
        );
        serde_json::from_str::<Config>(&json).unwrap().experiments.remove(0)
    }

    fn variant(experiment: &Experiment, someone: &Someone) -> Option<&'static str> {
        experiment.assign(someone).map(|assigned| ["control", "blue"][assigned.variant])
    }

    #[test]
    fn a_user_keeps_its_variant_and_users_have_both() {
        let experiment = halves("");
        let of = |user: u32| variant(&experiment, &Someone::user(user));
        assert!((0..50).all(|user| of(user) == of(user)));
        assert!(
            (0..50).any(|user| of(user) == Some("blue")) && (0..50).any(|user| of(user) == Some("control"))
        );
    }

    #[test]
    fn the_first_part_of_the_subject_that_is_not_empty_counts() {
        let experiment = halves("");
        for user in 0..50 {
            let known = variant(&experiment, &Someone::user(user).with("x-device", "phone"));
            assert_eq!(known, variant(&experiment, &Someone::user(user)));
            let unknown = Someone::user("").with("x-device", &user.to_string());
            assert_eq!(variant(&experiment, &unknown), variant(&experiment, &Someone::user(user)));
        }
    }

    #[test]
    fn who_has_no_subject_is_told_by_its_cookie_by_chance_or_not_at_all() {
        let numbers =
            ["1", "2", "3", "4", "5", "6", "7", "8"].map(|number| Someone { number, ..Someone::default() });
        for someone in &numbers {
            let by_number = variant(&halves(""), someone);
            assert_eq!(by_number, variant(&halves(""), &Someone::user(someone.number)));
        }
        let chance = halves(r#", "without_subject": "chance""#);
        let draws = [0, u64::MAX].map(|draw| variant(&chance, &Someone { draw, ..Someone::default() }));
        assert_eq!(draws, [Some("blue"), Some("control")]);
        let default = halves(r#", "without_subject": "default""#);
        assert_eq!(variant(&default, &Someone::default()), None);
    }

    #[test]
    fn a_wish_and_a_rule_come_before_the_share_and_are_not_counted_as_one() {
        let experiment = halves(r#", "cohort": [{"percent": 0}]"#);
        assert_eq!(experiment.assign(&Someone::user("ann")), None);
        let wishing = Someone { wish: Some("control"), ..Someone::user("ann").with("x-staff", "1") };
        assert_eq!(experiment.assign(&wishing), Some(Assigned { variant: 0, forced: true }));
        let staff = Someone::user("ann").with("x-staff", "1");
        assert_eq!(experiment.assign(&staff), Some(Assigned { variant: 1, forced: true }));
    }

    #[test]
    fn the_first_rule_that_matches_says_how_many_take_part() {
        let experiment = halves(
            r#", "cohort": [{"match": {"headers": {"x-country": {"exact": "de"}}}, "percent": 20},
                {"match": {"path": {"prefix": "/shop"}}}]"#,
        );
        let takes_part = |someone: Someone| experiment.assign(&someone).is_some();
        let germans =
            (0..10_000).filter(|user| takes_part(Someone::user(user).with("x-country", "de"))).count();
        assert!(germans.abs_diff(2000) <= 150, "{germans}");
        assert!((0..50).all(|user| takes_part(Someone::user(user).with(":path", "/shop/1"))));
        assert!(!(0..50).any(|user| takes_part(Someone::user(user).with(":path", "/"))));
    }

    #[test]
    fn a_larger_share_has_everyone_of_a_smaller_one_in_the_same_variants() {
        let share = |percent: u32| halves(&format!(r#", "cohort": [{{"percent": {percent}}}]"#));
        let (small, large) = (share(10), share(30));
        let (mut counts, mut blue) = ([0, 0], 0);
        for user in 0..10_000 {
            let (one, other) = (small.assign(&Someone::user(user)), large.assign(&Someone::user(user)));
            assert!(one.is_none() || one == other);
            counts[0] += u32::from(one.is_some());
            counts[1] += u32::from(other.is_some());
            blue += u32::from(other.is_some_and(|assigned| assigned.variant == 1));
        }
        assert!(counts[0].abs_diff(1000) <= 100 && counts[1].abs_diff(3000) <= 150, "{counts:?}");
        assert!(blue.abs_diff(1500) <= 150, "those who take part have all variants: {blue}");
    }
}
