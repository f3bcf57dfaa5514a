//! Relative links: the file is there, and has the heading that is named.

use std::fs;
use std::path::Path;

use crate::{pages, root, shown};

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for (page, text) in pages() {
        for link in links(&text) {
            if let Err(problem) = follow(&page, &text, link) {
                broken.push(format!("{}: ({link}): {problem}", shown(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let book = root().join("docs/src");
    let summary = fs::read_to_string(book.join("SUMMARY.md")).expect("the book has a summary");
    let listed: Vec<_> = links(&summary).map(|link| book.join(link)).collect();
    for (page, _) in pages() {
        if page.starts_with(&book) && !page.ends_with("SUMMARY.md") {
            assert!(listed.contains(&page), "{} is not in SUMMARY.md", shown(&page));
        }
    }
}

/// The targets of a page's links that stay in the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let outside_code = text.split("```").step_by(2);
    let targets =
        outside_code.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

fn follow(page: &Path, text: &str, link: &str) -> Result<(), String> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page.to_owned() } else { page.with_file_name("").join(file) };
    if !target.exists() {
        return Err("there is no such file".to_owned());
    }
    if anchor.is_empty() {
        return Ok(());
    }
    let text =
        if file.is_empty() { text.to_owned() } else { fs::read_to_string(&target).unwrap_or_default() };
    if headings(&text).any(|heading| heading == anchor) {
        return Ok(());
    }
    Err("there is no such heading".to_owned())
}

/// Headings as the book and GitHub make anchors of them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let outside_code = text.split("```").step_by(2);
    let lines = outside_code.flat_map(str::lines).filter(|line| line.starts_with('#'));
    lines.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
