//! A real PostgreSQL that is killed under load and started again.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use ledger::Timestamp;
use rand::Rng;
use records::{LedgerRecords, Records, RecordsError, RecordsUrl};
use tokio::time::sleep;

use crate::stage::{REVENUE, USER, hold, opening, postgres_server, settle};

const CALLERS: u128 = 8;
const ROUNDS: u128 = 3;

/// A server of this test's own, ended with it.
struct Server {
    folder: PathBuf,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Self {
        // Not the folder itself: the server's user gets it, and could not leave the one around it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder: folder.join("server"), port };
        server.run();
        server
    }

    fn run(&self) {
        let output = self.script(&["start", &self.folder.display().to_string(), &self.port.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends every process of it without a chance to put anything in order.
    fn kill(&self) {
        let postmaster = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = postmaster.lines().next().unwrap().trim().to_owned();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        // Its parts end by themselves when it is gone; those that are quicker than the signal are no failure.
        for pid in [pid.as_str()].into_iter().chain(children.split_whitespace()) {
            Command::new("kill").args(["-9", pid]).output().unwrap();
        }
        for pid in [pid.as_str()].into_iter().chain(children.split_whitespace()) {
            while Path::new("/proc").join(pid).join("exe").read_link().is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        fs::remove_file(self.folder.join("data/postmaster.pid")).unwrap();
    }

    fn script(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/postgres.sh");
        Command::new("bash").arg(script).args(arguments).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script(&["stop", &self.folder.display().to_string()]);
    }
}

/// One charge, each step asked again until there is an answer. Returns how often there was none.
async fn charge(ledger: &LedgerRecords, id: u128) -> u64 {
    let mut failures = 0;
    for event in [hold(id, 10), settle(id + 1, id, 7)] {
        loop {
            match ledger.apply(vec![event]).await {
                Ok(outcomes) => {
                    assert!(outcomes[0].is_ok(), "{event:?}: {outcomes:?}");
                    break;
                }
                Err(error) => {
                    assert!(matches!(error, RecordsError::Unavailable { .. }), "{error:?}");
                    failures += 1;
                    // As any caller does that asks again.
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_charges_nothing_twice_and_loses_nothing() {
    if postgres_server().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The server's user passes through.
    assert!(Command::new("chmod").arg("755").arg(folder.path()).status().unwrap().success());
    let server = Server::start(folder.path());
    let url = format!("postgres://kandle@127.0.0.1:{}/postgres", server.port);
    let records = Records::open(RecordsUrl::parse(&url).unwrap(), || Timestamp::ZERO).await.unwrap();
    records.ledger().apply(opening(1_000_000)).await.unwrap();
    let mut charges = 0;
    for round in 0..ROUNDS {
        let is_over = Arc::new(AtomicBool::new(false));
        let callers = (0..CALLERS).map(|caller| {
            let (ledger, is_over) = (records.ledger().clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let (mut count, mut failures) = (0, 0);
                while !is_over.load(Ordering::Relaxed) || failures == 0 {
                    failures += charge(&ledger, (round << 96) | (caller << 64) | (count << 1) | 1 << 100).await;
                    count += 1;
                }
                count
            })
        });
        let callers: Vec<_> = callers.collect();
        // The moment is chance on purpose.
        sleep(Duration::from_millis(rand::rng().random_range(50..400))).await;
        server.kill();
        server.run();
        is_over.store(true, Ordering::Relaxed);
        charges += join_all(callers).await.into_iter().map(Result::unwrap).sum::<u128>();
        let balance = async |id| records.ledger().balance(id).await.unwrap().unwrap().balance;
        assert_eq!(u128::from(balance(REVENUE).await.credits_posted.get()), 7 * charges);
        assert_eq!(balance(USER).await.debits_pending.get(), 0);
        let verified = records.ledger().verify(Some(&records.ledger().head().await.unwrap())).await.unwrap();
        assert_eq!(u128::from(verified.head.sequence), 4 + 2 * charges);
    }
    assert!(charges > CALLERS * ROUNDS);
    records.close().await;
}
