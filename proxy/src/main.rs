//! The binary: an allocator and the command line. Everything else is the library.

use std::process::ExitCode;

/// Freed memory goes back to the thread that works with it: workers share no allocator lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
