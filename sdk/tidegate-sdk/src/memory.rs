//! The allocator of modules: a host asks for a block for every value that it gives a filter, and the filter frees it soon
//! after, so the standard library's allocator would be most of what a small filter costs.
//!
//! Blocks up to [`LARGEST`] bytes are of a few sizes. A freed one waits in a list of its size for the next that asks, and is
//! never joined with another; larger ones are the standard library's. A module so keeps what it once needed of each size.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// The sizes are powers of two from this one on, in bytes; all are aligned to it.
const SMALLEST: usize = 16;
/// The largest size, in bytes.
const LARGEST: usize = 2048;
/// How many sizes there are.
const SIZES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

/// The allocator. [`filter!`](crate::filter) makes one for the module.
#[derive(Debug)]
pub struct Allocator {
    /// The free blocks of each size: each begins with the address of the next.
    free: UnsafeCell<[*mut u8; SIZES]>,
}

// SAFETY: WebAssembly without shared memory has one thread. With it, and natively, nobody can share one: a static of this
// type does not compile.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
unsafe impl Sync for Allocator {}

impl Allocator {
    /// One without free blocks. Only a module has use for it.
    #[expect(clippy::new_without_default, reason = "a static needs a constant")]
    pub const fn new() -> Allocator {
        Allocator { free: UnsafeCell::new([ptr::null_mut(); SIZES]) }
    }
}

/// Which of the sizes fits; `None` for what is the standard library's.
fn size_index(layout: Layout) -> Option<usize> {
    if layout.size() > LARGEST || layout.align() > SMALLEST {
        return None;
    }
    // 0 to 16 bytes are of size 0, 17 to 32 of size 1, and so on.
    let units = (layout.size().saturating_sub(1)) / SMALLEST;
    Some((usize::BITS - units.leading_zeros()) as usize)
}

/// What the standard library is asked for to have a block of this size.
fn block(index: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and the size is far below the largest.
    unsafe { Layout::from_size_align_unchecked(SMALLEST << index, SMALLEST) }
}

// SAFETY: a block is handed out once until it is freed: it comes from the standard library's allocator, or from a list that
// only `dealloc` puts blocks on, and is taken off it first. Blocks of a list are as large and as aligned as its size says,
// because a layout gives the same size when it is freed as when it was asked for. No reference to the lists outlives a
// line, and there is one thread, so that nobody comes between.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(index) = size_index(layout) else { return unsafe { System.alloc(layout) } };
        unsafe {
            let first = (*self.free.get())[index];
            if first.is_null() {
                return System.alloc(block(index));
            }
            (*self.free.get())[index] = first.cast::<*mut u8>().read();
            first
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if size_index(layout).is_none() {
            return unsafe { System.alloc_zeroed(layout) }; // memory that is new is zero already
        }
        unsafe {
            let new = self.alloc(layout);
            if !new.is_null() {
                new.write_bytes(0, layout.size());
            }
            new
        }
    }

    unsafe fn dealloc(&self, freed: *mut u8, layout: Layout) {
        let Some(index) = size_index(layout) else { return unsafe { System.dealloc(freed, layout) } };
        unsafe {
            freed.cast::<*mut u8>().write((*self.free.get())[index]);
            (*self.free.get())[index] = freed;
        }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller sees to it that the size does not overflow with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (size_index(layout), size_index(wanted)) {
            (None, None) => unsafe { System.realloc(old, layout, size) },
            (had, has) if had == has => old,
            _ => unsafe {
                let new = self.alloc(wanted);
                if !new.is_null() {
                    ptr::copy_nonoverlapping(old, new, layout.size().min(size));
                    self.dealloc(old, layout);
                }
                new
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a layout")
    }

    #[test]
    fn every_size_fits_its_block() {
        for size in 0..=LARGEST {
            let index = size_index(layout(size)).expect("it is not too large");
            assert!(block(index).size() >= size, "{size}");
            assert!(index == 0 || block(index - 1).size() < size, "{size} fits a smaller one");
        }
        assert_eq!(size_index(layout(LARGEST)), Some(SIZES - 1));
        assert_eq!(size_index(layout(LARGEST + 1)), None);
        assert_eq!(size_index(Layout::from_size_align(8, 32).expect("a layout")), None);
    }

    /// Blocks that come, grow, shrink and go in random order keep their content, and so do not overlap.
    #[test]
    fn blocks_keep_what_is_written_into_them() {
        let (allocator, mut random) = (Allocator::new(), fastrand::Rng::with_seed(7));
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let fill = |at: *mut u8, size, with| unsafe { at.write_bytes(with, size) };
        let holds =
            |at: *mut u8, size, what| (0..size).all(|offset| unsafe { at.add(offset).read() } == what);
        for step in 0..20_000_u32 {
            let (mark, size) = (step as u8, random.usize(1..3 * LARGEST / 2));
            match random.u8(0..5) {
                0 | 1 if held.len() < 100 => {
                    let at = unsafe { allocator.alloc(layout(size)) };
                    assert!(!at.is_null() && at.align_offset(8) == 0);
                    fill(at, size, mark);
                    held.push((at, layout(size), mark));
                }
                2 if !held.is_empty() => {
                    let which = random.usize(0..held.len());
                    let (at, had, mark) = held[which];
                    let at = unsafe { allocator.realloc(at, had, size) };
                    assert!(holds(at, had.size().min(size), mark), "{had:?} to {size}");
                    fill(at, size, mark);
                    held[which] = (at, layout(size), mark);
                }
                _ if !held.is_empty() => {
                    let (at, had, mark) = held.swap_remove(random.usize(0..held.len()));
                    assert!(holds(at, had.size(), mark), "{had:?}");
                    unsafe { allocator.dealloc(at, had) };
                }
                _ => {}
            }
        }
        for (at, had, _) in held {
            unsafe { allocator.dealloc(at, had) };
        }
        free_lists(&allocator);
    }

    /// What is on the lists was the standard library's, and is given back to it.
    fn free_lists(allocator: &Allocator) {
        for index in 0..SIZES {
            loop {
                let first = unsafe { (*allocator.free.get())[index] };
                if first.is_null() {
                    break;
                }
                unsafe {
                    (*allocator.free.get())[index] = first.cast::<*mut u8>().read();
                    System.dealloc(first, block(index));
                }
            }
        }
    }

    #[test]
    fn a_block_that_is_used_again_is_zero_where_that_is_asked_for() {
        let allocator = Allocator::new();
        for size in [0, 1, 16, 100, LARGEST, LARGEST + 1] {
            let used = unsafe { allocator.alloc(layout(size)) };
            unsafe { used.write_bytes(7, size) };
            unsafe { allocator.dealloc(used, layout(size)) };
            let zeroed = unsafe { allocator.alloc_zeroed(layout(size)) };
            assert!((0..size).all(|offset| unsafe { zeroed.add(offset).read() } == 0), "{size}");
            match size_index(layout(size)) {
                Some(index) => unsafe { System.dealloc(zeroed, block(index)) },
                None => unsafe { System.dealloc(zeroed, layout(size)) },
            }
        }
    }

    /// A block that grows, shrinks and moves between the sizes and the standard library's, at every alignment.
    #[test]
    fn a_block_changes_its_size_across_all_sizes() {
        let allocator = Allocator::new();
        for align in [1, 8, 16, 32, 4096] {
            let layout = |size| Layout::from_size_align(size, align).expect("a layout");
            let (mut at, mut had) = (unsafe { allocator.alloc(layout(1)) }, 1);
            unsafe { at.write(9) };
            for size in [16, 17, LARGEST, LARGEST + 1, 3 * LARGEST, LARGEST, 1, LARGEST + 1, 16] {
                at = unsafe { allocator.realloc(at, layout(had), size) };
                had = size;
                assert!(at.align_offset(align) == 0 && unsafe { at.read() } == 9, "{align}: {size}");
                unsafe { at.add(size - 1).write(9) };
                unsafe { at.write(9) };
            }
            unsafe { allocator.dealloc(at, layout(had)) };
        }
        free_lists(&allocator);
    }

    #[test]
    fn a_freed_block_is_used_again() {
        let allocator = Allocator::new();
        let first = unsafe { allocator.alloc(layout(100)) };
        unsafe { allocator.dealloc(first, layout(100)) };
        let second = unsafe { allocator.alloc(layout(65)) };
        assert_eq!(first, second);
        unsafe { System.dealloc(second, block(3)) };
    }
}
