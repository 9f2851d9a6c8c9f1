//! A real QuestDB that is stopped under load and started again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use store::{Keep, Store, StoreUrl, Writer, WriterState, WriterStatus};
use tokio::time::timeout;

use crate::{
    crash::{config, numbered, whole_batches},
    questdb::Server,
    stage::questdb_address,
};

/// Rows of a numbered batch.
const ROWS: u32 = 11;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_and_comes_back_under_load_has_every_row() {
    if questdb_address().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::start(&folder.path().join("server")));
    let url = StoreUrl::parse(&format!("questdb:http://127.0.0.1:{}", server.http)).unwrap();
    let store = Store::open(&url, Keep::default()).await.unwrap();
    let writer = Writer::start(store.clone(), config(folder.path())).unwrap();
    let mut number = 0;
    for outage in [Server::stop, Server::kill] {
        let first = number;
        while number < first + 20 {
            number += send(&writer, number).await;
        }
        let stored = u64::from(number) * u64::from(ROWS);
        wait(&writer, |status| status.stored_rows >= stored).await;
        let (fails, has_failed) = (Arc::clone(&server), Arc::new(AtomicBool::new(false)));
        let failed = Arc::clone(&has_failed);
        let fail = tokio::task::spawn_blocking(move || {
            outage(&fails);
            failed.store(true, Ordering::Release);
        });
        while !has_failed.load(Ordering::Acquire) || number < first + 60 {
            number += send(&writer, number).await;
            assert!(number < 100_000);
        }
        fail.await.unwrap();
        number += send(&writer, number).await;
        wait(&writer, |status| matches!(status.state, WriterState::Spilling { .. })).await;
        assert!(store.value("last").await.is_err());
        let starts = Arc::clone(&server);
        tokio::task::spawn_blocking(move || starts.run()).await.unwrap();
        let status = wait(&writer, |status| status.state == WriterState::Ok).await;
        assert_eq!((status.lost_rows, status.unreadable_bytes), (0, 0));
        store.settled().await.unwrap();
        assert_eq!(whole_batches(&store).await, Some(number - 1));
    }
    assert_eq!(writer.close().await.state, WriterState::Ok);
}

/// Hands a batch over and waits until it is on a disk, here or there.
async fn send(writer: &Writer, number: u32) -> u32 {
    writer.try_send(numbered(number)).unwrap();
    writer.flush().await;
    1
}

async fn wait(writer: &Writer, is_so: impl Fn(&WriterStatus) -> bool) -> WriterStatus {
    let mut watch = writer.watch();
    let status = timeout(Duration::from_secs(120), watch.wait_for(is_so)).await;
    status.expect("the status does not come").unwrap().clone()
}
