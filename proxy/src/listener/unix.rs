//! Listening UNIX sockets: one for all workers, and its file for as long as somebody listens.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

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
    pub(crate) fn permit(&self, mode: u32) -> io::Result<u32> {
        let former = fs::symlink_metadata(&self.path)?.permissions().mode();
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))?;
        Ok(former & 0o7777)
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
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Listens on a UNIX socket, for each of `workers` with a descriptor of its own of the one socket, and with `mode` for its
/// file before anybody can connect. A file that nobody listens on any more is replaced.
///
/// # Errors
///
/// The kernel's. Somebody listens there, or what is there is no socket.
pub(crate) fn bind(
    address: UnixAddress,
    mode: Option<u32>,
    workers: usize,
) -> io::Result<(Vec<UnixListener>, Option<SocketFile>)> {
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
