//! Counts the allocations and disk syncs of the whole process, whichever language makes them.
//!
//! A counting Rust allocator would see nothing of a peer written in C++. So the program defines `malloc`, `fsync`
//! and their kin itself: the linker gives these to Rust, to the peers and to the C++ library alike. Each call adds
//! one to a counter and goes on to the C library.
//!
//! # Cost
//!
//! One relaxed addition per call, the same for every engine.
#![expect(
    unsafe_code,
    reason = "the C library's own functions can be replaced only by their unsafe names"
)]

use std::ffi::{c_int, c_long, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls that gave memory. `realloc` counts as one.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Calls of `fsync` and `fdatasync`.
static SYNCS: AtomicU64 = AtomicU64::new(0);

/// Allocations since the process started.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Calls of `fsync` and `fdatasync` since the process started.
pub(crate) fn syncs() -> u64 {
    SYNCS.load(Ordering::Relaxed)
}

/// The numbers of the system calls, which the kernel never changes.
#[cfg(target_arch = "x86_64")]
const SYS_FSYNC: c_long = 74;
#[cfg(target_arch = "x86_64")]
const SYS_FDATASYNC: c_long = 75;
#[cfg(not(target_arch = "x86_64"))]
const SYS_FSYNC: c_long = 82;
#[cfg(not(target_arch = "x86_64"))]
const SYS_FDATASYNC: c_long = 83;

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn syscall(number: c_long, ...) -> c_long;
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the C library's own function, which takes every size.
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the C library's own function, which checks the product.
    unsafe { __libc_calloc(count, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(old: *mut c_void, size: usize) -> *mut c_void {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `old` came from the functions here, which are the C library's, or is null.
    unsafe { __libc_realloc(old, size) }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the C library's own function, which rounds a wrong alignment up.
    unsafe { __libc_memalign(align, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    const ENOMEM: c_int = 12;
    let memory = aligned_alloc(align, size);
    if memory.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller gives a place to write the pointer to, as POSIX asks.
    unsafe { *place = memory };
    0
}

#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    SYNCS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the system call takes any number and checks it.
    let result = unsafe { syscall(SYS_FSYNC, file) };
    if result == 0 { 0 } else { -1 }
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    SYNCS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the system call takes any number and checks it.
    let result = unsafe { syscall(SYS_FDATASYNC, file) };
    if result == 0 { 0 } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_and_syncs_of_rust_code_are_counted() {
        let before = (allocations(), syncs());
        for _ in 0..100 {
            std::hint::black_box(Box::new([0_u8; 64]));
        }
        let file = tempfile::tempfile().expect("a temporary file");
        file.sync_data().expect("a sync");
        file.sync_all().expect("a sync");
        assert!(allocations() >= before.0 + 100);
        assert!(syncs() >= before.1 + 2);
    }
}
