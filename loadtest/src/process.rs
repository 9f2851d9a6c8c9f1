//! What a process uses, seen from outside (`/proc`): processor time, memory, descriptors.

use std::{fs, path::PathBuf};

use serde::Serialize;

/// The thread of the simulated market, as `kandle simulate` names it: its time is not the server's.
const SOURCE_THREAD: &str = "simulated-feed";

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Nanoseconds of processor time of its living threads, without the simulated market.
    pub cpu_ns: u64,
    /// The same of the simulated market.
    pub source_cpu_ns: u64,
    /// Memory that only this process has.
    pub private_bytes: u64,
    /// All memory that it has resident.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Looks at a process; `None` if there is no `/proc`, no such process, or it is somebody else's.
pub fn usage(pid: u32) -> Option<Usage> {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let mut usage = Usage::default();
    for task in fs::read_dir(root.join("task")).ok()?.flatten() {
        // A thread may end between the listing and the look.
        let Ok(schedule) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let run = schedule.split_whitespace().next().and_then(|run| run.parse().ok()).unwrap_or(0);
        *(if name.trim() == SOURCE_THREAD { &mut usage.source_cpu_ns } else { &mut usage.cpu_ns }) += run;
    }
    let memory = fs::read_to_string(root.join("smaps_rollup")).ok()?;
    let kilobytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    usage.private_bytes = kilobytes("Private_Clean:") + kilobytes("Private_Dirty:");
    usage.resident_bytes = kilobytes("Rss:");
    usage.descriptors = fs::read_dir(root.join("fd")).ok()?.count() as u64;
    Some(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_to_open_a_file_and_to_take_memory() {
        let before = usage(std::process::id()).unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 32 << 20];
        let after = usage(std::process::id()).unwrap();
        assert!(after.descriptors >= before.descriptors + files.len() as u64);
        assert!(after.private_bytes >= before.private_bytes + (memory.len() as u64) / 2);
        assert!(after.cpu_ns > 0);
    }
}
