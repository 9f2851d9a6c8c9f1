//! What the kernel tells of processes and processors (Linux `/proc`).

use std::{fs, io, process};

use anyhow::Context;
use bench::rank::go_first;

/// Where servers run, and where the client does.
pub(crate) const SERVER_CORE: usize = 0;
pub(crate) const CLIENT_CORE: usize = 1;

const NANOS_PER_TICK: u64 = 10_000_000;

/// Run time of all threads of a process so far, in nanoseconds.
pub(crate) fn run_ns(process: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that ended meanwhile is left out.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Run time of this process so far, in nanoseconds.
pub(crate) fn own_run_ns() -> io::Result<u64> {
    run_ns(process::id())
}

/// Time that the two cores of the bench have been busy with anything, in nanoseconds.
pub(crate) fn busy_ns() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let cores = [SERVER_CORE, CLIENT_CORE].map(|core| format!("cpu{core}"));
    let mine = text.lines().filter(|line| cores.iter().any(|core| line.split(' ').next() == Some(core)));
    Ok(mine.map(busy_ticks).sum::<u64>() * NANOS_PER_TICK)
}

/// user, nice, system, irq, softirq and steal of a line of `/proc/stat`; idle and iowait are left out.
fn busy_ticks(line: &str) -> u64 {
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum()
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Pins this process, and puts its session before others where it is allowed to.
pub(crate) fn take_place() -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: CLIENT_CORE });
    go_first()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy_ticks("cpu0 1 2 4 800 1600 8 16 32 64 128"), 1 + 2 + 4 + 8 + 16 + 32);
    }

    #[test]
    fn this_process_runs_and_has_memory() {
        assert!(resident_bytes(process::id()).unwrap() > 100_000);
        assert!(own_run_ns().unwrap() > 0 && busy_ns().unwrap() > 0);
    }
}
