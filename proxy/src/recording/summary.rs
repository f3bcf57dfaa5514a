//! What is said of a recording that was made, whoever made it.

use std::fmt;
use std::path::Path;

use crate::terminal::{grouped, many};

/// A recording that was made, in a few lines for people.
#[derive(Debug)]
pub struct Summary<'a> {
    /// Where it is.
    pub file: &'a Path,
    /// Exchanges that began in it.
    pub exchanges: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Whether other words stand in the place of its secrets.
    pub is_masked: bool,
    /// Why it ended before its time, if it did.
    pub cut: Option<&'a str>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        writeln!(
            f,
            "{file}: {}, {} KiB{}",
            many(self.exchanges, "exchange"),
            grouped(self.bytes.div_ceil(1024)),
            if self.is_masked { ", secrets masked" } else { ", SECRETS INCLUDED" },
        )?;
        if let Some(reason) = self.cut {
            writeln!(f, "the recording is not whole: {reason}")?;
        }
        write!(f, "next: tidegate filter replay {file} FILTER.wasm")
    }
}
