//! Long-lived tasks that are restarted after a panic.
//!
//! A panic ends a tokio task, and goes unnoticed unless the task is joined. Each long-lived task of
//! this program therefore runs in a [`Task`], which catches the panic, logs it with the name of the
//! task, and computes the delay before the restart. The state that the task works on (a listening
//! socket, a dialer) belongs to its owner and outlives the panic.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::now;
use crate::policy::restarting::Restarts;

/// A named long-lived task.
#[derive(Debug)]
pub(crate) struct Task {
    name: String,
    restarts: Restarts,
}

/// A task panicked.
#[derive(Debug)]
pub(crate) struct Panicked {
    /// The panic message.
    pub(crate) what: String,
    /// The delay before the task is restarted.
    pub(crate) wait: Duration,
}

impl Task {
    /// Makes a task with the name that the log shows.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), restarts: Restarts::default() }
    }

    /// Runs the task to its end or to a panic, which is logged.
    ///
    /// The caller does the waiting, as it may have state to repair first.
    pub(crate) async fn run<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Panicked> {
        let began = now();
        let panic = match catch(work).await {
            Ok(done) => return Ok(done),
            Err(what) => what,
        };
        let wait = self.restarts.handle_panic(now().saturating_duration_since(began));
        tracing::error!(
            task = self.name,
            panic,
            again_in_ms = wait.as_millis(),
            "a task panicked and will be restarted: please report this"
        );
        Err(Panicked { what: panic, wait })
    }

    /// Runs the task to its end, and restarts it after each panic.
    pub(crate) async fn keep<T, F>(&mut self, mut work: impl FnMut() -> F) -> T
    where
        F: Future<Output = T>,
    {
        loop {
            match self.run(async { work().await }).await {
                Ok(done) => return done,
                Err(Panicked { wait, .. }) => tokio::time::sleep(wait).await,
            }
        }
    }
}

/// Runs a future to its end; a panic becomes an error with its message.
pub(crate) async fn catch<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    // Unwind safe: a future that panics is dropped, and its half-done state with it.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(panic) => Poll::Ready(Err(panic_text(&*panic).to_owned())),
    })
    .await
}

/// Returns the message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "(no message)",
    }
}

/// A spawned task that is aborted on drop.
#[derive(Debug)]
pub(crate) struct Owned(JoinHandle<()>);

impl Owned {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets tests make a task panic at a named point.
#[cfg(test)]
pub(crate) mod panic_points {

    static ARMED: parking_lot::Mutex<Vec<String>> = parking_lot::Mutex::new(Vec::new());

    /// Makes the next task that reaches this point panic.
    pub(crate) fn arm(place: &str) {
        ARMED.lock().push(place.to_owned());
    }

    /// Panics if this point is armed.
    pub(crate) fn reach(place: &str) {
        let mut armed = ARMED.lock();
        let found = armed.iter().position(|other| other == place);
        let found = found.map(|at| armed.swap_remove(at));
        drop(armed);
        assert!(found.is_none(), "a test asked for it");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_is_run_again_until_it_ends_and_waits_longer_each_time() {
        let mut runs = 0;
        let began = now();
        let mut task = Task::new("test");
        let done = task.keep(|| {
            runs += 1;
            let run = runs;
            async move {
                tokio::task::yield_now().await;
                assert!(run > 3, "run {run}");
                run
            }
        });
        assert_eq!(done.await, 4);
        assert_eq!((now() - began).as_millis(), 100 + 200 + 400);
    }

    #[tokio::test]
    async fn what_the_panic_said_is_passed_on() {
        let mut task = Task::new("test");
        let Panicked { what, wait } =
            task.run(async { panic!("a test asked for {}", "it") }).await.unwrap_err();
        assert_eq!((&*what, wait.as_millis()), ("a test asked for it", 100));
        let panicked = task.run(async { std::panic::panic_any(7) }).await.unwrap_err();
        assert_eq!(panicked.what, "(no message)");
        assert_eq!(task.run(async { 7 }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_spawned_task_ends_with_its_owner() {
        let alive = Arc::new(AtomicU32::new(0));
        let held = Arc::clone(&alive);
        let owned = Owned::spawn(async move {
            held.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        });
        drop(owned);
        tokio::time::timeout(Duration::from_secs(5), async {
            while Arc::strong_count(&alive) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
