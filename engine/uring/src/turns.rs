//! Short turns on a processor. A thread that wakes for some microseconds of work waits, if it is unlucky, until another has had the
//! milliseconds that Linux gives it at once. Since 6.12 a thread may ask for shorter turns, and is let in the sooner for it.

use std::io;

/// The shortest turn that Linux grants, in nanoseconds.
#[cfg(target_os = "linux")]
const TURN: u64 = 100_000;
#[cfg(target_os = "linux")]
const SIZE: u32 = size_of::<libc::sched_attr>() as u32;

/// Asks for short turns for the calling thread. Its share of the processor and its rank stay as they are.
///
/// # Errors
/// The kernel does not allow it. One that does not know of turns says nothing.
#[cfg(target_os = "linux")]
pub fn take_short_turns() -> io::Result<()> {
    let mut attributes = libc::sched_attr {
        size: SIZE,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes at most SIZE bytes, which is the size of what the pointer is to; 0 is the calling thread.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.sched_flags = 0;
    attributes.sched_runtime = TURN;
    // SAFETY: the kernel reads `size` bytes, at most SIZE, of what the pointer is to; 0 is the calling thread.
    let written = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if written == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Only Linux has turns to ask for.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn take_short_turns() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_ask_for_short_turns_and_keeps_its_rank() {
        // SAFETY: it takes no pointer.
        let rank = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = rank();
        take_short_turns().unwrap();
        assert_eq!(rank(), before);
    }
}
