//! Durable charges per second: a hold and its settlement, each answered after fsync, with 1, 16 and 256 callers, beside the
//! same calls with one commit each, and beside charges as a request makes them.
//!
//! An LLM call is charged like this, so this is how many of them one database carries. What is compared is only who shares a
//! commit: `alone` lets one call at a time into the same writer, which is one commit per call however many callers there are.
//! `metered` is what a request pays for besides: its allowance of 30 days is held and settled as well, and its row of usage and
//! the sum of its day are written.
//! Measurements alternate (alone, grouped, alone, …), a ratio is taken against the mean of its neighbours, and medians are
//! printed.
//!
//! `ledger [--seconds 2] [--rounds 5] [--dir target/ledger-bench] [--postgres URL] [--check]`

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use ledger::{Account, AccountId, Balancing, Event, Kind, Limit, Micros, Settle, Timestamp, Transfer, TransferId};
use records::{Attempt, Charges, LedgerRecords, NewUser, Payer, Records, RecordsUrl, RequestName, Text, UserId};
use tokio::{sync::Semaphore, task::JoinSet};

const CALLERS: [u64; 3] = [1, 16, 256];
const BANK: AccountId = AccountId(1);
const REVENUE: AccountId = AccountId(2);
/// What `--check` asks of 256 callers: the budget is 30, and a busy machine gets less of it.
const RATIO_MIN: u64 = 20;

#[derive(Parser)]
#[command(about = "Durable charges per second, grouped and one commit each")]
struct Cli {
    /// How long each measurement takes.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// How often each is taken.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the database is: on a disk, not in memory.
    #[arg(long, default_value = "target/ledger-bench")]
    dir: PathBuf,
    /// A PostgreSQL to measure as well, empty: its tables stay.
    #[arg(long)]
    postgres: Option<String>,
    /// Fail if SQLite does not reach its ratio.
    #[arg(long)]
    check: bool,
}

/// What is called, and by how many at once.
#[derive(Clone, Copy)]
enum Calls {
    Alone,
    Grouped,
    Metered,
}

#[derive(Clone)]
struct Bench {
    ledger: LedgerRecords,
    charges: Charges,
    /// Who pays what is metered.
    user: UserId,
    next_id: Arc<AtomicU64>,
    span: Duration,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    fs::create_dir_all(&cli.dir)?;
    println!("fdatasync of 4 KiB appended: {} per second", syncs_per_second(&cli.dir)?);
    let file = cli.dir.join("records.db");
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(cli.dir.join(format!("records.db{end}")));
    }
    let ratio = measure("SQLite", &format!("sqlite:{}", file.display()), &cli).await?;
    if let Some(url) = &cli.postgres {
        measure("PostgreSQL", url, &cli).await?;
    }
    ensure!(
        !cli.check || ratio >= RATIO_MIN * 100,
        "256 callers reach less than {RATIO_MIN} times one commit per call"
    );
    Ok(())
}

/// Prints the table of a database and returns the ratio of 256 callers, in hundredths.
async fn measure(name: &str, url: &str, cli: &Cli) -> anyhow::Result<u64> {
    let began = Instant::now();
    let clock =
        move || Timestamp::new(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)).unwrap_or_default();
    let records = Records::open(RecordsUrl::parse(url)?, clock).await?;
    let bench = Bench {
        ledger: records.ledger().clone(),
        charges: records.charges(),
        user: user_with_funds(&records).await?,
        next_id: Arc::new(AtomicU64::new(1_000_000)),
        span: Duration::from_secs(cli.seconds),
    };
    bench.open_accounts().await?;
    println!("\n{name}: charges (hold and settle) per second, median of {} rounds", cli.rounds);
    println!("| callers | one commit each | grouped | ratio | charges a commit, about | metered | of grouped |");
    println!("|---|---|---|---|---|---|---|");
    let mut last = 0;
    for callers in CALLERS {
        let (mut ratios, mut alone, mut grouped) = (Vec::new(), Vec::new(), Vec::new());
        let (mut shares, mut metered) = (Vec::new(), Vec::new());
        alone.push(bench.rate(callers, Calls::Alone).await?);
        for _ in 0..cli.rounds {
            let (before, rate) = (alone[alone.len() - 1], bench.rate(callers, Calls::Grouped).await?);
            let after = bench.rate(callers, Calls::Alone).await?;
            ratios.push(rate * 200 / (before + after).max(1));
            alone.push(after);
            grouped.push(rate);
            let metered_rate = bench.rate(callers, Calls::Metered).await?;
            shares.push(metered_rate * 100 / rate.max(1));
            metered.push(metered_rate);
        }
        let (alone, grouped, ratio) = (median(&mut alone), median(&mut grouped), median(&mut ratios));
        let (metered, share, tenths) = (median(&mut metered), median(&mut shares), ratio / 10);
        let (times, a_commit) = (format!("{}.{}", tenths / 10, tenths % 10), (ratio / 100).max(1));
        println!("| {callers} | {alone} | {grouped} | {times} | {a_commit} | {metered} | {share} % |");
        last = ratio;
    }
    let verifying = Instant::now();
    let verified = records.ledger().verify(None).await?;
    let (debits, credits) = verified.posted();
    ensure!(debits == credits && verified.held == 0, "money was made or lost");
    println!("\n{} entries verified in {:.1?}", verified.head.sequence, verifying.elapsed());
    records.close().await;
    Ok(last)
}

impl Bench {
    async fn open_accounts(&self) -> anyhow::Result<()> {
        let open = |id, limit| Event::Open(Account { id, ledger: 1, code: 1, reference: 0, limit });
        self.done(vec![open(BANK, Limit::None)]).await?;
        self.done(vec![open(REVENUE, Limit::None)]).await?;
        for caller in 0..CALLERS[CALLERS.len() - 1] {
            self.done(vec![open(user(caller), Limit::DebitsMustNotExceedCredits)]).await?;
            let gift = transfer(self.id(), BANK, user(caller), 1_000_000_000_000, Kind::Post)?;
            self.done(vec![Event::Transfer(gift)]).await?;
        }
        Ok(())
    }

    /// Charges per second.
    async fn rate(&self, callers: u64, calls: Calls) -> anyhow::Result<u64> {
        let permits = match calls {
            Calls::Alone => 1,
            Calls::Grouped | Calls::Metered => Semaphore::MAX_PERMITS,
        };
        let gate = Arc::new(Semaphore::new(permits));
        let (began, mut tasks) = (Instant::now(), JoinSet::new());
        for caller in 0..callers {
            let caller = Caller { user: user(caller), bench: self.clone(), gate: Arc::clone(&gate) };
            let end = began + self.span;
            match calls {
                Calls::Alone | Calls::Grouped => tasks.spawn(caller.charge_until(end)),
                Calls::Metered => tasks.spawn(caller.meter_until(end)),
            };
        }
        let mut charges = 0;
        while let Some(made) = tasks.join_next().await {
            charges += made??;
        }
        Ok(charges * 1_000_000 / u64::try_from(began.elapsed().as_micros())?.max(1))
    }

    async fn done(&self, chain: Vec<Event>) -> anyhow::Result<()> {
        let outcomes = self.ledger.apply(chain).await?;
        outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))?;
        Ok(())
    }

    fn id(&self) -> TransferId {
        // Spread like the random ids of life: an index that grows at its end would be too kind.
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        TransferId(u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number))
    }
}

struct Caller {
    user: AccountId,
    bench: Bench,
    gate: Arc<Semaphore>,
}

impl Caller {
    async fn charge_until(self, end: Instant) -> anyhow::Result<u64> {
        let mut charges = 0;
        while Instant::now() < end {
            let hold = transfer(self.bench.id(), self.user, REVENUE, 1000, Kind::Hold { timeout_s: 600 })?;
            let settle = Settle { id: self.bench.id(), hold: hold.id, amount: Micros::new(700), reference: 0 };
            for event in [Event::Transfer(hold), Event::Settle(settle)] {
                let _permit = self.gate.acquire().await?;
                self.bench.done(vec![event]).await?;
            }
            charges += 1;
        }
        Ok(charges)
    }
}

impl Caller {
    async fn meter_until(self, end: Instant) -> anyhow::Result<u64> {
        let (charges, payer) = (&self.bench.charges, Payer { user: self.bench.user, key: None, has_key_cap: false });
        let (held, cost) = (Micros::new(1000).context("an amount")?, Micros::new(700).context("an amount")?);
        let mut made = 0;
        while Instant::now() < end {
            // As the program names its calls: what comes later is greater.
            let number = u128::from(self.bench.next_id.fetch_add(1, Ordering::Relaxed));
            let request = RequestName::new(format!("chatcmpl-{:032x}", number << 80 | self.bench.id().0 >> 64))?;
            let hold = charges.hold(payer, request, held, 600, Some(attempt())).await?;
            charges.settle(&hold, cost, attempt(), None).await?;
            made += 1;
        }
        Ok(made)
    }
}

async fn user_with_funds(records: &Records) -> anyhow::Result<UserId> {
    let (users, funds) = (records.users(), Micros::new(1_000_000_000_000).context("an amount")?);
    let user = NewUser {
        id: users.next_id().await?,
        email: Text::new("bench@example.com")?,
        username: Text::new("bench")?,
        password: None,
        tier: Text::new("bench")?,
        cap: funds,
        signup_credit: funds,
        created: Timestamp::ZERO,
    };
    Ok(users.create(user, None).await?.id)
}

/// What a call of a model leaves.
fn attempt() -> Attempt {
    Attempt {
        number: 1,
        endpoint: Text::cut("/v1/chat/completions"),
        provider: Text::cut("local"),
        model: Text::cut("kai-fast"),
        upstream_model: Text::cut("SmolLM2-135M-Instruct"),
        tokens_in: 18,
        tokens_cached: 0,
        tokens_out: 14,
        tokens_reasoning: 0,
        latency_ms: 120,
        first_token_ms: Some(30),
        status: Text::cut("ok"),
        source: Text::cut("upstream"),
        raw: None,
    }
}

fn user(caller: u64) -> AccountId {
    AccountId(1000 + u128::from(caller))
}

fn transfer(id: TransferId, debit: AccountId, credit: AccountId, amount: u64, kind: Kind) -> anyhow::Result<Transfer> {
    let amount = Micros::new(amount).context("an amount")?;
    let balancing = Balancing::default();
    Ok(Transfer { id, debit, credit, amount, balancing, kind, ledger: 1, code: 1, reference: 0 })
}

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn syncs_per_second(folder: &Path) -> anyhow::Result<u64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let (began, mut syncs) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        syncs += 1;
    }
    fs::remove_file(path)?;
    Ok(syncs)
}
