//! Tunes glibc's malloc, and returns freed memory to the system.
//!
//! glibc keeps freed memory below the top of its heaps, which after a burst is nearly all of it; and
//! while much is freed and taken again, such holes grow beyond what `limits.memory` counts.
#![allow(
    unsafe_code,
    reason = "malloc_trim and mallopt are C functions; they take numbers and no pointer"
)]

#[cfg(target_env = "gnu")]
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::manager::Supervisor;
use crate::policy::trimming::{Sample, Trimming};
use crate::surfaces::metrics::resident_bytes;

/// How often to check whether to trim.
const LOOK: Duration = Duration::from_secs(1);

/// Trims the heap after a supervisor's connections have freed much memory, for as long as it is
/// polled.
pub(super) async fn trim_when_idle(supervisor: &Supervisor) -> std::convert::Infallible {
    let mut trimming = Trimming::default();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let sample = Sample { resident: resident(), ..supervisor.look_at_memory() };
        if trimming.is_due(sample) {
            // Trimming large heaps takes milliseconds, too long for a worker thread.
            let _ = tokio::task::spawn_blocking(trim).await;
            trimming.returned(sample.resident.saturating_sub(resident()));
        }
    }
}

fn resident() -> u64 {
    resident_bytes().unwrap_or(0)
}

/// Blocks of at least this size are mapped separately, and unmapped when they are freed. Bytes.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: c_int = 128 * 1024;

/// The free space at the top of a heap above which it shrinks by itself. With less, heaps shrink
/// and grow with every few connections. Bytes.
#[cfg(target_env = "gnu")]
const FREE_AT_TOP: c_int = 2 * 1024 * 1024;

/// The address space that each heap but the first reserves. Bytes.
#[cfg(target_env = "gnu")]
const HEAP: u64 = 64 * 1024 * 1024;

/// Sets glibc's malloc up; must be called before any thread is started.
///
/// Large blocks stay out of the heaps. This is glibc's initial setting, but it raises the threshold
/// to the size of each large block that is freed, up to 32 MiB. Growing messages then leave holes in
/// the heaps that `limits.memory` does not count: in an attack with half messages, nearly as much
/// again.
///
/// Where the address space is limited, threads share heaps. A heap for each of the first threads, as
/// glibc has it, would leave no room for anything else below 512 MiB.
#[cfg(target_env = "gnu")]
pub(super) fn tune_malloc(address_space: Option<u64>) {
    // SAFETY: `mallopt` only sets numbers, and no other thread allocates yet. If it fails, nothing
    // changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_AT_TOP);
        if let Some(heaps) = address_space.and_then(heaps_within) {
            libc::mallopt(libc::M_ARENA_MAX, heaps);
        }
    }
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn tune_malloc(_address_space: Option<u64>) {}

/// Returns how many heaps may be made, at least one, if that has to be limited: they may reserve a
/// quarter of the address space.
#[cfg(target_env = "gnu")]
fn heaps_within(address_space: u64) -> Option<c_int> {
    // glibc makes no more than 8 heaps for each core anyway.
    c_int::try_from((address_space / 4 / HEAP).max(1)).ok()
}

/// Called by each thread of the runtime as it starts; grows the heaps of the workers.
pub(super) fn on_thread_start() {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    // The workers start first; threads of the blocking pool come and go later.
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    if STARTED.fetch_add(1, Ordering::Relaxed) < workers {
        grow_heap();
    }
}

/// Grows the heap of this thread to its full size, and shrinks it again.
///
/// glibc calls mprotect for each further page of a heap, about twice per connection, but keeps the
/// permission when it returns the memory. So this costs address space, and a few milliseconds once.
/// If the system allows less (RLIMIT_AS), the heap stays smaller.
#[cfg(target_env = "gnu")]
fn grow_heap() {
    let block = |_| {
        let mut block: Vec<u8> = Vec::new();
        block.try_reserve_exact(100 << 10).ok().map(|()| block)
    };
    // Nearly the 64 MiB of a heap, in blocks below the mmap threshold.
    let blocks: Vec<Vec<u8>> = (0..600).map_while(block).collect();
    // Dropped from first to last, so that the last one reaches the top and frees all at once.
    drop(std::hint::black_box(blocks));
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: `malloc_trim` may be called at any time, from any thread, and takes its own locks.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn grow_heap() {}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn heaps_reserve_a_quarter_of_the_address_space() {
        for (mib, heaps) in [(0, 1), (100, 1), (256, 1), (512, 2), (4096, 16)] {
            assert_eq!(heaps_within(mib << 20), Some(heaps), "{mib} MiB");
        }
        assert_eq!(heaps_within(u64::MAX), None);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn freed_memory_goes_back_to_the_system() {
        // 160 MiB in small blocks. Every thousandth stays and keeps the heap from shrinking by
        // itself, as open connections do. Half of it is far more than other tests hold meanwhile.
        let mut blocks: Vec<Option<Box<[u8; 2048]>>> =
            (0..80_000).map(|_| Some(Box::new([1; 2048]))).collect();
        let full = resident();
        for (n, block) in blocks.iter_mut().enumerate() {
            if n % 1000 != 0 {
                *block = None;
            }
        }
        trim();
        let left = resident();
        drop(blocks);
        assert!(full - left > 80 << 20, "{full} bytes before, {left} after");
    }
}
