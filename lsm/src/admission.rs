//! Admission of reads: how many run at once and how much memory their pages take together.
//!
//! One limit for all engines of a process, because what runs short is the memory and the threads of
//! the process. A read that does not get in fails at once with [`crate::ErrorKind::Overloaded`] and
//! has cost nothing; it never waits, so that a burst cannot pile up threads. A read that got in
//! never fails for want of memory: its page is cut where no more is to be had, and says where to go
//! on.
//!
//! # Cost
//!
//! Both counts are in one atomic number: two additions for a page of up to 32 KiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Bytes that every read is counted with from the start.
const FIRST_BYTES: u64 = 32 * 1024;
/// One read in the count: the lower bits are the bytes.
const ONE_READ: u64 = 1 << READ_SHIFT;
const READ_SHIFT: u32 = 44;
/// Most reads that can be allowed.
const READS_MAX: u64 = (1 << (64 - READ_SHIFT)) / 2;
/// Most bytes that can be allowed: half of what the lower bits hold.
const BYTES_MAX: u64 = 1 << (READ_SHIFT - 1);

/// Lets reads in while there are few enough of them and their pages take little enough memory.
///
/// A page is counted with the bytes that it keeps alive, which are those of whole blocks, until the
/// read returns it.
#[derive(Debug)]
pub struct ReadAdmission {
    reads_max: u64,
    bytes_max: u64,
    /// Reads, then bytes.
    used: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
}

/// What a [`ReadAdmission`] allows and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionMetrics {
    /// Reads that run now.
    pub reads: u64,
    /// Reads allowed at once.
    pub reads_max: u64,
    /// Bytes of their pages.
    pub bytes: u64,
    /// Bytes allowed.
    pub bytes_max: u64,
    /// Reads refused.
    pub refused: u64,
    /// Pages cut short for want of memory.
    pub cut: u64,
}

/// The place of one read, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<ReadAdmission>,
    bytes: u64,
}

impl ReadAdmission {
    /// At most `reads_max` reads at once (1 to half a million), with pages of together `bytes_max`
    /// bytes (at least 32 KiB); values out of range are taken for the nearest one within.
    ///
    /// More reads: fewer refusals in a burst, but each of them takes longer. More bytes: fewer
    /// pages cut short, for memory besides the block cache.
    pub fn new(reads_max: usize, bytes_max: u64) -> Self {
        let reads_max = u64::try_from(reads_max).unwrap_or(u64::MAX);
        Self {
            reads_max: reads_max.clamp(1, READS_MAX),
            bytes_max: bytes_max.clamp(FIRST_BYTES, BYTES_MAX),
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        }
    }

    /// What is in use, and how often that was too much.
    pub fn metrics(&self) -> AdmissionMetrics {
        let (reads, bytes) = split(self.used.load(Ordering::Relaxed));
        AdmissionMetrics {
            reads,
            reads_max: self.reads_max,
            bytes,
            bytes_max: self.bytes_max,
            refused: self.refused.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
        }
    }

    /// Lets a read in, or says that there are too many.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit> {
        if self.take(ONE_READ + FIRST_BYTES) {
            return Ok(Permit {
                admission: Arc::clone(self),
                bytes: FIRST_BYTES,
            });
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let AdmissionMetrics {
            reads,
            reads_max,
            bytes,
            bytes_max,
            ..
        } = self.metrics();
        Err(Error::overloaded(format!(
            "{reads} reads of at most {reads_max} run, with {bytes} bytes of at most {bytes_max}: try again soon, ask \
             for smaller pages, or allow more"
        )))
    }

    /// Counts `more` if that stays within the limits.
    fn take(&self, more: u64) -> bool {
        let (reads, bytes) = split(self.used.fetch_add(more, Ordering::Relaxed));
        let (more_reads, more_bytes) = split(more);
        let fits = reads + more_reads <= self.reads_max && bytes + more_bytes <= self.bytes_max;
        if !fits {
            self.used.fetch_sub(more, Ordering::Relaxed);
        }
        fits
    }
}

impl Default for ReadAdmission {
    /// 1024 reads, 256 MiB.
    fn default() -> Self {
        Self::new(1024, 256 * 1024 * 1024)
    }
}

impl Permit {
    /// Bytes that the page may keep alive.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// Doubles them, or says that there is no memory for more.
    pub(crate) fn grow(&mut self) -> bool {
        let fits = self.admission.take(self.bytes);
        if fits {
            self.bytes *= 2;
        } else {
            self.admission.cut.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission
            .used
            .fetch_sub(ONE_READ + self.bytes, Ordering::Relaxed);
    }
}

fn split(used: u64) -> (u64, u64) {
    (used >> READ_SHIFT, used & (ONE_READ - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn reads_beyond_the_count_are_refused_until_one_is_over() {
        let admission = Arc::new(ReadAdmission::new(2, u64::MAX));
        let one = admission.admit().unwrap();
        let _two = admission.admit().unwrap();
        let refused = admission.admit().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert!(refused.to_string().contains("2 reads of at most 2 run"));
        drop(one);
        let _three = admission.admit().unwrap();
        let metrics = admission.metrics();
        assert_eq!((metrics.reads, metrics.refused), (2, 1));
    }

    #[test]
    fn pages_grow_within_the_bytes_and_give_them_back() {
        let admission = Arc::new(ReadAdmission::new(9, 4 * FIRST_BYTES));
        let mut one = admission.admit().unwrap();
        let two = admission.admit().unwrap();
        assert!(one.grow(), "three quarters are in use");
        assert!(!one.grow(), "that would be five quarters");
        let _three = admission.admit().unwrap();
        assert_eq!(admission.metrics().bytes, 4 * FIRST_BYTES);
        assert_eq!(admission.admit().unwrap_err().kind(), ErrorKind::Overloaded);
        drop((one, two));
        let metrics = admission.metrics();
        assert_eq!((metrics.bytes, metrics.cut), (FIRST_BYTES, 1));
    }
}
