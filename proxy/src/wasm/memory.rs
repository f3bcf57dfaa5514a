//! How bytes go in and out of a guest's memory. All arithmetic on a guest's numbers is in 64 bits; nothing is written
//! before the place is known to be the guest's.

use wasmtime::{AsContextMut, Caller, Extern, Memory};

use super::abi::Status;
use super::host::{Host, Restriction};
use super::hostcalls::Halt;
use super::tally;

/// A pointer that does not point into the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfBounds;

/// The guest's memory. A module's start section runs before the instance is known, so then the export is looked up.
fn memory(call: &mut Caller<'_, Host>) -> Result<Memory, OutOfBounds> {
    if let Some(memory) = call.data().memory {
        return Ok(memory);
    }
    call.get_export("memory").and_then(Extern::into_memory).ok_or(OutOfBounds)
}

/// The guest's bytes and the host's state, side by side.
pub(crate) fn view<'a>(call: &'a mut Caller<'_, Host>) -> Result<(&'a mut [u8], &'a mut Host), OutOfBounds> {
    let memory = memory(call)?;
    Ok(memory.data_and_store_mut(call.as_context_mut()))
}

/// `len` bytes at `pointer`, which are counted as the guest's. An empty slice may point anywhere: guests pass what their
/// language has for one.
pub(crate) fn slice(memory: &[u8], pointer: u32, len: u32) -> Result<&[u8], OutOfBounds> {
    if len == 0 {
        return Ok(&[]);
    }
    let bytes = memory.get(range(pointer, len)).ok_or(OutOfBounds)?;
    tally::bytes_out(len);
    Ok(bytes)
}

/// `len` bytes at `pointer`, for who looks on: they are not counted.
pub(crate) fn peek(memory: &[u8], pointer: u32, len: u32) -> Result<&[u8], OutOfBounds> {
    if len == 0 { Ok(&[]) } else { memory.get(range(pointer, len)).ok_or(OutOfBounds) }
}

/// `len` bytes at `pointer`, to be written, which are counted as given to the guest.
pub(crate) fn slice_mut(memory: &mut [u8], pointer: u32, len: u32) -> Result<&mut [u8], OutOfBounds> {
    if len == 0 {
        return Ok(&mut []);
    }
    let place = memory.get_mut(range(pointer, len)).ok_or(OutOfBounds)?;
    tally::bytes_in(len);
    Ok(place)
}

fn range(pointer: u32, len: u32) -> std::ops::Range<usize> {
    // usize is 64 bits wide wherever the compiler runs, so this cannot overflow.
    let start = pointer as usize;
    start..start + len as usize
}

/// Whether an out-pointer to `len` bytes may be written.
pub(crate) fn check(memory: &[u8], pointer: u32, len: u32) -> Result<(), OutOfBounds> {
    memory.get(range(pointer, len)).map(drop).ok_or(OutOfBounds)
}

/// Reads the little-endian number at `pointer`.
pub(crate) fn load_u32(memory: &[u8], pointer: u32) -> Result<u32, OutOfBounds> {
    let bytes = memory.get(range(pointer, 4)).ok_or(OutOfBounds)?;
    bytes.try_into().map(u32::from_le_bytes).map_err(|_short| OutOfBounds)
}

/// Reads the little-endian number at `pointer`.
pub(crate) fn load_u64(memory: &[u8], pointer: u32) -> Result<u64, OutOfBounds> {
    let bytes = memory.get(range(pointer, 8)).ok_or(OutOfBounds)?;
    bytes.try_into().map(u64::from_le_bytes).map_err(|_short| OutOfBounds)
}

/// Writes a number to `pointer`.
pub(crate) fn store_u32(memory: &mut [u8], pointer: u32, value: u32) -> Result<(), OutOfBounds> {
    store(memory, pointer, &value.to_le_bytes())
}

/// Writes a number to `pointer`.
pub(crate) fn store_u64(memory: &mut [u8], pointer: u32, value: u64) -> Result<(), OutOfBounds> {
    store(memory, pointer, &value.to_le_bytes())
}

fn store(memory: &mut [u8], pointer: u32, value: &[u8]) -> Result<(), OutOfBounds> {
    memory.get_mut(range(pointer, value.len() as u32)).ok_or(OutOfBounds)?.copy_from_slice(value);
    Ok(())
}

/// Where a guest wants a value's pointer and length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// Where the pointer goes.
    pub(crate) pointer: u32,
    /// Where the length goes.
    pub(crate) len: u32,
}

impl Out {
    /// Whether both places may be written; to be asked before any work that cannot be undone.
    pub(crate) fn check(self, memory: &[u8]) -> Result<(), OutOfBounds> {
        check(memory, self.pointer, 4)?;
        check(memory, self.len, 4)
    }

    fn store(self, memory: &mut [u8], pointer: u32, len: u32) -> Result<(), OutOfBounds> {
        store_u32(memory, self.pointer, pointer)?;
        store_u32(memory, self.len, len)
    }
}

/// Gives the guest a value of `len` bytes, which `fill` writes into a block from the guest's own allocator. An empty
/// value is 0 and 0, without a block: some guests' allocators fail on size 0.
pub(crate) fn give_with(
    call: &mut Caller<'_, Host>,
    out: Out,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), Halt> {
    out.check(view(call)?.0)?;
    give_checked(call, out, len, fill)
}

/// The same, where it is known that the out-pointers may be written.
pub(crate) fn give_checked(
    call: &mut Caller<'_, Host>,
    out: Out,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), Halt> {
    if len == 0 {
        out.store(view(call)?.0, 0, 0)?;
        return Ok(());
    }
    let Ok(len) = u32::try_from(len) else {
        return Err(Status::InternalFailure.into());
    };
    let block = allocate(call, len)?;
    // The allocator may have made the memory grow and move.
    let (memory, host) = view(call)?;
    match slice_mut(memory, block, len) {
        Ok(target) if block != 0 => fill(target),
        _ => {
            host.allocator_failed = true;
            return Err(Status::InvalidMemoryAccess.into());
        }
    }
    out.store(memory, block, len)?;
    Ok(())
}

/// Gives the guest a copy of `bytes`.
pub(crate) fn give(call: &mut Caller<'_, Host>, out: Out, bytes: &[u8]) -> Result<(), Halt> {
    give_with(call, out, bytes.len(), |block| block.copy_from_slice(bytes))
}

/// Calls the guest's allocator, during which it may only log and ask for the time.
fn allocate(call: &mut Caller<'_, Host>, len: u32) -> Result<u32, Halt> {
    let host = call.data_mut();
    // Taken rather than cloned: no hostcall that an allocator may make allocates.
    let Some(allocator) = host.allocator.take() else {
        return Err(Status::InternalFailure.into());
    };
    let outer = std::mem::replace(&mut host.restriction, Restriction::Allocation);
    let block = allocator.call(call.as_context_mut(), len).map_err(Halt::Trap);
    let host = call.data_mut();
    host.restriction = outer;
    host.allocator = Some(allocator);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_wraps_around_32_bits_is_out_of_bounds() {
        let mut memory = [0u8; 16];
        assert_eq!(slice(&memory, u32::MAX, u32::MAX), Err(OutOfBounds));
        assert_eq!(slice(&memory, 8, u32::MAX - 4), Err(OutOfBounds));
        assert_eq!(store_u32(&mut memory, 13, 1), Err(OutOfBounds));
        assert_eq!(store_u32(&mut memory, 12, 1), Ok(()));
        assert_eq!(load_u32(&memory, 12), Ok(1));
        assert_eq!(slice(&memory, 99, 0), Ok(&[][..]));
    }
}
