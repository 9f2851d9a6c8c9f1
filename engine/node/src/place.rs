//! Where a thread of the engine runs, and how soon it is let in.

use core_affinity::CoreId;

/// Puts the calling thread on `core`, if there is one, and asks for short turns.
pub(crate) fn settle_in(core: Option<CoreId>) {
    if let Some(core) = core {
        core_affinity::set_for_current(core);
    }
    take_short_turns();
}

/// Asks for short turns for the calling thread, where there are any: for one that wakes for little work, and should not wait
/// until a thread that answers requests has had the whole of its own turn.
pub fn take_short_turns() {
    if let Err(error) = uring::take_short_turns() {
        tracing::debug!(%error, "a thread has turns as long as others");
    }
}
