//! WASI preview 1, as much as guests' run-time libraries need: output is a log, there is the time, randomness and an
//! environment, and no file system. Every function of it can be imported; what is not offered answers an errno that
//! those libraries understand (the same as Envoy's, since filters were tried there).

use std::sync::LazyLock;
use std::time::Instant;

use super::{Call, Outcome, log, timer};
use crate::wasm::abi::LogLevel;
use crate::wasm::fault::Stop;
use crate::wasm::host::Host;
use crate::wasm::memory::{OutOfBounds, check, load_u32, slice, slice_mut, store_u32, store_u64, view};

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

/// What the process's monotonic clock is counted from: the clock's own zero is the machine's business.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// There are no arguments.
pub(crate) fn args_get(_: &mut Call<'_>, _argv: u32, _buffer: u32) -> Wasi {
    Ok(())
}

/// 0 and 0.
pub(crate) fn args_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Wasi {
    let (memory, _) = view(call)?;
    check(memory, size, 4)?;
    store_u32(memory, count, 0)?;
    store_u32(memory, size, 0)?;
    Ok(())
}

/// `KEY=VALUE`, each with a NUL behind it, and a pointer to each.
pub(crate) fn environ_get(call: &mut Call<'_>, environ: u32, buffer: u32) -> Wasi {
    let (memory, host) = view(call)?;
    let (mut pointer, mut place) = (u64::from(buffer), u64::from(environ));
    for (key, value) in &host.filter.env {
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

/// How many variables there are, and how many bytes they take.
pub(crate) fn environ_sizes_get(call: &mut Call<'_>, count: u32, size: u32) -> Wasi {
    let (memory, host) = view(call)?;
    let env = &host.filter.env;
    let bytes: usize = env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    check(memory, size, 4)?;
    store_u32(memory, count, u32::try_from(env.len()).map_err(|_| Errno::Inval)?)?;
    store_u32(memory, size, u32::try_from(bytes).map_err(|_| Errno::Inval)?)?;
    Ok(())
}

/// 1 ns for both clocks.
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

/// The wall clock (0) and the monotonic one (1), in nanoseconds.
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

fn monotonic_nanoseconds(host: &Host) -> u64 {
    let since = host.services.clock.monotonic().saturating_duration_since(*EPOCH);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// There is nothing to advise.
pub(crate) fn fd_advise(_: &mut Call<'_>, _fd: u32, _offset: u64, _len: u64, _advice: u32) -> Wasi {
    Ok(())
}

/// Nothing, for the two outputs.
pub(crate) fn fd_allocate(_: &mut Call<'_>, fd: u32, _offset: u64, _len: u64) -> Wasi {
    an_output(fd)
}

/// Nothing.
pub(crate) fn fd_close(_: &mut Call<'_>, _fd: u32) -> Wasi {
    Ok(())
}

/// Nothing, for the two outputs. Stands for `fd_datasync` too.
pub(crate) fn fd_sync(_: &mut Call<'_>, fd: u32) -> Wasi {
    an_output(fd)
}

/// The outputs can be written and nothing else.
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

/// Not offered.
pub(crate) fn fd_fdstat_set_flags(_: &mut Call<'_>, _fd: u32, _flags: u32) -> Wasi {
    Err(Errno::Nosys)
}

/// Nothing, for the two outputs.
pub(crate) fn fd_fdstat_set_rights(_: &mut Call<'_>, fd: u32, _rights: u64, _inheriting: u64) -> Wasi {
    an_output(fd)
}

/// There are no files.
pub(crate) fn fd_filestat_get(_: &mut Call<'_>, _fd: u32, _stat: u32) -> Wasi {
    Err(Errno::Badf)
}

/// Nothing, for the two outputs.
pub(crate) fn fd_filestat_set_size(_: &mut Call<'_>, fd: u32, _size: u64) -> Wasi {
    an_output(fd)
}

/// Nothing, for the two outputs.
pub(crate) fn fd_filestat_set_times(
    _: &mut Call<'_>,
    fd: u32,
    _accessed: u64,
    _modified: u64,
    _flags: u32,
) -> Wasi {
    an_output(fd)
}

/// Not offered.
pub(crate) fn fd_pread(
    _: &mut Call<'_>,
    _fd: u32,
    _vectors: u32,
    _count: u32,
    _offset: u64,
    _read: u32,
) -> Wasi {
    Err(Errno::Nosys)
}

/// Not offered.
pub(crate) fn fd_prestat_dir_name(_: &mut Call<'_>, _fd: u32, _path: u32, _path_len: u32) -> Wasi {
    Err(Errno::Nosys)
}

/// `BADF`, which ends the search for opened folders in wasi-libc and Go.
pub(crate) fn fd_prestat_get(_: &mut Call<'_>, _fd: u32, _stat: u32) -> Wasi {
    Err(Errno::Badf)
}

/// The same as [`fd_write`]: an output has no positions.
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

/// Not offered.
pub(crate) fn fd_read(_: &mut Call<'_>, _fd: u32, _vectors: u32, _count: u32, _read: u32) -> Wasi {
    Err(Errno::Nosys)
}

/// No folder, so no entries.
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

/// Not offered.
pub(crate) fn fd_renumber(_: &mut Call<'_>, from: u32, to: u32) -> Wasi {
    an_output(from)?;
    an_output(to)?;
    Err(Errno::Notsup)
}

/// Nothing: an output has no positions.
pub(crate) fn fd_seek(_: &mut Call<'_>, _fd: u32, _offset: u64, _whence: u32, _position: u32) -> Wasi {
    Ok(())
}

/// Nothing.
pub(crate) fn fd_tell(_: &mut Call<'_>, _fd: u32, _position: u32) -> Wasi {
    Ok(())
}

/// One line of the log for each call, without the newline at its end: output as `info`, errors as `error`.
pub(crate) fn fd_write(call: &mut Call<'_>, fd: u32, vectors: u32, count: u32, written: u32) -> Wasi {
    let level = match fd {
        STDOUT => LogLevel::Info,
        STDERR => LogLevel::Error,
        _ => return Err(Errno::Badf),
    };
    let (memory, host) = view(call)?;
    check(memory, written, 4)?;
    let (line, len) = gather(memory, vectors, count)?;
    log::write_line(host, level, line.strip_suffix(b"\n").unwrap_or(&line));
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

/// Not offered.
pub(crate) fn path_create_directory(_: &mut Call<'_>, _fd: u32, _path: u32, _path_len: u32) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
pub(crate) fn path_filestat_get(
    _: &mut Call<'_>,
    _fd: u32,
    _flags: u32,
    _path: u32,
    _path_len: u32,
    _stat: u32,
) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
#[expect(clippy::too_many_arguments, reason = "WASI has them")]
pub(crate) fn path_filestat_set_times(
    _: &mut Call<'_>,
    _fd: u32,
    _flags: u32,
    _path: u32,
    _path_len: u32,
    _accessed: u64,
    _modified: u64,
    _which: u32,
) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
#[expect(clippy::too_many_arguments, reason = "WASI has them")]
pub(crate) fn path_link(
    _: &mut Call<'_>,
    _from: u32,
    _flags: u32,
    _path: u32,
    _path_len: u32,
    _to: u32,
    _new: u32,
    _new_len: u32,
) -> Wasi {
    Err(Errno::Notsup)
}

/// No file is ever there.
#[expect(clippy::too_many_arguments, reason = "WASI has them")]
pub(crate) fn path_open(
    _: &mut Call<'_>,
    _fd: u32,
    _look_up: u32,
    _path: u32,
    _path_len: u32,
    _flags: u32,
    _rights: u64,
    _inheriting: u64,
    _fd_flags: u32,
    _opened: u32,
) -> Wasi {
    Err(Errno::Noent)
}

/// Not offered.
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

/// Not offered.
pub(crate) fn path_remove_directory(_: &mut Call<'_>, _fd: u32, _path: u32, _path_len: u32) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
pub(crate) fn path_rename(
    _: &mut Call<'_>,
    _from: u32,
    _path: u32,
    _path_len: u32,
    _to: u32,
    _new: u32,
    _new_len: u32,
) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
pub(crate) fn path_symlink(
    _: &mut Call<'_>,
    _old: u32,
    _old_len: u32,
    _fd: u32,
    _new: u32,
    _new_len: u32,
) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
pub(crate) fn path_unlink_file(_: &mut Call<'_>, _fd: u32, _path: u32, _path_len: u32) -> Wasi {
    Err(Errno::Notsup)
}

/// Nothing ever happens, and that is a success: Go's run-time calls this to yield.
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

/// Stops the guest. (In Envoy it returns, and the guest's library then runs into `unreachable`.)
pub(crate) fn proc_exit(_: &mut Call<'_>, code: u32) -> Outcome {
    Err(Stop::Exit(code).into())
}

/// Randomness of the operating system, at most 64 KiB of it.
pub(crate) fn random_get(call: &mut Call<'_>, buffer: u32, len: u32) -> Wasi {
    if len > MAX_RANDOM {
        return Err(Errno::Inval);
    }
    let (memory, _) = view(call)?;
    getrandom::fill(slice_mut(memory, buffer, len)?).map_err(|_| Errno::Nosys)
}

/// There is one thread.
pub(crate) fn sched_yield(_: &mut Call<'_>) -> Wasi {
    Ok(())
}

/// Not offered.
pub(crate) fn sock_accept(_: &mut Call<'_>, _fd: u32, _flags: u32, _accepted: u32) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
pub(crate) fn sock_recv(
    _: &mut Call<'_>,
    _fd: u32,
    _vectors: u32,
    _count: u32,
    _flags: u32,
    _read: u32,
    _out_flags: u32,
) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
pub(crate) fn sock_send(
    _: &mut Call<'_>,
    _fd: u32,
    _vectors: u32,
    _count: u32,
    _flags: u32,
    _written: u32,
) -> Wasi {
    Err(Errno::Notsup)
}

/// Not offered.
pub(crate) fn sock_shutdown(_: &mut Call<'_>, _fd: u32, _how: u32) -> Wasi {
    Err(Errno::Notsup)
}

fn an_output(fd: u32) -> Wasi {
    if matches!(fd, STDOUT | STDERR) { Ok(()) } else { Err(Errno::Badf) }
}
