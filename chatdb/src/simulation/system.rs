//! The clock and the random numbers of the operating system, in place of the real ones on threads that simulate.
//!
//! Seeds of hash maps, tokio's choice among ready branches, request numbers, the date in an HTTP header and every
//! `Instant` of a library come from two functions of the C library. This test binary has them itself: on a thread
//! that simulates they answer from a seed and from virtual time, on all others they ask the kernel.

#![expect(
    unsafe_code,
    reason = "two functions of the C library are replaced, which only the linker can do"
)]

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::time::Duration;

/// What the wall clock shows when virtual time begins: some day in 2023.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

thread_local! {
    /// Virtual time, in nanoseconds; none on a thread that does not simulate.
    static NOW_NS: Cell<Option<u64>> = const { Cell::new(None) };
    /// State of the generator of random bytes.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// From now on this thread's time stands until it is [set](set_now), and its random numbers follow from the seed.
pub(super) fn simulate(seed: u64) {
    RANDOM.set(seed);
    // So late that no library goes back before the beginning of time.
    NOW_NS.set(Some(0));
}

pub(super) fn set_now(now: Duration) {
    NOW_NS.set(Some(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)));
}

/// The next of a row of numbers, and its state: `SplitMix64` by Sebastiano Vigna (2015).
pub(super) fn split_mix(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31), state)
}

/// `getrandom(2)`.
///
/// # Safety
///
/// As of the function of the C library: `into` has room for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(into: *mut c_void, len: usize, flags: c_uint) -> isize {
    if NOW_NS.get().is_none() {
        // SAFETY: the caller's promise is the kernel's condition.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, into, len, flags) };
        return isize::try_from(got).unwrap_or(-1);
    }
    for at in 0..len {
        let (mixed, state) = split_mix(RANDOM.get());
        RANDOM.set(state);
        // SAFETY: the caller has room for `len` bytes.
        let place = unsafe { into.cast::<u8>().add(at) };
        // SAFETY: the same.
        unsafe { place.write(mixed.to_le_bytes()[0]) };
    }
    isize::try_from(len).unwrap_or(isize::MAX)
}

/// `clock_gettime(3)`.
///
/// # Safety
///
/// As of the function of the C library: `into` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, into: *mut libc::timespec) -> c_int {
    let Some(now_ns) = NOW_NS.get() else {
        // SAFETY: the caller's promise is the kernel's condition.
        let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) };
        return c_int::try_from(done).unwrap_or(-1);
    };
    let now = EPOCH + Duration::from_nanos(now_ns);
    let told = libc::timespec {
        tv_sec: libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: now.subsec_nanos().into(),
    };
    // SAFETY: the caller's pointer is valid for a write.
    unsafe { into.write(told) };
    0
}
