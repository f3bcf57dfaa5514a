//! What is looked for. Patterns are in the form that texts are brought into before: small letters, single blanks, no escapes.

use serde::Deserialize;

/// The most rules together: each is a bit.
pub(crate) const MOST: usize = 64;
/// The shortest pattern, in bytes: a shorter one is in everything.
const SHORTEST: usize = 3;

/// Patterns that mean one thing, and how much that weighs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) score: u32,
    pub(crate) patterns: Vec<String>,
}

/// A start, and no more than that: for everything that there is see the OWASP Core Rule Set.
const SHIPPED: [(&str, u32, &[&str]); 6] = [
    (
        "sql_injection",
        5,
        &[
            "union select",
            "union all select",
            "union/**/select",
            "' or '1'='1",
            "' or 1=1",
            "\" or \"1\"=\"1",
            "' or ''='",
            "; drop table",
            "'; exec ",
            "information_schema.",
            "xp_cmdshell",
            "waitfor delay '",
            "pg_sleep(",
            "benchmark(",
            "into outfile '",
            "load_file(",
        ],
    ),
    (
        "traversal",
        5,
        &["../../", "..\\..\\", "/..;/", "/etc/passwd", "/etc/shadow", "/proc/self/", "\\windows\\win.ini"],
    ),
    (
        "cross_site_scripting",
        5,
        &[
            "<script",
            "javascript:",
            " onerror=",
            " onload=",
            "<iframe",
            "<svg/onload",
            "document.cookie",
            "srcdoc=",
        ],
    ),
    ("log4shell", 5, &["${jndi:", "${lower:", "${upper:", "${::-", "${env:", "${sys:"]),
    (
        "shell_injection",
        5,
        &["() { :;", ";cat /", "; cat /", "|/bin/sh", "| /bin/sh", "$(curl ", "$(wget ", "`wget "],
    ),
    ("scanner", 3, &["sqlmap", "nikto", "masscan", "nuclei"]),
];

/// The shipped rules without those, and the operator's own.
pub(crate) fn chosen(without: &[String], own: Vec<Rule>) -> Result<Vec<Rule>, String> {
    for (at, name) in without.iter().enumerate() {
        if !SHIPPED.iter().any(|(shipped, ..)| shipped == name) {
            let known = SHIPPED.map(|(name, ..)| name).join(", ");
            return Err(format!("without[{at}]: there is no rule `{name}`; there are {known}"));
        }
    }
    for (at, rule) in own.iter().enumerate() {
        if rule.name.is_empty() || SHIPPED.iter().any(|(shipped, ..)| *shipped == rule.name) {
            return Err(format!("rules[{at}].name: `{}` is empty or a shipped rule's", rule.name));
        }
        for (index, pattern) in rule.patterns.iter().enumerate() {
            if let Some(why) = problem(pattern) {
                return Err(format!("rules[{at}].patterns[{index}]: `{}` {why}", pattern.escape_debug()));
            }
        }
    }
    let shipped = SHIPPED.iter().filter(|(name, ..)| !without.iter().any(|one| one == name));
    let shipped = shipped.map(|(name, score, patterns)| Rule {
        name: (*name).to_owned(),
        score: *score,
        patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
    });
    let rules: Vec<Rule> = shipped.chain(own).collect();
    if rules.len() > MOST {
        return Err(format!("rules: there are {} together; expected at most {MOST}", rules.len()));
    }
    Ok(rules)
}

/// Why a pattern could never be found.
fn problem(pattern: &str) -> Option<&'static str> {
    if pattern.len() < SHORTEST {
        return Some("is too short: give three bytes or more");
    }
    let is_odd = |c: char| c.is_ascii_uppercase() || c.is_ascii_control() || c == '%' || c == '+';
    if pattern.contains(is_odd) || pattern.contains("  ") {
        return Some("is never found: write small letters, single blanks, and no escapes, `%` or `+`");
    }
    None
}
