//! Listening UNIX sockets: one for all workers, and its file for as long as somebody listens.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use socket2::{Domain, SockAddr, Socket, Type};

use super::socket::BACKLOG;
use crate::config::model::UnixAddress;

/// The file of a socket that is listened on. It goes with this, unless it is another's by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have taken the path over.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }

    /// Who may connect: the bits of `chmod(2)`. Returns those before.
    ///
    /// # Errors
    ///
    /// The kernel's. Something else is in its place, which is left as it is.
    pub(crate) fn permit(&self, mode: u32) -> io::Result<u32> {
        let file = open(&self.path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let found = File::from(file);
        let metadata = found.metadata()?;
        if identity_of(&metadata) != self.identity {
            let problem = "another file is in the place of its socket: remove that, and restart the proxy";
            return Err(io::Error::other(problem));
        }
        // Such a descriptor cannot be given permissions, but its name can, which is nobody else's.
        let name = format!("/proc/self/fd/{}", found.as_raw_fd());
        fs::set_permissions(name, fs::Permissions::from_mode(mode))?;
        Ok(metadata.mode() & 0o7777)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path); // it may be gone
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| identity_of(&metadata))
}

fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The right to begin to listen at a path: a file beside it that is locked for so long, and removed then. Without it a
/// socket that is about to be listened on looks like one that nobody listens on any more.
struct Turn {
    path: PathBuf,
    _locked: File,
}

impl Turn {
    /// # Errors
    ///
    /// Somebody else is at it: the address is in use, or will be at once.
    fn take(socket: &Path) -> io::Result<Turn> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".tidegate-lock");
        let path = PathBuf::from(path);
        loop {
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let file = options.open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::AddrInUse.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Who had it before may have removed it since it was opened.
            if identity(&path).is_ok_and(|found| file.metadata().is_ok_and(|it| identity_of(&it) == found)) {
                return Ok(Turn { path, _locked: file });
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // it is in nobody's way
    }
}

/// Listens on a UNIX socket, for each of `workers` with a descriptor of its own of the one socket, and with `mode` for its
/// file before anybody can connect. A file that nobody listens on any more is replaced, by one of those that try at once.
///
/// # Errors
///
/// The kernel's. Somebody listens there, or what is there is no socket.
pub(crate) fn bind(
    address: UnixAddress,
    mode: Option<u32>,
    workers: usize,
) -> io::Result<(Vec<UnixListener>, Option<SocketFile>)> {
    let _turn = address.path().map(Turn::take).transpose()?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let name = socket_address(address)?;
    match socket.bind(&name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(address, &name) => {
            address.path().map_or(Ok(()), fs::remove_file)?;
            socket.bind(&name)?;
        }
        bound => bound?,
    }
    let file = address.path().map(SocketFile::of).transpose()?;
    if let (Some(file), Some(mode)) = (&file, mode) {
        file.permit(mode)?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let each = (0..workers).map(|_| Ok(UnixListener::from(OwnedFd::from(socket.try_clone()?))));
    Ok((each.collect::<io::Result<_>>()?, file))
}

/// Whether a path is a socket's that nobody listens on.
fn is_abandoned(address: UnixAddress, name: &SockAddr) -> bool {
    let is_socket = |path| fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refuses = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Somebody who listens and accepts nobody is not waited for.
        socket.set_nonblocking(true)?;
        socket.connect(name)
    };
    address.path().is_some_and(is_socket)
        && refuses().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The same for the kernel.
fn socket_address(address: UnixAddress) -> io::Result<SockAddr> {
    match address.abstract_name() {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(address.name()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn of_several_who_take_over_an_abandoned_file_one_listens_there() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..100 {
            let path = folder.path().join(format!("{round}.sock"));
            drop(UnixListener::bind(&path).unwrap());
            let address = UnixAddress::new(path.to_str().unwrap()).unwrap();
            let barrier = Barrier::new(4);
            let begin = || {
                barrier.wait();
                bind(address, None, 1).map_err(|error| error.kind())
            };
            let bound = thread::scope(|scope| {
                let starters = [(); 4].map(|()| scope.spawn(begin));
                starters.map(|starter| starter.join().unwrap())
            });
            let (listening, refused): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
            assert_eq!(listening.len(), 1, "in round {round}");
            assert!(refused.iter().all(|it| matches!(it, Err(io::ErrorKind::AddrInUse))), "{refused:?}");
            UnixStream::connect(&path).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
