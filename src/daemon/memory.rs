//! Gives memory back to the system after many connections have gone.
//!
//! glibc keeps what was freed below the top of its heaps, which after a storm is nearly all of it.
#![allow(unsafe_code, reason = "malloc_trim is a C function; it takes a number and no pointer")]

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
        if trimming.look(supervisor.accounting().open) {
            // A walk through large heaps takes milliseconds: not on a thread that moves messages.
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: `malloc_trim` may be called at any time, from any thread, and takes its own locks.
    unsafe { libc::malloc_trim(0) };
}

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
