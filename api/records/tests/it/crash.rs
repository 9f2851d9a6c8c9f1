//! Processes that are killed while they charge.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use ledger::{Kind, Timestamp};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use records::{Charges, LedgerRecords, Records, RecordsUrl, UserId, chart};

use crate::{
    cast::{ada, attempt, kai, micros, payer, request},
    stage::{REVENUE, Stage, USER, hold, on_each_database, opening, settle, transfer},
};

const CALLERS: u64 = 16;
const HELD: u64 = 100;
const FUNDS: u64 = 1_000_000_000;
const KILLS: u64 = 20;

/// The id of a hold; its settlement is the one behind it.
fn id_of(round: u64, caller: u64, number: u64) -> u128 {
    u128::from(round) << 96 | u128::from(caller) << 64 | u128::from(number) << 1 | 1 << 120
}

/// What a charge comes to.
fn charged(caller: u64, number: u64) -> u64 {
    (number * 31 + caller * 7) % (HELD + 1)
}

/// One charge: a hold, then its settlement. Asked again, it is the same.
async fn charge(ledger: &LedgerRecords, round: u64, caller: u64, number: u64) {
    let id = id_of(round, caller, number);
    let (held, settled) = (hold(id, HELD), settle(id + 1, id, charged(caller, number)));
    for event in [held, settled] {
        let outcomes = ledger.apply(vec![event]).await.unwrap();
        assert!(outcomes[0].is_ok(), "{event:?}: {outcomes:?}");
    }
}

async fn open(url: &str) -> Records {
    Records::open(RecordsUrl::parse(url).unwrap(), || Timestamp::ZERO).await.unwrap()
}

/// What a killed process runs: charges without end, each told on stdout once it is safe.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in a process of its own"]
async fn child_charges() {
    let Ok(url) = env::var("KANDLE_CRASH_URL") else { return };
    let round: u64 = env::var("KANDLE_CRASH_ROUND").unwrap().parse().unwrap();
    let records = open(&url).await;
    let callers = (0..CALLERS).map(|caller| {
        let ledger = records.ledger().clone();
        tokio::spawn(async move {
            for number in 0.. {
                charge(&ledger, round, caller, number).await;
                println!("ack {caller} {number}");
            }
        })
    });
    join_all(callers).await;
}

/// One metered charge. Asked again, it is the same.
async fn meter(charges: &Charges, user: UserId, round: u64, caller: u64, number: u64) {
    let (name, held) = (request(format!("r{round}-{caller}-{number}")), micros(HELD));
    let hold = charges.hold(payer(user, None), name, held, 600, Some(attempt(1))).await.unwrap();
    let cost = micros(charged(caller, number));
    assert_eq!(charges.settle(&hold, cost, attempt(1), None).await.unwrap().charged, cost);
}

/// What a killed process runs as well: metered charges, each told on stdout once it is safe.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in a process of its own"]
async fn child_meters() {
    let Ok(url) = env::var("KANDLE_CRASH_URL") else { return };
    let round: u64 = env::var("KANDLE_CRASH_ROUND").unwrap().parse().unwrap();
    let records = open(&url).await;
    let user = records.users().by_email("ada@example.com").await.unwrap().unwrap().user.id;
    let callers = (0..CALLERS).map(|caller| {
        let charges = records.charges();
        tokio::spawn(async move {
            for number in 0.. {
                meter(&charges, user, round, caller, number).await;
                println!("ack {caller} {number}");
            }
        })
    });
    join_all(callers).await;
}

/// Kills the child after `delay` and returns how many charges of each caller it told.
fn killed(mut child: Child, delay: Duration) -> BTreeMap<u64, u64> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let acks = stdout.lines().map_while(Result::ok).filter_map(|line| {
            let (caller, number) = line.split_once("ack ")?.1.trim().split_once(' ')?;
            Some((caller.parse().ok()?, number.parse::<u64>().ok()? + 1))
        });
        acks.collect()
    });
    // The moment is chance on purpose: before, within and behind any step.
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn spawn(child: &str, url: &str, round: u64) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", child, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("KANDLE_CRASH_URL", url).env("KANDLE_CRASH_ROUND", round.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_moment_loses_no_charge_and_makes_none_twice() {
    // A database each twenty, for the whole journal is verified after each.
    let kills: u64 = env::var("KANDLE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for done in (0..kills).step_by(KILLS as usize) {
        on_each_database(async |stage: &Stage| kill_often(stage, KILLS.min(kills - done)).await).await;
    }
}

async fn kill_often(stage: &Stage, kills: u64) {
    let seed = rand::rng().random();
    let mut random = SmallRng::seed_from_u64(seed);
    let records = stage.open().await;
    records.ledger().apply(opening(FUNDS)).await.unwrap();
    records.close().await;
    let (mut expected, mut charges, mut kills_between_acks) = (0, 0, 0);
    for round in 0..kills {
        let delay = Duration::from_micros(random.random_range(5_000..400_000));
        let told = killed(spawn("crash::child_charges", &stage.url, round), delay);
        kills_between_acks += u64::from(!told.is_empty());
        let records = open(&stage.url).await;
        let ledger = records.ledger();
        ledger.verify(None).await.unwrap();
        for caller in 0..CALLERS {
            let count = told.get(&caller).copied().unwrap_or_default();
            // Those that were told are there; the one that was not is asked again, whatever became of it.
            for number in [count.saturating_sub(1), count] {
                charge(ledger, round, caller, number).await;
            }
            expected += (0..=count).map(|number| charged(caller, number)).sum::<u64>();
            charges += count + 1;
        }
        let balance = async |id| ledger.balance(id).await.unwrap().unwrap().balance;
        let (user, revenue) = (balance(USER).await, balance(REVENUE).await);
        assert_eq!(revenue.credits_posted.get(), expected, "seed {seed}, round {round}");
        assert_eq!(user.available().get(), FUNDS - expected, "seed {seed}, round {round}");
        assert_eq!((user.debits_pending.get(), revenue.credits_pending.get()), (0, 0), "seed {seed}, round {round}");
        let verified = ledger.verify(Some(&ledger.head().await.unwrap())).await.unwrap();
        let posted = u128::from(FUNDS) + u128::from(expected);
        assert_eq!((verified.posted(), verified.held), ((posted, posted), 0), "seed {seed}, round {round}");
        // The opening, and two entries for each charge: nothing was written that nobody asked for.
        assert_eq!(verified.head.sequence, 4 + 2 * charges, "seed {seed}, round {round}");
        records.close().await;
    }
    println!("{kills_between_acks} of {kills} kills met a process that charged, {charges} charges");
    assert!(kills_between_acks * 4 >= kills, "only {kills_between_acks} of {kills} kills met a process that charged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_moment_leaves_one_row_of_usage_for_each_charge() {
    let kills: u64 = env::var("KANDLE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for done in (0..kills).step_by(KILLS as usize) {
        on_each_database(async |stage: &Stage| kill_meters(stage, KILLS.min(kills - done)).await).await;
    }
}

async fn kill_meters(stage: &Stage, kills: u64) {
    let seed = rand::rng().random();
    let mut random = SmallRng::seed_from_u64(seed);
    let records = open(&stage.url).await;
    let user = ada(&records, 1000, 1000).await.id;
    records.close().await;
    let (mut expected, mut charges, mut kills_between_acks) = (0, 0, 0);
    for round in 0..kills {
        let delay = Duration::from_micros(random.random_range(5_000..400_000));
        let told = killed(spawn("crash::child_meters", &stage.url, round), delay);
        kills_between_acks += u64::from(!told.is_empty());
        let at = format!("seed {seed}, round {round}");
        // What is charged has its row, before anybody asks again. Of one moment: a server may still be ending what it was told.
        let rest =
            "SELECT (SELECT COUNT(*) FROM ledger_lines WHERE micros < 0) - (SELECT COUNT(*) FROM usage WHERE cost > 0)";
        assert_eq!(stage.number(rest).await, 0, "{at}");
        // And what is held, for somebody who may have been asked: twice, for balance and allowance.
        let rest = "SELECT (SELECT COUNT(*) FROM ledger_transfers WHERE state = 1) \
                    - 2 * (SELECT COUNT(*) FROM usage WHERE status = 'open')";
        assert_eq!(stage.number(rest).await, 0, "{at}");
        let records = open(&stage.url).await;
        for caller in 0..CALLERS {
            let count = told.get(&caller).copied().unwrap_or_default();
            for number in [count.saturating_sub(1), count] {
                meter(&records.charges(), user, round, caller, number).await;
            }
            expected += (0..=count).map(|number| charged(caller, number)).sum::<u64>();
            charges += count + 1;
        }
        assert_eq!(stage.count("usage").await, charges as i64, "{at}");
        for sum in ["SELECT CAST(SUM(cost) AS BIGINT) FROM usage", "SELECT CAST(SUM(micros) AS BIGINT) FROM usage_days"]
        {
            assert_eq!(stage.number(sum).await, expected as i64, "{at}");
        }
        let window = records.usage().window(user).await.unwrap();
        assert_eq!((window.used.get(), window.held.get()), (expected, 0), "{at}");
        assert_eq!(window.remaining.get(), kai(1000).get() - expected, "{at}");
        assert_eq!(records.users().funds(user).await.unwrap().available.get(), kai(1000).get() - expected, "{at}");
        let verified = records.ledger().verify(None).await.unwrap();
        let revenue = verified.accounts.iter().find(|state| state.account.id == chart::REVENUE).unwrap();
        assert_eq!((revenue.balance.credits_posted.get(), verified.held), (expected, 0), "{at}");
        records.close().await;
    }
    println!("{kills_between_acks} of {kills} kills met a process that charged, {charges} charges");
    assert!(kills_between_acks * 4 >= kills, "only {kills_between_acks} of {kills} kills met a process that charged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_while_it_makes_the_tables_leaves_a_database_that_opens() {
    for round in 0..10 {
        let stage = Stage::sqlite();
        killed(spawn("crash::child_charges", &stage.url, round), Duration::from_millis(round * 4));
        let records = open(&stage.url).await;
        records.ledger().apply(opening(100)).await.unwrap();
        records.ledger().apply(vec![transfer(9, USER, REVENUE, 1, Kind::Post)]).await.unwrap();
        records.ledger().verify(None).await.unwrap();
        records.close().await;
    }
}
