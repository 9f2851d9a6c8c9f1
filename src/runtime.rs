//! Where tasks run: feeds have threads of their own, and whatever answers requests stands behind them and the engine.
//!
//! A trade must not wait until a queue of answers of models is through. The kernel decides between threads; within a runtime nobody
//! does. Rank alone does not do it: Linux owes a thread that stood behind some milliseconds, and lets it have them at once, before
//! one of the engine that wakes. So answers leave processors free as well.

use anyhow::Context;
use tokio::runtime::{Builder, EnterGuard, Runtime};

use crate::system::cores;

/// How far the threads that answer requests stand behind: where both want a processor, the engine gets nine tenths of it.
const BEHIND: i32 = 10;

/// The runtime of a command, on whose threads everything runs that has none of its own. Where it `is_server` it stands behind, and
/// has threads for half of the processors.
///
/// # Errors
/// The system gives no threads.
pub(crate) fn of_command(is_server: bool) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all();
    if is_server {
        builder.worker_threads(cores().div_ceil(2)).thread_name("answers").on_thread_start(step_behind);
    }
    builder.build().context("no async runtime")
}

/// The runtime of feeds: from a venue's socket to a shard's queue.
pub(crate) struct FeedRuntime(Option<Runtime>);

impl FeedRuntime {
    /// With as many threads as there are shards to feed.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn start(threads: usize) -> anyhow::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let builder =
            builder.worker_threads(threads.max(1)).thread_name("feeds").on_thread_start(node::take_short_turns);
        let built = builder.enable_all().build();
        Ok(Self(Some(built.context("no async runtime for feeds")?)))
    }

    /// Tasks that are spawned while this lives run there.
    pub(crate) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }
}

impl Drop for FeedRuntime {
    fn drop(&mut self) {
        // It is dropped within another runtime, where nobody may wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// On Linux each thread has a rank of its own; elsewhere it is the process's, and nobody steps anywhere.
fn step_behind() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(BEHIND) {
        tracing::debug!(%error, "a thread that answers requests keeps its rank");
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn rank() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn who_answers_requests_stands_behind_feeds_and_behind_whoever_started_it() {
        let before = rank();
        let (answers, feeds) = (of_command(true).unwrap(), FeedRuntime::start(1).unwrap());
        assert!(answers.metrics().num_workers() * 2 <= cores() + 1, "some processor is left to the engine");
        let behind = answers.block_on(async { tokio::spawn(async { rank() }).await.unwrap() });
        let blocking = answers.block_on(async { tokio::task::spawn_blocking(rank).await.unwrap() });
        let inside = feeds.enter();
        let task = tokio::spawn(async { rank() });
        drop(inside);
        let feeding = answers.block_on(task).unwrap();
        assert_eq!((behind, blocking), ((before + BEHIND).min(19), (before + BEHIND).min(19)));
        assert_eq!((feeding, rank()), (before, before));
    }
}
