//! Ctrl-C and `kill`, as something that can be waited for.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// From now on SIGINT and SIGTERM do not end the process: each arrives here.
pub(crate) fn catch() -> io::Result<Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
    });
    Ok(receiver)
}
