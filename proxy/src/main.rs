//! The binary: an allocator and the command line. Everything else is the library.

use std::process::ExitCode;

/// Freed memory goes back to the thread that works with it: workers share no allocator lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A sidecar needs a few MiB in many places, and each would take a page of 2 MiB for itself: three times the memory for
    // no time that could be measured. Where the kernel refuses, it only takes more.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    tidegate::cli::main()
}
