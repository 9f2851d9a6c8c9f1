//! Who is let in first. `nice` does not reach beyond a session (`sched(7)`, autogroups), and a real-time policy is throttled,
//! which shows as latency in what takes a whole processor.

use std::{
    fs,
    process::{self, Command, Stdio},
};

/// Puts this program's session before all others, and says whether that was allowed.
pub fn go_first() -> bool {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in brackets: state, parent, group, session.
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    // Only the leader of a session of its own: nobody else's processes are moved.
    session == Some(process::id().to_string().as_str()) && fs::write("/proc/self/autogroup", "-20").is_ok()
}

/// When the threads of this program run. Those that it starts later, and its children, inherit it.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// As soon as they can: real-time, which only root may. For what waits most of the time.
    AtOnce,
    /// When nobody else wants the processor.
    WhenIdle,
}

/// Takes `turn` for all threads of this program, and says whether that was allowed.
pub fn take_turn(turn: Turn) -> bool {
    let (policy, priority) = match turn {
        Turn::AtOnce => ("--rr", "1"),
        Turn::WhenIdle => ("--idle", "0"),
    };
    let mut command = Command::new("chrt");
    command.args(["--all-tasks", policy, "--pid", priority, &process::id().to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
