//! WASI preview 1, as much as guests' run-time libraries need: output is a log, there is the time, randomness and an
//! environment, and no file system. Every function of it can be imported; what is not offered answers an errno that
//! those libraries understand (the same as Envoy's, since filters were tried there).

use std::time::Duration;

use super::{Call, Outcome, log, timer};
use crate::wasm::abi::LogLevel;
use crate::wasm::fault::Stop;
use crate::wasm::host::Host;
use crate::wasm::memory::{OutOfBounds, check, load_u32, slice, slice_mut, store_u32, store_u64, view};
use crate::wasm::services::{NoRandomness, nanoseconds};

/// WASI's error numbers, those in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Errno {
    /// No such file descriptor.
    Badf = 8,
    /// A pointer does not point into the guest's memory.
    Fault = 21,
    /// An argument is out of range.
    Inval = 28,
    /// No such file.
    Noent = 44,
    /// What Envoy answers where a folder is read.
    Exist = 20,
    /// There is no such function here.
    Nosys = 52,
    /// This is not supported.
    Notsup = 58,
}

impl From<OutOfBounds> for Errno {
    fn from(_: OutOfBounds) -> Errno {
        Errno::Fault
    }
}

/// How a function ends.
type Wasi = Result<(), Errno>;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// The most bytes that are written to the log, and of randomness that are given, in one call.
const MAX_LINE: usize = 64 << 10;
const MAX_RANDOM: u32 = 64 << 10;

/// Functions whose answer is always the same.
macro_rules! fixed {
    ($($(#[$meta:meta])* $name:ident($($param:ty),*) = $answer:expr;)*) => {
        $(
            $(#[$meta])*
            #[allow(clippy::too_many_arguments, reason = "WASI has them")]
            pub(crate) fn $name(_: &mut Call<'_>, $(_: $param),*) -> Wasi {
                $answer
            }
        )*
    };
}

/// Functions that an output takes without effect, and that need a file descriptor to be one.
macro_rules! outputs_only {
    ($($(#[$meta:meta])* $name:ident($($param:ty),*);)*) => {
        $(
            $(#[$meta])*
            pub(crate) fn $name(_: &mut Call<'_>, fd: u32, $(_: $param),*) -> Wasi {
                an_output(fd)
            }
        )*
    };
}

fixed! {
    /// `args_get` (WASI): gives no arguments.
    args_get(u32, u32) = Ok(());
    /// `fd_advise` (WASI): takes the advice.
    fd_advise(u32, u64, u64, u32) = Ok(());
    /// `fd_close` (WASI): does nothing.
    fd_close(u32) = Ok(());
    /// `fd_seek` (WASI): does nothing.
    fd_seek(u32, u64, u32, u32) = Ok(());
    /// `sched_yield` (WASI): does nothing.
    sched_yield() = Ok(());
    /// `fd_fdstat_set_flags` (WASI): there are no flags.
    ///
    /// - `Nosys`: always.
    fd_fdstat_set_flags(u32, u32) = Err(Errno::Nosys);
    /// `fd_pread` (WASI): there are no files, and nothing to read.
    ///
    /// - `Nosys`: always.
    fd_pread(u32, u32, u32, u64, u32) = Err(Errno::Nosys);
    /// `fd_prestat_dir_name` (WASI): there are no folders.
    ///
    /// - `Nosys`: always.
    fd_prestat_dir_name(u32, u32, u32) = Err(Errno::Nosys);
    /// `fd_read` (WASI): there are no files, and nothing to read.
    ///
    /// - `Nosys`: always.
    fd_read(u32, u32, u32, u32) = Err(Errno::Nosys);
    /// `fd_filestat_get` (WASI): there are no files.
    ///
    /// - `Badf`: always.
    fd_filestat_get(u32, u32) = Err(Errno::Badf);
    /// `fd_prestat_get` (WASI): there are no folders: run-time libraries stop looking for them here.
    ///
    /// - `Badf`: always.
    fd_prestat_get(u32, u32) = Err(Errno::Badf);
    /// `path_create_directory` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_create_directory(u32, u32, u32) = Err(Errno::Notsup);
    /// `path_filestat_get` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_filestat_get(u32, u32, u32, u32, u32) = Err(Errno::Notsup);
    /// `path_filestat_set_times` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_filestat_set_times(u32, u32, u32, u32, u64, u64, u32) = Err(Errno::Notsup);
    /// `path_link` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_link(u32, u32, u32, u32, u32, u32, u32) = Err(Errno::Notsup);
    /// `path_remove_directory` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_remove_directory(u32, u32, u32) = Err(Errno::Notsup);
    /// `path_rename` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_rename(u32, u32, u32, u32, u32, u32) = Err(Errno::Notsup);
    /// `path_symlink` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_symlink(u32, u32, u32, u32, u32) = Err(Errno::Notsup);
    /// `path_unlink_file` (WASI): there are no files.
    ///
    /// - `Notsup`: always.
    path_unlink_file(u32, u32, u32) = Err(Errno::Notsup);
    /// `sock_shutdown` (WASI): there are no sockets.
    ///
    /// - `Notsup`: always.
    sock_shutdown(u32, u32) = Err(Errno::Notsup);
    /// `path_open` (WASI): there are no files.
    ///
    /// - `Noent`: always.
    path_open(u32, u32, u32, u32, u32, u64, u64, u32, u32) = Err(Errno::Noent);
}

outputs_only! {
    /// `fd_allocate` (WASI): does nothing.
    ///
    /// - `Badf`: the descriptor is not 1 or 2.
    fd_allocate(u64, u64);
    /// `fd_sync` and `fd_datasync` (WASI): nothing is held back.
    ///
    /// - `Badf`: the descriptor is not 1 or 2.
    fd_sync();
    /// `fd_fdstat_set_rights` (WASI): does nothing.
    ///
    /// - `Badf`: the descriptor is not 1 or 2.
    fd_fdstat_set_rights(u64, u64);
    /// `fd_filestat_set_size` (WASI): does nothing.
    ///
    /// - `Badf`: the descriptor is not 1 or 2.
    fd_filestat_set_size(u64);
    /// `fd_filestat_set_times` (WASI): does nothing.
    ///
    /// - `Badf`: the descriptor is not 1 or 2.
    fd_filestat_set_times(u64, u64, u32);
}

/// `args_sizes_get` (WASI): writes 0 and 0: there are no arguments.
///
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn args_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Wasi {
    let (memory, _) = view(call)?;
    check(memory, size, 4)?;
    store_u32(memory, count, 0)?;
    store_u32(memory, size, 0)?;
    Ok(())
}

/// `environ_get` (WASI): writes the filter's `env`: `KEY=VALUE`, each with a NUL behind it, and a pointer to each.
///
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn environ_get(call: &mut Call<'_>, environ: u32, buffer: u32) -> Wasi {
    let (memory, host) = view(call)?;
    let (mut pointer, mut place) = (u64::from(buffer), u64::from(environ));
    for (key, value) in &host.root().filter.env {
        let entry = format!("{key}={value}\0");
        let at = u32::try_from(pointer).map_err(|_| Errno::Fault)?;
        let len = u32::try_from(entry.len()).map_err(|_| Errno::Fault)?;
        slice_mut(memory, at, len)?.copy_from_slice(entry.as_bytes());
        store_u32(memory, u32::try_from(place).map_err(|_| Errno::Fault)?, at)?;
        pointer += u64::from(len);
        place += 4;
    }
    Ok(())
}

/// `environ_sizes_get` (WASI): writes how many variables there are, and how many bytes they take.
///
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn environ_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Wasi {
    let (memory, host) = view(call)?;
    let env = &host.root().filter.env;
    let bytes: usize = env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    check(memory, size, 4)?;
    store_u32(memory, count, u32::try_from(env.len()).map_err(|_| Errno::Inval)?)?;
    store_u32(memory, size, u32::try_from(bytes).map_err(|_| Errno::Inval)?)?;
    Ok(())
}

/// `clock_res_get` (WASI): writes 1 ns for the wall clock (0) and the monotonic one (1).
///
/// - `Notsup`: the clock is another.
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn clock_res_get(call: &mut Call<'_>, clock: u32, resolution: u32) -> Wasi {
    const REALTIME: u32 = 0;
    const MONOTONIC: u32 = 1;
    if clock != REALTIME && clock != MONOTONIC {
        return Err(Errno::Notsup);
    }
    let (memory, _) = view(call)?;
    store_u64(memory, resolution, 1)?;
    Ok(())
}

/// `clock_time_get` (WASI): writes the time of the wall clock (0), or of the monotonic one (1), which begins with the
/// instance, in nanoseconds.
///
/// - `Notsup`: the clock is another.
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn clock_time_get(call: &mut Call<'_>, clock: u32, _precision: u64, time: u32) -> Wasi {
    let (memory, host) = view(call)?;
    let now = match clock {
        0 => timer::wall_nanoseconds(host),
        1 => monotonic_nanoseconds(host),
        _ => return Err(Errno::Notsup),
    };
    store_u64(memory, time, now)?;
    Ok(())
}

/// Counted from a second before the instance began: Go's run-time takes 0 for a broken clock.
fn monotonic_nanoseconds(host: &mut Host) -> u64 {
    host.is_repeatable = false;
    let since =
        host.services.clock.monotonic().saturating_duration_since(host.began) + Duration::from_secs(1);
    nanoseconds(since)
}

/// `fd_fdstat_get` (WASI): writes that the outputs 1 and 2 can be written, and nothing else.
///
/// - `Badf`: the descriptor is not 1 or 2.
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn fd_fdstat_get(call: &mut Call<'_>, fd: u32, stat: u32) -> Wasi {
    const SIZE: u32 = 24;
    const RIGHTS_BASE: usize = 8;
    const FD_WRITE: u64 = 64;
    an_output(fd)?;
    let (memory, _) = view(call)?;
    let stat = slice_mut(memory, stat, SIZE)?;
    stat.fill(0);
    stat[RIGHTS_BASE..RIGHTS_BASE + 8].copy_from_slice(&FD_WRITE.to_le_bytes());
    Ok(())
}

/// `fd_pwrite` (WASI): the same as `fd_write`: an output has no positions.
///
/// - `Badf`: the descriptor is not 1 or 2.
/// - `Fault`: a pointer or a length is not of the guest's memory.
/// - `Inval`: the pieces are longer than 4 GiB.
pub(crate) fn fd_pwrite(
    call: &mut Call<'_>,
    fd: u32,
    vectors: u32,
    count: u32,
    _offset: u64,
    written: u32,
) -> Wasi {
    fd_write(call, fd, vectors, count, written)
}

/// `fd_readdir` (WASI): writes 0: there are no folders.
///
/// - `Exist`: always, as in Envoy.
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn fd_readdir(
    call: &mut Call<'_>,
    _fd: u32,
    _buffer: u32,
    _len: u32,
    _cookie: u64,
    used: u32,
) -> Wasi {
    let (memory, _) = view(call)?;
    store_u32(memory, used, 0)?;
    Err(Errno::Exist)
}

/// `fd_renumber` (WASI): there is nothing to renumber.
///
/// - `Notsup`: both are 1 or 2.
/// - `Badf`: one is not.
pub(crate) fn fd_renumber(_: &mut Call<'_>, from: u32, to: u32) -> Wasi {
    an_output(from)?;
    an_output(to)?;
    Err(Errno::Notsup)
}

/// `fd_tell` (WASI): an output is always at its beginning.
///
/// - `Badf`: the descriptor is not 1 or 2.
/// - `Fault`: `position` is not of the guest's memory.
pub(crate) fn fd_tell(call: &mut Call<'_>, fd: u32, position: u32) -> Wasi {
    an_output(fd)?;
    let (memory, _) = view(call)?;
    store_u64(memory, position, 0)?;
    Ok(())
}

/// `fd_write` (WASI): writes a line to the log, without the newline at its end and up to 64 KiB of it: output (1) as
/// `info`, errors (2) as `error`.
///
/// - `Badf`: the descriptor is not 1 or 2.
/// - `Fault`: a pointer or a length is not of the guest's memory.
/// - `Inval`: the pieces are longer than 4 GiB.
pub(crate) fn fd_write(call: &mut Call<'_>, fd: u32, vectors: u32, count: u32, written: u32) -> Wasi {
    let level = match fd {
        STDOUT => LogLevel::Info,
        STDERR => LogLevel::Error,
        _ => return Err(Errno::Badf),
    };
    let (memory, host) = view(call)?;
    check(memory, written, 4)?;
    let (line, len) = gather(memory, vectors, count)?;
    if len > 0 {
        log::write_line(host, level, line.strip_suffix(b"\n").unwrap_or(&line));
    }
    store_u32(memory, written, len)?;
    Ok(())
}

/// What the vectors point to, up to what a line may be, and how long all of it is.
fn gather(memory: &[u8], vectors: u32, count: u32) -> Result<(Vec<u8>, u32), Errno> {
    const VECTOR_LEN: u64 = 8;
    let table_len = u32::try_from(u64::from(count) * VECTOR_LEN).map_err(|_| Errno::Fault)?;
    let table = slice(memory, vectors, table_len)?;
    let (mut line, mut len) = (Vec::new(), 0u64);
    for vector in table.chunks_exact(VECTOR_LEN as usize) {
        let piece = slice(memory, load_u32(vector, 0)?, load_u32(vector, 4)?)?;
        len += piece.len() as u64;
        line.extend_from_slice(&piece[..piece.len().min(MAX_LINE - line.len())]);
    }
    Ok((line, u32::try_from(len).map_err(|_| Errno::Inval)?))
}

/// `path_readlink` (WASI): writes 0: there are no files.
///
/// - `Notsup`: always.
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn path_readlink(
    call: &mut Call<'_>,
    _fd: u32,
    _path: u32,
    _path_len: u32,
    _buffer: u32,
    _len: u32,
    used: u32,
) -> Wasi {
    let (memory, _) = view(call)?;
    store_u32(memory, used, 0)?;
    Err(Errno::Notsup)
}

/// `poll_oneoff` (WASI): writes 0: nothing ever happens, and that is a success, as Go's run-time, which calls this to
/// yield, wants it.
///
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn poll_oneoff(
    call: &mut Call<'_>,
    _subscriptions: u32,
    _events: u32,
    _count: u32,
    happened: u32,
) -> Wasi {
    let (memory, _) = view(call)?;
    store_u32(memory, happened, 0)?;
    Ok(())
}

/// `proc_exit` (WASI): stops the guest: a fault. (In Envoy it returns, and the guest's library then runs into
/// `unreachable`.)
pub(crate) fn proc_exit(_: &mut Call<'_>, code: u32) -> Outcome {
    Err(Stop::Exit(code).into())
}

/// `random_get` (WASI): fills a buffer with randomness, at most 64 KiB of it.
///
/// - `Inval`: it is longer.
/// - `Nosys`: the system has none.
/// - `Fault`: a pointer or a length is not of the guest's memory.
pub(crate) fn random_get(call: &mut Call<'_>, buffer: u32, len: u32) -> Wasi {
    if len > MAX_RANDOM {
        return Err(Errno::Inval);
    }
    let (memory, host) = view(call)?;
    host.is_repeatable = false;
    host.services.randomness.fill(slice_mut(memory, buffer, len)?).map_err(|NoRandomness| Errno::Nosys)
}

/// `sock_accept` (WASI): there are no sockets.
///
/// - `Notsup`: always.
/// - `Fault`: a pointer is not of the guest's memory.
pub(crate) fn sock_accept(call: &mut Call<'_>, _fd: u32, _flags: u32, accepted: u32) -> Wasi {
    let (memory, _) = view(call)?;
    store_u32(memory, accepted, 0)?;
    Err(Errno::Notsup)
}

/// `sock_recv` (WASI): there are no sockets.
///
/// - `Notsup`: always.
/// - `Fault`: a pointer is not of the guest's memory.
pub(crate) fn sock_recv(
    call: &mut Call<'_>,
    _fd: u32,
    _vectors: u32,
    _count: u32,
    _flags: u32,
    read: u32,
    out_flags: u32,
) -> Wasi {
    let (memory, _) = view(call)?;
    store_u32(memory, read, 0)?;
    slice_mut(memory, out_flags, 2)?.fill(0);
    Err(Errno::Notsup)
}

/// `sock_send` (WASI): there are no sockets.
///
/// - `Notsup`: always.
/// - `Fault`: a pointer is not of the guest's memory.
pub(crate) fn sock_send(
    call: &mut Call<'_>,
    _fd: u32,
    _vectors: u32,
    _count: u32,
    _flags: u32,
    written: u32,
) -> Wasi {
    let (memory, _) = view(call)?;
    store_u32(memory, written, 0)?;
    Err(Errno::Notsup)
}

fn an_output(fd: u32) -> Wasi {
    if matches!(fd, STDOUT | STDERR) { Ok(()) } else { Err(Errno::Badf) }
}
