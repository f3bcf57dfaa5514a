//! What the operator writes, checked while it is read.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use vocabulary::{HeaderName, Match, Part, Token};

use crate::assign::Salt;
use crate::cookie::Cookie;
use crate::experiment::{CohortRule, Experiment, HeaderText, Stranger, Variant};
use crate::shadow::ShadowConfig;
use crate::shares::{Shares, Step};

/// The most experiments, variants of one, and steps of its weights.
const MAX_EXPERIMENTS: usize = 32;
const MAX_VARIANTS: usize = 32;
const MAX_STEPS: usize = 32;

/// The largest weight.
const MAX_WEIGHT: u32 = 1_000_000;

/// The configuration of `ab-route`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(title = "ab-route")]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The experiments, each by itself: which variant one gives a user says nothing about the others. Where several pick a
    /// cluster, the first does.
    #[schemars(length(min = 1, max = MAX_EXPERIMENTS))]
    experiments: Vec<ExperimentFile>,
    /// The request header that names the cluster of the variant: a route has it for its cluster, or matches on it.
    #[serde(default = "cluster_header")]
    cluster_header: HeaderName,
    /// The cookie by which clients without a subject are known again.
    cookie: Option<Cookie>,
    /// Lets requests ask for a variant: `x-ab-force: checkout=blue, search=new`. Without this none can.
    force: Option<Force>,
}

/// Which requests may ask for a variant, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Force {
    /// The header by which they ask.
    #[serde(default = "force_header")]
    pub(crate) header: HeaderName,
    /// Which requests may. The header of others is removed.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
}

/// One experiment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExperimentFile {
    /// Unique; in metrics and in the headers' names.
    name: Token,
    /// What its users get.
    #[schemars(length(min = 1, max = MAX_VARIANTS))]
    variants: Vec<VariantFile>,
    /// The variant that the others take their users from; the first one without this.
    control: Option<Token>,
    /// The weights that the variants had before, the oldest first: with them a change of weights moves only the
    /// difference. Each as it was, with the variants that there were.
    #[serde(default)]
    earlier_weights: Vec<BTreeMap<Token, u32>>,
    /// What users are known by: the first of these that a request has.
    #[serde(default)]
    subject: Vec<Part>,
    /// What becomes of requests that have none of them. `cookie` where the filter has a cookie, else `default`.
    without_subject: Option<Stranger>,
    /// Which requests take part: the first rule that matches says which share of its users. Without rules all do.
    #[serde(default)]
    cohort: Vec<CohortRule>,
    /// The request header that names the variant: `x-variant-NAME` without this.
    header: Option<HeaderName>,
    /// A response header that names the variant too.
    response_header: Option<HeaderName>,
    /// What users are shared out by, instead of the experiment's name: experiments with one salt and the same weights give
    /// a user the same variant, and another salt shares everyone out anew.
    salt: Option<String>,
}

/// One variant.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VariantFile {
    /// Unique in its experiment.
    name: Token,
    /// Its share of the users is this over the sum of the weights.
    #[schemars(range(max = MAX_WEIGHT))]
    weight: u32,
    /// The cluster that its requests go to.
    cluster: Option<HeaderText>,
    /// Request headers that it sets.
    #[serde(default)]
    headers: BTreeMap<HeaderName, HeaderText>,
    /// Response headers that it sets.
    #[serde(default)]
    response_headers: BTreeMap<HeaderName, HeaderText>,
    /// Requests that get it whatever their user would.
    always: Option<Match>,
    /// Another cluster that gets a copy of its requests.
    shadow: Option<ShadowConfig>,
}

fn cluster_header() -> HeaderName {
    HeaderName::from_known("x-ab-cluster")
}

fn force_header() -> HeaderName {
    HeaderName::from_known("x-ab-force")
}

/// The configuration, ready to use.
#[derive(Debug, Deserialize)]
#[serde(try_from = "File")]
pub struct Config {
    pub(crate) experiments: Vec<Experiment>,
    pub(crate) cluster_header: HeaderName,
    pub(crate) cookie: Option<Cookie>,
    pub(crate) force: Option<Force>,
}

impl TryFrom<File> for Config {
    type Error = String;

    fn try_from(file: File) -> Result<Config, String> {
        let count = file.experiments.len();
        if !(1..=MAX_EXPERIMENTS).contains(&count) {
            return Err(format!("experiments: {count} of them; expected 1 to {MAX_EXPERIMENTS}"));
        }
        let has_cookie = file.cookie.is_some();
        let mut headers = Headers::default();
        headers.take(&file.cluster_header, "cluster_header")?;
        if let Some(force) = &file.force {
            headers.take(&force.header, "force.header")?;
        }
        let mut names = BTreeSet::new();
        let mut experiments = Vec::with_capacity(count);
        for (index, experiment) in file.experiments.into_iter().enumerate() {
            let at = format!("experiments[{index}]");
            if !names.insert(experiment.name.clone()) {
                return Err(format!(
                    "{at}.name: a second experiment `{}`; expected a name of its own",
                    experiment.name
                ));
            }
            let experiment = experiment.check(has_cookie).map_err(|error| format!("{at}.{error}"))?;
            for name in &experiment.owned {
                headers.take(name, &at)?;
            }
            experiments.push(experiment);
        }
        Ok(Config {
            experiments,
            cluster_header: file.cluster_header,
            cookie: file.cookie,
            force: file.force,
        })
    }
}

/// Who sets which request header: no two may set one.
#[derive(Default)]
struct Headers(BTreeMap<HeaderName, String>);

impl Headers {
    fn take(&mut self, name: &HeaderName, place: &str) -> Result<(), String> {
        match self.0.insert(name.clone(), place.to_owned()) {
            Some(other) => Err(format!(
                "{place}: the request header `{name}` is set by {other}; expected one of its own"
            )),
            None => Ok(()),
        }
    }
}

impl ExperimentFile {
    /// An error begins with the field.
    fn check(self, has_cookie: bool) -> Result<Experiment, String> {
        let count = self.variants.len();
        if !(1..=MAX_VARIANTS).contains(&count) {
            return Err(format!("variants: {count} of them; expected 1 to {MAX_VARIANTS}"));
        }
        let stranger =
            self.without_subject.unwrap_or(if has_cookie { Stranger::Cookie } else { Stranger::Default });
        if stranger == Stranger::Cookie && !has_cookie {
            return Err("without_subject: `cookie`, and the filter has no `cookie`; expected one beside \
                        `experiments`"
                .to_owned());
        }
        if stranger == Stranger::Default && self.subject.is_empty() {
            return Err("subject: nobody can take part; expected a subject, a `cookie` for the filter, or \
                        `without_subject: chance`"
                .to_owned());
        }
        let shares = self.shares()?;
        let header =
            self.header.unwrap_or_else(|| HeaderName::from_known(&format!("x-variant-{}", self.name)));
        let mut owned = BTreeSet::from([header.clone()]);
        owned.extend(self.variants.iter().flat_map(|variant| variant.headers.keys().cloned()));
        let salt = self.salt.as_deref().unwrap_or(self.name.as_str());
        let variants = self.variants.into_iter().enumerate().map(|(index, variant)| {
            let at = |error| format!("variants[{index}].{error}");
            variant.check(&header, self.response_header.as_ref(), &owned).map_err(at)
        });
        Ok(Experiment {
            variants: variants.collect::<Result<_, _>>()?,
            owned: owned.iter().cloned().collect(),
            assignment: Salt::of(salt),
            participation: Salt::of(&format!("{salt}/cohort")),
            shares,
            subject: self.subject,
            stranger,
            cohort: self.cohort,
            name: self.name,
        })
    }

    fn shares(&self) -> Result<Shares, String> {
        let names: Vec<&str> = self.variants.iter().map(|variant| variant.name.as_str()).collect();
        let mut unique = BTreeSet::new();
        if let Some(index) = names.iter().position(|name| !unique.insert(*name)) {
            return Err(format!(
                "variants[{index}].name: a second variant `{}`; expected a name of its own",
                names[index]
            ));
        }
        let is_control = |control: &Token| names.iter().position(|name| *name == control.as_str());
        let control = self.control.as_ref().map_or(Ok(0), |control| {
            is_control(control)
                .ok_or_else(|| format!("control: `{control}`; expected one of {}", list(&names)))
        })?;
        if self.earlier_weights.len() >= MAX_STEPS {
            return Err(format!(
                "earlier_weights: {} of them; expected at most {}",
                self.earlier_weights.len(),
                MAX_STEPS - 1
            ));
        }
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(self.earlier_weights.len() + 1);
        for (index, weights) in self.earlier_weights.iter().enumerate() {
            let step = weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
            let at = format!("earlier_weights[{index}]");
            if let Some(name) = weights.keys().find(|name| !names.contains(&name.as_str())) {
                return Err(format!(
                    "{at}: `{name}`; expected one of {}: one that has gone stays among the variants with weight 0",
                    list(&names)
                ));
            }
            steps.push(weighed(step).map_err(|error| format!("{at}{error}"))?);
        }
        let now = self.variants.iter().map(|variant| (variant.name.as_str(), variant.weight)).collect();
        steps.push(weighed(now).map_err(|error| format!("variants{error}"))?);
        Ok(Shares::new(&names, control, &steps))
    }
}

fn weighed(step: Step<'_>) -> Result<Step<'_>, String> {
    if let Some((name, weight)) = step.iter().find(|(_, weight)| *weight > MAX_WEIGHT) {
        return Err(format!(": `{name}` has weight {weight}; expected at most {MAX_WEIGHT}"));
    }
    match step.iter().any(|(_, weight)| *weight > 0) {
        true => Ok(step),
        false => Err(": every weight is 0; expected one that is not".to_owned()),
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl VariantFile {
    /// An error begins with the field.
    fn check(
        self,
        header: &HeaderName,
        response_header: Option<&HeaderName>,
        owned: &BTreeSet<HeaderName>,
    ) -> Result<Variant, String> {
        if self.headers.contains_key(header) {
            return Err(format!("headers: `{header}` names the variant; expected another"));
        }
        let name = self.name.as_str().to_owned();
        let text = |(name, value): (HeaderName, HeaderText)| (name, value.0);
        let own = self.headers.keys().chain([header]).cloned().collect::<BTreeSet<_>>();
        let mut sets: Vec<_> = vec![(header.clone(), name.clone())];
        sets.extend(self.headers.into_iter().map(text));
        let mut response_sets: Vec<_> = self.response_headers.into_iter().map(text).collect();
        response_sets.extend(response_header.map(|header| (header.clone(), name)));
        Ok(Variant {
            name: self.name,
            sets,
            unsets: owned.difference(&own).cloned().collect(),
            response_sets,
            cluster: self.cluster.map(|cluster| cluster.0),
            always: self.always,
            shadow: self.shadow,
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())
    }

    /// A configuration with one experiment, of which these are the fields beside its name.
    fn one(fields: &str) -> Result<Config, String> {
        read(&format!(r#"{{"experiments": [{{"name": "e", "subject": ["header:x-user"], {fields}}}]}}"#))
    }

    #[test]
    fn the_schema_is_that_of_the_code() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(File)).unwrap();
        expect_file!["../config.schema.json"].assert_eq(&format!("{schema}\n"));
    }

    #[test]
    fn a_variant_sets_the_headers_of_its_experiment_and_no_others_are_believed() {
        let config = one(
            r#""response_header": "x-got", "variants": [{"name": "a", "weight": 1, "headers": {"x-A": "1", "x-both": "a"}},
                {"name": "b", "weight": 1, "headers": {"x-both": "b"}, "response_headers": {"x-b": "2"}}]"#,
        )
        .unwrap();
        let experiment = &config.experiments[0];
        let texts = |names: &[HeaderName]| names.iter().map(HeaderName::to_string).collect::<Vec<_>>();
        let pairs = |sets: &[(HeaderName, String)]| {
            sets.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(texts(&experiment.owned), ["x-a", "x-both", "x-variant-e"]);
        let [a, b] = &experiment.variants[..] else { panic!("two variants") };
        assert_eq!(pairs(&a.sets), ["x-variant-e=a", "x-a=1", "x-both=a"]);
        assert_eq!(
            (pairs(&b.sets), texts(&b.unsets)),
            (vec!["x-variant-e=b".into(), "x-both=b".into()], vec!["x-a".into()])
        );
        assert_eq!(
            (pairs(&a.response_sets), pairs(&b.response_sets)),
            (vec!["x-got=a".into()], vec!["x-b=2".into(), "x-got=b".into()])
        );
    }

    #[test]
    fn an_error_names_the_field_its_value_and_what_was_expected() {
        let two = r#""variants": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]"#;
        let wrong = [
            (r#""variants": []"#.to_owned(), "experiments[0].variants: 0 of them; expected 1 to 32"),
            (
                r#""variants": [{"name": "a", "weight": 0}]"#.to_owned(),
                "experiments[0].variants: every weight is 0; expected one that is not",
            ),
            (
                r#""variants": [{"name": "a", "weight": 1000001}]"#.to_owned(),
                "experiments[0].variants: `a` has weight 1000001; expected at most 1000000",
            ),
            (
                r#""variants": [{"name": "a", "weight": -1}]"#.to_owned(),
                "experiments[0].variants[0].weight: invalid value: integer `-1`, expected u32",
            ),
            (
                r#""variants": [{"name": "a", "weight": 1}, {"name": "a", "weight": 1}]"#.to_owned(),
                "experiments[0].variants[1].name: a second variant `a`; expected a name of its own",
            ),
            (format!(r#"{two}, "control": "c""#), "experiments[0].control: `c`; expected one of `a`, `b`"),
            (
                format!(r#"{two}, "earlier_weights": [{{"a": 1}}, {{"a": 1, "c": 1}}]"#),
                "experiments[0].earlier_weights[1]: `c`; expected one of `a`, `b`: one that has gone stays",
            ),
            (
                format!(r#"{two}, "earlier_weights": [{{"a": 0}}]"#),
                "experiments[0].earlier_weights[0]: every weight is 0",
            ),
            (format!(r#"{two}, "without_subject": "cookie""#), "experiments[0].without_subject: `cookie`"),
            (
                format!(r#"{two}, "without_subject": "guess""#),
                "experiments[0].without_subject: unknown variant `guess`, expected one of `cookie`, `chance`, `default`",
            ),
            (
                format!(r#"{two}, "header": "x-ab-cluster""#),
                "experiments[0]: the request header `x-ab-cluster` is set by cluster_header; expected one of its own",
            ),
            (
                r#""variants": [{"name": "a", "weight": 1, "headers": {"x-variant-e": "b"}}]"#.to_owned(),
                "experiments[0].variants[0].headers: `x-variant-e` names the variant; expected another",
            ),
            (
                r#""variants": [{"name": "a", "weight": 1, "headers": {"x-a": "b\nc"}}]"#.to_owned(),
                "experiments[0].variants[0].headers.x-a: \"b\\nc\"; expected a text without control characters",
            ),
            (
                r#""variants": [{"name": "a", "weight": 1, "shadow": {"cluster": "c", "percent": 101}}]"#
                    .to_owned(),
                "experiments[0].variants[0].shadow.percent: invalid value: floating point `101.0`, expected a percentage",
            ),
            (
                format!(r#"{two}, "cohort": [{{"match": {{"path": {{"includes": "/"}}}}}}]"#),
                "experiments[0].cohort[0].match.path.includes: unknown field `includes`",
            ),
            (
                format!(r#"{two}, "weights": 1"#),
                "experiments[0].weights: unknown field `weights`, expected one of `name`",
            ),
        ];
        for (fields, message) in wrong {
            let error = one(&fields).expect_err(&fields);
            assert!(error.contains(message), "{fields} gave: {error}");
        }
    }

    #[test]
    fn experiments_keep_apart() {
        let experiment = |name: &str, more: &str| {
            format!(
                r#"{{"name": "{name}", "subject": ["identity"], "variants": [{{"name": "a", "weight": 1{more}}}]}}"#
            )
        };
        let both = |one: &str, other: &str| read(&format!(r#"{{"experiments": [{one}, {other}]}}"#));
        let error = both(&experiment("e", ""), &experiment("e", "")).unwrap_err();
        assert!(error.contains("experiments[1].name: a second experiment `e`"), "{error}");
        let sets = r#", "headers": {"x-same": "1"}"#;
        let error = both(&experiment("e", sets), &experiment("f", sets)).unwrap_err();
        assert!(
            error.contains("experiments[1]: the request header `x-same` is set by experiments[0]"),
            "{error}"
        );
        let error = read(r#"{"experiments": [{"name": "e", "variants": [{"name": "a", "weight": 1}]}]}"#)
            .unwrap_err();
        assert!(error.contains("experiments[0].subject: nobody can take part"), "{error}");
    }
}
