//! stub
/// stub
#[derive(Debug)]
pub struct Exercise;
