//! The comparison of two observations, and the reviewed list of what may differ.

use super::deliberate::{self, Place};
use super::observe::{At, Observation};

/// A place where the two sides differ: lines of one stand where lines of the other do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hunk<'a> {
    at: At,
    envoy: Vec<&'a str>,
    ours: Vec<&'a str>,
}

/// Fails the test unless the two are equal but for what is listed for this case, and all of that is there, each in its
/// place: seen by those it is listed for, and in the order of its entry.
pub(crate) fn compare(case: &str, envoy: &Observation, ours: &Observation, against_itself: bool) {
    let entries = deliberate::all().filter(|entry| entry.case == case && !against_itself);
    let mut listed: Vec<(&str, &[Place])> = entries.map(|entry| (entry.reason, entry.places)).collect();
    let mut unlisted = Vec::new();
    for hunk in At::ALL.into_iter().flat_map(|at| hunks(at, envoy.of(at), ours.of(at))) {
        let known = |(_, places): &&mut (&str, &[Place])| places.first().is_some_and(|place| hunk.is(place));
        match listed.iter_mut().find(known) {
            Some((_, places)) => *places = &places[1..],
            None => unlisted.push(hunk.to_string()),
        }
    }
    assert!(
        unlisted.is_empty(),
        "{case:?}: what tidegate does (+) differs from what Envoy does (-):\n{}\nThe whole of it here:\n{}",
        unlisted.join("\n"),
        ours.lines().join("\n")
    );
    listed.retain(|(_, places)| !places.is_empty());
    assert!(listed.is_empty(), "{case:?}: `deliberate` lists what is not there, or not there: {listed:#?}");
}

impl Hunk<'_> {
    fn is(&self, place: &Place) -> bool {
        self.at == place.at && self.envoy == place.envoy && self.ours == place.ours
    }
}

impl std::fmt::Display for Hunk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}", self.at)?;
        self.envoy.iter().try_for_each(|line| writeln!(f, "- {line}"))?;
        self.ours.iter().try_for_each(|line| writeln!(f, "+ {line}"))
    }
}

/// The differences along a longest common subsequence.
fn hunks<'a>(at: At, envoy: &'a [String], ours: &'a [String]) -> Vec<Hunk<'a>> {
    let longest = longest_common(envoy, ours);
    let (mut a, mut b) = (0, 0);
    let mut hunks = Vec::new();
    let nothing = Hunk { at, envoy: Vec::new(), ours: Vec::new() };
    let mut open = nothing.clone();
    while a < envoy.len() || b < ours.len() {
        if a < envoy.len() && b < ours.len() && envoy[a] == ours[b] {
            hunks.push(std::mem::replace(&mut open, nothing.clone()));
            (a, b) = (a + 1, b + 1);
        } else if b == ours.len() || (a < envoy.len() && longest[a + 1][b] >= longest[a][b + 1]) {
            open.envoy.push(&envoy[a]);
            a += 1;
        } else {
            open.ours.push(&ours[b]);
            b += 1;
        }
    }
    hunks.push(open);
    hunks.retain(|hunk| *hunk != nothing);
    hunks
}

/// For each pair of positions, the length of the longest common subsequence of what follows them.
fn longest_common(a: &[String], b: &[String]) -> Vec<Vec<usize>> {
    let mut longest = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = match a[i] == b[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    longest
}

#[test]
fn a_difference_is_found_where_it_is() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (envoy, ours) = (lines("a b c d e"), lines("a x c e f"));
    let at = At::Guests;
    let found = hunks(at, &envoy, &ours);
    let hunk = |envoy: &[&'static str], ours: &[&'static str]| Hunk {
        at,
        envoy: envoy.to_vec(),
        ours: ours.to_vec(),
    };
    assert_eq!(found, [hunk(&["b"], &["x"]), hunk(&["d"], &[]), hunk(&[], &["f"])]);
}

#[test]
fn every_entry_is_for_a_case_that_there_is() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/differential");
    let files = std::fs::read_dir(folder).expect("the tests are where they were built");
    let files = files.map(|file| file.expect("it can be read").path()).filter(|file| file.is_file());
    let cases: String = files.map(|file| std::fs::read_to_string(file).expect("it is text")).collect();
    for entry in deliberate::all() {
        assert!(cases.contains(&format!("(\"{}\"", entry.case)), "there is no case {:?}", entry.case);
    }
}
