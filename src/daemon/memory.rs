//! How memory is had from the system, and given back after much of it was freed.
//!
//! glibc keeps what was freed below the top of its heaps, which after a storm is nearly all of it.
#![allow(
    unsafe_code,
    reason = "malloc_trim and mallopt are C functions; they take numbers and no pointer"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::manager::Supervisor;
use crate::policy::trimming::Trimming;

/// How often to look.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after the memory of a supervisor's connections for as long as it is polled.
pub(super) async fn look_after(supervisor: &Supervisor) -> std::convert::Infallible {
    let mut trimming = Trimming::default();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if trimming.is_due(supervisor.look_at_memory()) {
            // A walk through large heaps takes milliseconds: not on a thread that moves messages.
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

/// Blocks of at least this size are the system's own, and go back to it as they are freed. Bytes.
#[cfg(target_env = "gnu")]
const OWN_MAPPING: libc::c_int = 128 * 1024;

/// So much may be free at the top of a heap before it shrinks by itself. Less, and heaps shrink and
/// grow again with every few connections. Bytes.
#[cfg(target_env = "gnu")]
const FREE_AT_TOP: libc::c_int = 2 * 1024 * 1024;

/// Keeps large blocks out of the heaps; to be called before there are threads.
///
/// That is how glibc begins, but with the first large block that is freed it raises the limit, up to
/// 32 MiB. Then messages that grow leave holes in the heaps which `limits.memory` does not count:
/// in an attack with half messages, nearly as much again.
#[cfg(target_env = "gnu")]
pub(super) fn keep_large_blocks_apart() {
    // SAFETY: `mallopt` only sets numbers, and no other thread allocates yet. Where it refuses, all
    // stays as it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_AT_TOP);
    }
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn keep_large_blocks_apart() {}

/// Called by each thread of the runtime as it starts; its workers take room for connections.
pub(super) fn on_thread_start() {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    // The workers are the first; those that may wait come and go.
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    if STARTED.fetch_add(1, Ordering::Relaxed) < workers {
        take_room();
    }
}

/// Lets the heap of this thread grow to its full size, and shrink again.
///
/// glibc asks the system for leave to use each further page of a heap (mprotect), which for a
/// connection is twice; but it keeps the leave where it gives the memory back. So what this costs is
/// addresses, and a few milliseconds once. Where the system grants less (RLIMIT_AS), so be it.
#[cfg(target_env = "gnu")]
fn take_room() {
    let block = |_| {
        let mut block: Vec<u8> = Vec::new();
        block.try_reserve_exact(100 << 10).ok().map(|()| block)
    };
    // Nearly the 64 MiB that a heap has, in blocks that are not too large to be taken from it.
    let blocks: Vec<Vec<u8>> = (0..600).map_while(block).collect();
    // Freed from the first to the last: only then do they reach the top, and all go back at once.
    drop(std::hint::black_box(blocks));
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: `malloc_trim` may be called at any time, from any thread, and takes its own locks.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn take_room() {}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn what_was_freed_goes_back_to_the_system() {
        // 160 MiB in small blocks, of which every thousandth stays, as connections do that keep a
        // heap from shrinking by itself. Half of it is far more than other tests hold meanwhile.
        let mut blocks: Vec<Option<Box<[u8; 2048]>>> =
            (0..80_000).map(|_| Some(Box::new([1; 2048]))).collect();
        let full = resident_kib();
        for (n, block) in blocks.iter_mut().enumerate() {
            if n % 1000 != 0 {
                *block = None;
            }
        }
        give_back();
        let left = resident_kib();
        drop(blocks);
        assert!(full - left > 80 * 1024, "{full} KiB before, {left} KiB after");
    }
}
