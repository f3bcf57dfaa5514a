//! Cases: what a filter is given and what is expected of it, in YAML, run on the [test kit](crate::kit).
//!
//! ```text
//! text ── config::yaml, config::decode ──> raw (what the user wrote) ── check ──> model (what is run)
//!                                                         run: model + module ──> judge ──> report
//! ```
//!
//! The words are those of the configuration wherever it has one: a filter's settings are read by the code that reads them
//! there, and a value is compared in the words of a route's `match`. Everything that is wrong with a file is found before
//! anything runs, and what a case finds wrong is shown at the place in the file that expects otherwise.
//!
//! `tidegate filter test` shows the report. [`mod@bench`] measures what the same requests cost, for `tidegate filter bench`. It must
//! know no sockets, as the kit does not, and no real time but for what `bench` measures.

pub mod bench;
mod check;
mod compare;
mod exercise;
mod judge;
mod matcher;
mod model;
mod raw;
mod report;
mod run;
mod schema;
mod subject;

pub use exercise::Exercise;
pub use model::Suite;
pub use report::{Report, SuiteReport};
pub use run::run;
pub use schema::schema;
pub(crate) use subject::from_here;
pub use subject::{Code, Subject, SubjectError};
