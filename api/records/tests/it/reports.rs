//! What is read afterwards: usage, audit, statements.

use ledger::{Micros, Timestamp};
use records::{
    Attempt, Audit, Conflict, Group, Grouping, KeyId, Name, Payer, Purpose, Records, RecordsError, Text, UsageFilter,
    UserId,
};

use crate::{
    cast::{ada, attempt, kai, key, micros, payer, request, word},
    stage::{Stage, on_each_database},
};

const DAY: u64 = 24 * 60 * 60;

async fn spend(records: &Records, user: UserId, key: Option<KeyId>, name: &str, model: &str, cost: u64) {
    let (charges, payer) = (records.charges(), Payer { has_key_cap: false, ..payer(user, key) });
    let hold = charges.hold(payer, request(name), kai(1), 60, None).await.unwrap();
    let attempt = Attempt { model: Name::new(model).unwrap(), ..attempt(1) };
    charges.settle(&hold, micros(cost), attempt, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_paged_filtered_and_summed() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 50, 10).await.id;
        let stranger =
            records.users().create(crate::cast::user(&records, "b@example.com", 50, 10).await, None).await.unwrap().id;
        let key = records.keys().create(key(&records, user, 1).await, None).await.unwrap().id;
        let begin = stage.now();
        spend(&records, user, None, "a", "kai-fast", 10).await;
        spend(&records, user, Some(key), "b", "kai-smart", 500).await;
        spend(&records, stranger, None, "c", "kai-fast", 1).await;
        stage.pass(DAY);
        let next_day = stage.now();
        for number in 0..5 {
            spend(&records, user, Some(key), &format!("d{number}"), "kai-fast", 20 + number).await;
        }
        let usage = records.usage();
        let names = async |filter: &UsageFilter| {
            let (mut names, mut after) = (Vec::new(), None);
            loop {
                let page = usage.page(user, filter, after, 2).await.unwrap();
                let Some(last) = page.last() else { return names.join(" ") };
                after = Some(last.cursor());
                names.extend(page.into_iter().map(|row| row.request.to_string()));
            }
        };
        let all = UsageFilter::default();
        assert_eq!(names(&all).await, "d4 d3 d2 d1 d0 b a");
        assert_eq!(names(&UsageFilter { key: Some(key), to: Some(next_day), ..all.clone() }).await, "b");
        assert_eq!(
            names(&UsageFilter { model: Some(Name::new("kai-fast").unwrap()), to: Some(next_day), ..all.clone() })
                .await,
            "a"
        );
        assert_eq!(names(&UsageFilter { from: Some(next_day), ..all.clone() }).await, "d4 d3 d2 d1 d0");
        assert!(matches!(usage.page(user, &all, None, 501).await, Err(RecordsError::TooMany { max: 500, .. })));

        let sums = async |by| {
            let sums = usage.sums(user, &all, by).await.unwrap();
            sums.into_iter().map(|sum| (sum.group, sum.attempts, sum.tokens_in, sum.cost.get())).collect::<Vec<_>>()
        };
        let today = begin.nanos() / (DAY * 1_000_000_000);
        assert_eq!(sums(Grouping::Day).await, [(Group::Day(today), 2, 36, 510), (Group::Day(today + 1), 5, 90, 110)]);
        let model = |name: &str| Group::Model(Name::new(name).unwrap());
        assert_eq!(sums(Grouping::Model).await, [(model("kai-smart"), 1, 18, 500), (model("kai-fast"), 6, 108, 120)]);
        let mut by_key = sums(Grouping::Key).await;
        by_key.sort_by_key(|(_, attempts, ..)| *attempts);
        assert_eq!(by_key, [(Group::Key(None), 1, 18, 10), (Group::Key(Some(key)), 6, 108, 610)]);
        records.close().await;
    })
    .await;
}

fn audit(user: UserId, key: Option<KeyId>, endpoint: &str, created: Timestamp) -> Audit {
    Audit {
        user,
        key,
        request: request("req_1"),
        created,
        method: word("POST"),
        endpoint: Text::cut(endpoint),
        status: 200,
        cost: micros(5),
        latency_ms: 12,
        address: Text::cut("127.0.0.1"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_noted_is_written_by_the_time_of_the_end_and_what_is_too_much_is_counted() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 50, 10).await.id;
        let key = records.keys().create(key(&records, user, 1).await, None).await.unwrap().id;
        let later = stage.now().after(9).unwrap();
        for number in 0..600 {
            let endpoint = if number % 3 == 0 { "/v1/llm" } else { "/v1/usage" };
            let at = if number == 300 { later } else { stage.now() };
            records.audit().note(audit(user, Some(key), endpoint, at));
        }
        // Nobody gives the writer a chance to run, so all of these wait.
        let too_many = 20_000;
        let before = records.audit().lost();
        tokio::task::block_in_place(|| {
            (0..too_many).for_each(|_| records.audit().note(audit(user, None, "/v1/me", later)))
        });
        let lost = records.audit().lost() - before;
        let log = records.audit().clone();
        records.close().await;
        log.note(audit(user, None, "/v1/me", later));
        assert_eq!(log.lost() - before - lost, 1);

        let records = stage.open().await;
        assert_eq!(stage.count("audit").await as u64, 600 + too_many - lost);
        assert!(lost > 0);
        let llm = Text::cut("/v1/llm");
        let page = records.audit().page(user, Some(&llm), None, 150).await.unwrap();
        let rest = records.audit().page(user, Some(&llm), Some(page.last().unwrap().cursor()), 150).await.unwrap();
        assert_eq!((page.len(), rest.len()), (150, 50));
        assert_eq!((page[0].audit.created, page[0].audit.clone()), (later, audit(user, Some(key), "/v1/llm", later)));
        assert!(page.iter().chain(&rest).all(|row| row.audit.endpoint == llm));
        assert_eq!(records.keys().by_id(key).await.unwrap().unwrap().key.last_used, Some(later));
        assert_eq!(records.audit().page(UserId(99), None, None, 500).await.unwrap(), []);
        assert!(records.audit().page(user, None, None, 501).await.is_err());
        records.audit().sweep(later).await.unwrap();
        assert_eq!(stage.count("audit").await as u64, 1 + too_many - lost);
        records.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_tells_every_movement_once_and_what_was_there_after_it() {
    on_each_database(async |stage: &Stage| {
        let records = stage.open().await;
        let user = ada(&records, 50, 10).await.id;
        let gifts = records.gifts();
        spend(&records, user, None, "a", "kai-fast", 300_000).await;
        stage.pass(DAY);
        let from = stage.now();
        assert!(gifts.credit(user, kai(5), &request("g1"), None).await.unwrap());
        assert!(!gifts.credit(user, kai(5), &request("g1"), None).await.unwrap());
        let different = gifts.credit(user, kai(6), &request("g1"), None).await;
        assert!(matches!(different, Err(RecordsError::Conflict(Conflict::Different))), "{different:?}");
        let held = records.charges().hold(payer(user, None), request("held"), kai(1), 60, None).await.unwrap();
        records.charges().void(&held, None).await.unwrap();
        assert!(gifts.debit(user, kai(4), &request("w1"), None).await.unwrap());
        let short = gifts.debit(user, kai(40), &request("w2"), None).await;
        assert!(matches!(short, Err(RecordsError::Conflict(Conflict::InsufficientFunds))), "{short:?}");
        let nobody = gifts.credit(UserId(99), kai(1), &request("g9"), None).await;
        assert!(matches!(nobody, Err(RecordsError::Conflict(Conflict::UnknownUser))), "{nobody:?}");
        spend(&records, user, None, "b", "kai-fast", 700_000).await;
        stage.pass(DAY);
        let to = stage.now();
        spend(&records, user, None, "c", "kai-fast", 1).await;

        let lines = async |from, to, after, limit| {
            let statement = records.statements().page(user, from, to, after, limit).await.unwrap();
            let lines =
                statement.lines.iter().map(|line| (line.purpose.name(), line.micros, line.after)).collect::<Vec<_>>();
            (statement.opening, lines, statement.lines.last().map_or(0, |line| line.sequence))
        };
        let whole = lines(Timestamp::ZERO, Timestamp::MAX, 0, 1000).await;
        assert_eq!(whole.0, 0);
        assert_eq!(
            whole.1,
            [
                ("signup", 10_000_000, 10_000_000),
                ("charge", -300_000, 9_700_000),
                ("gift", 5_000_000, 14_700_000),
                ("withdrawal", -4_000_000, 10_700_000),
                ("charge", -700_000, 10_000_000),
                ("charge", -1, 9_999_999),
            ]
        );
        let (opening, first, last) = lines(from, to, 0, 2).await;
        let (middle, second, end) = lines(from, to, last, 2).await;
        assert_eq!((opening, first), (9_700_000, whole.1[2..4].to_vec()));
        assert_eq!((middle, second), (10_700_000, whole.1[4..5].to_vec()));
        assert_eq!(lines(from, to, end, 2).await.1, []);
        let funds = records.users().funds(user).await.unwrap();
        assert_eq!((funds.available, funds.held), (micros(9_999_999), Micros::ZERO));
        assert_eq!(Purpose::ALL.iter().filter(|purpose| purpose.name() == "charge").count(), 1);
        records.close().await;
    })
    .await;
}
