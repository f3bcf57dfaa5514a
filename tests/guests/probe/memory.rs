//! What the host puts into this module's memory, and where.

/// The allocator that hosts ask for room. A block is exactly as large as was asked for, so that [`take`] can free it.
#[cfg_attr(target_arch = "wasm32", unsafe(export_name = "malloc"))]
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "only hosts call it"))]
extern "C" fn allocate(size: usize) -> *mut u8 {
    let block: Box<[u8]> = vec![0; size].into_boxed_slice();
    Box::leak(block).as_mut_ptr()
}

/// What stands in a cell that the host has not written.
const UNTOUCHED: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// Where one hostcall puts its answers: cells of 8 bytes, in order.
pub(crate) struct Cells(Vec<u64>);

impl Cells {
    pub(crate) fn new(count: usize) -> Cells {
        Cells(vec![UNTOUCHED; count])
    }

    /// A cell's address, which stays the same.
    pub(crate) fn address(&self, cell: usize) -> u32 {
        address(&self.0[cell])
    }

    /// What 4 bytes of the cell say; none if the host has not written it.
    pub(crate) fn u32(&self, cell: usize) -> Option<u32> {
        let found = self.read(cell) as u32;
        (found != UNTOUCHED as u32).then_some(found)
    }

    /// What 8 bytes of the cell say; none if the host has not written it.
    pub(crate) fn u64(&self, cell: usize) -> Option<u64> {
        Some(self.read(cell)).filter(|found| *found != UNTOUCHED)
    }

    fn read(&self, cell: usize) -> u64 {
        // SAFETY: the cell is there and is any number. It is read past the compiler, which does not know of the host.
        unsafe { std::ptr::read_volatile(&self.0[cell]) }
    }
}

/// The address of what the host is shown. This module's memory has no more than 4 GiB.
pub(crate) fn address<T: ?Sized>(value: &T) -> u32 {
    std::ptr::from_ref(value).cast::<u8>() as usize as u32
}

/// Takes what the host put into a block that it asked [`allocate`] for; none if the block cannot be one.
pub(crate) fn take(pointer: u32, size: u32) -> Option<Vec<u8>> {
    if size == 0 {
        return Some(Vec::new());
    }
    let end = u64::from(pointer) + u64::from(size);
    if pointer == 0 || end > memory_size() {
        return None;
    }
    // SAFETY: a host puts what it returns into a block of this size from `allocate`, and forgets it. A host that lies
    // about it can do no harm: all it can reach is this module's memory.
    let block = unsafe {
        Box::from_raw(std::ptr::slice_from_raw_parts_mut(pointer as usize as *mut u8, size as usize))
    };
    Some(block.into_vec())
}

fn memory_size() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return core::arch::wasm32::memory_size::<0>() as u64 * 65_536;
    #[cfg(not(target_arch = "wasm32"))]
    return 0;
}
