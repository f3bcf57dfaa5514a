//! The kit, tried with filters of which it is known what they do.

mod callouts;
mod chunking;
mod faults;
mod guest;
mod language;
mod rates;
mod steps;
mod world;
