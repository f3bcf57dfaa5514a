//! What the probe is made of, in whichever version of the ABI.

#[macro_use]
pub(crate) mod callbacks;
#[macro_use]
pub(crate) mod hostcalls;
mod memory;
pub(crate) mod play;
mod script;
mod values;
