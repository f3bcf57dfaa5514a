//! Builds Proxy-Wasm filters: the one place that finds a Rust toolchain for wasm32 and runs it.
//!
//! The filters in the binary, `tidegate filter build` and the guests of the tests are all built by this, so that what
//! works on one machine for one of them works for all.
//!
//! ```no_run
//! let module = tidegate_build::Build::new("filters/fault").profile("filter").run()?;
//! println!("{}", module.display());
//! # Ok::<(), tidegate_build::BuildError>(())
//! ```
//!
//! Who builds again and again while a filter is written starts builds that can be cancelled ([`Build::start`]), and asks
//! which files a module is made of ([`Build::sources`]).

mod build;
mod finish;
mod machine;
mod running;
mod sources;
mod toolchain;

pub use build::{Build, BuildError};
pub use running::{Asking, Built, Cancel, Messages, Running};
pub use sources::Sources;
pub use toolchain::{NoToolchain, Toolchain};
