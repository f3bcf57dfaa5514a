//! The comparison of two observations, and the reviewed list of what may differ.

use super::deliberate::DELIBERATE;

/// A place where the two sides differ: lines of one stand where lines of the other do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunk<'a> {
    envoy: Vec<&'a str>,
    ours: Vec<&'a str>,
}

/// Fails the test unless the two are equal but for what is listed for this case, and all of that is there.
pub(crate) fn compare(case: &str, envoy: &[String], ours: &[String], against_itself: bool) {
    let entries = DELIBERATE.iter().filter(|entry| entry.case == case && !against_itself);
    let mut listed: Vec<(Hunk<'_>, &str)> = entries
        .flat_map(|entry| entry.places.iter().map(|(envoy, ours)| (Hunk::of(envoy, ours), entry.reason)))
        .collect();
    let mut unlisted = Vec::new();
    for hunk in hunks(envoy, ours) {
        match listed.iter().position(|(known, _)| *known == hunk) {
            Some(at) => drop(listed.remove(at)),
            None => unlisted.push(show(&hunk)),
        }
    }
    assert!(
        unlisted.is_empty(),
        "{case:?}: what tidegate does (+) differs from what Envoy does (-):\n{}\nThe whole of it here:\n{}",
        unlisted.join("\n"),
        ours.join("\n")
    );
    let gone: Vec<String> = listed.iter().map(|(hunk, reason)| format!("{reason}\n{}", show(hunk))).collect();
    assert!(gone.is_empty(), "{case:?}: deliberate.rs lists what is not there:\n{}", gone.join("\n"));
}

impl<'a> Hunk<'a> {
    fn of(envoy: &[&'a str], ours: &[&'a str]) -> Hunk<'a> {
        Hunk { envoy: envoy.to_vec(), ours: ours.to_vec() }
    }
}

fn show(hunk: &Hunk<'_>) -> String {
    let lines =
        |sign: char, lines: &[&str]| lines.iter().map(|line| format!("{sign} {line}\n")).collect::<String>();
    lines('-', &hunk.envoy) + &lines('+', &hunk.ours)
}

/// The differences along a longest common subsequence.
fn hunks<'a>(envoy: &'a [String], ours: &'a [String]) -> Vec<Hunk<'a>> {
    let longest = longest_common(envoy, ours);
    let (mut a, mut b) = (0, 0);
    let mut hunks = Vec::new();
    let mut open = Hunk { envoy: Vec::new(), ours: Vec::new() };
    while a < envoy.len() || b < ours.len() {
        if a < envoy.len() && b < ours.len() && envoy[a] == ours[b] {
            if !(open.envoy.is_empty() && open.ours.is_empty()) {
                hunks.push(std::mem::replace(&mut open, Hunk { envoy: Vec::new(), ours: Vec::new() }));
            }
            (a, b) = (a + 1, b + 1);
        } else if b == ours.len() || (a < envoy.len() && longest[a + 1][b] >= longest[a][b + 1]) {
            open.envoy.push(&envoy[a]);
            a += 1;
        } else {
            open.ours.push(&ours[b]);
            b += 1;
        }
    }
    if !(open.envoy.is_empty() && open.ours.is_empty()) {
        hunks.push(open);
    }
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
    let found = hunks(&envoy, &ours);
    let hunk =
        |envoy: &[&'static str], ours: &[&'static str]| Hunk { envoy: envoy.to_vec(), ours: ours.to_vec() };
    assert_eq!(found, [hunk(&["b"], &["x"]), hunk(&["d"], &[]), hunk(&[], &["f"])]);
}
