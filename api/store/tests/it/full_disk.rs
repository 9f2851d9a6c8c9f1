//! Disks without room.

use std::{env, fs, path::Path, process::Command, sync::Arc, time::Duration};

use store::{Keep, Store, StoreError, Writer, WriterState};
use tempfile::TempDir;

use crate::{
    crash::{PLACE, config, numbered, whole_batches},
    stage::file_url,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_a_clear_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The shell ignores SIGXFSZ and limits the size of files, in blocks of 512 bytes, before it becomes the child.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(env::current_exe().unwrap());
    command.args(["--exact", "crash::child_stores", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.env(PLACE, file_url(folder.path()).to_string()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let acknowledged =
        text.lines().filter_map(|line| line.split_once("ack ")?.1.trim().parse::<u32>().ok()).next_back();
    assert!(acknowledged.is_some() && text.contains("failed no room left to write"), "{text}");
    let store = Store::open(&file_url(folder.path()), Keep::default()).await.unwrap();
    let last = whole_batches(&store).await;
    assert!(last >= acknowledged, "{last:?} of {acknowledged:?}");
    store.write(&Arc::new(numbered(last.unwrap() + 1))).await.unwrap();
    assert_eq!(whole_batches(&store).await, last.map(|last| last + 1));
}

/// A file system of 2 MiB, which only root may mount.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        if !is_mounted {
            eprintln!("a small file system cannot be mounted: not tested");
        }
        is_mounted.then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_store_and_spill_is_told_and_all_is_stored_once_there_is_room() {
    let Some(disk) = Small::mount() else { return };
    let store = Store::open(&file_url(disk.path()), Keep::default()).await.unwrap();
    store.write(&Arc::new(numbered(0))).await.unwrap();
    let ballast = disk.path().join("ballast");
    let room = |bytes: u64| {
        let mut size = 0;
        while fs::write(&ballast, vec![1; size + 4096]).is_ok() {
            size += 4096;
        }
        // The last write left a shorter file; what is left over is given back.
        fs::write(&ballast, vec![1; size.saturating_sub(bytes as usize)]).unwrap();
    };
    room(0);
    let writer = Writer::start(store.clone(), config(disk.path())).unwrap();
    let mut status = writer.watch();
    let mut sent = 0;
    let full = loop {
        sent += 1;
        writer.try_send(numbered(sent)).unwrap();
        let full = status.wait_for(|status| matches!(status.state, WriterState::Full { .. }));
        if let Ok(full) = tokio::time::timeout(Duration::from_millis(50), full).await {
            break full.unwrap().clone();
        }
        assert!(sent < 5000, "the disk does not get full");
    };
    assert!(full.last_error.is_some_and(|error| error.contains("No space left")), "{status:?}");
    // What is stored can be read while the disk is full.
    assert!(whole_batches(&store).await < Some(sent));
    let direct = store.write(&Arc::new(numbered(0))).await;
    assert!(matches!(direct, Err(StoreError::Full { .. })), "{direct:?}");
    for _ in 0..20 {
        sent += 1;
        writer.try_send(numbered(sent)).unwrap();
    }
    fs::remove_file(&ballast).unwrap();
    writer.flush().await;
    let ok = status.wait_for(|status| status.state == WriterState::Ok);
    let status = tokio::time::timeout(Duration::from_secs(30), ok).await.unwrap().unwrap().clone();
    assert_eq!((status.lost_rows, status.last_error), (0, None));
    writer.close().await;
    assert_eq!(whole_batches(&store).await, Some(sent));
}
