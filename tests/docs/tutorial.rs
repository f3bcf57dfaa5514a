//! The tutorial, followed literally in an empty folder, works.

use crate::reader::follow;

#[test]
fn the_tutorial_followed_literally_works() {
    let blocks = follow(include_str!("../../docs/src/write/tutorial.md"), &[]);
    assert!(blocks > 30, "the blocks of the page were not found");
}
