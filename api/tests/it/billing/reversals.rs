//! Refunds and disputes take back what was paid, in parts, out of order, and no more than that.

use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use stripe_fake::{Action, Delivery, Fault};

use super::{
    desk::{Desk, on_each_database},
    shop::{Shop, begin, check},
};

#[tokio::test(flavor = "multi_thread")]
async fn refunds_in_parts_are_taken_back_once_in_any_order() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&server, &ada, 2500).await;
        let paid = shop.act(&session, Action::Pay);
        assert_eq!(shop.tell(&server, &paid).await, [200]);
        let first = shop.act(&session, Action::Refund(500));
        let second = shop.act(&session, Action::Refund(700));
        // The later one says all: 12.00.
        assert_eq!(shop.tell(&server, &second).await, [200]);
        check(&server, &ada, 1300, 0).await;
        assert_eq!(shop.tell(&server, &[first, second].concat()).await, [200, 200]);
        check(&server, &ada, 1300, 0).await;
        let rest = shop.act(&session, Action::Refund(1300));
        let raced = Delivery { raced: true, ..shop.delivery(&server, &vec![rest[0].clone(); 20]) };
        assert!(shop.fake.deliver(&raced).await.unwrap().iter().all(|status| *status == 200));
        check(&server, &ada, 0, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_before_a_refund_is_owed_and_the_next_payment_pays_it() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&server, &ada, 1000).await;
        let paid = shop.act(&session, Action::Pay);
        shop.tell(&server, &paid).await;
        server.charge(&ada, "r1", "kai-fast", 4_000_000).await;
        let refunded = shop.act(&session, Action::Refund(1000));
        assert_eq!(shop.tell(&server, &refunded).await, [200]);
        let balance = async || {
            let told = server.json(&ada, "/v1/billing/balance").await;
            (told["balance_micros"].as_u64().unwrap(), told["owed_micros"].as_u64().unwrap())
        };
        assert_eq!(balance().await, (0, 4_000_000));
        let (_, session) = begin(&server, &ada, 2500).await;
        let paid = shop.act(&session, Action::Pay);
        assert_eq!(shop.tell(&server, &paid).await, [200]);
        assert_eq!(balance().await, (21_000_000, 0));
        let statement = server.get(&ada, "/v1/billing/statement?from=0").send().await.unwrap().text().await.unwrap();
        // A moment that has not passed is not on it yet.
        assert!(!statement.contains("payment"), "{statement}");
        desk.pass(1);
        let statement = server.get(&ada, "/v1/billing/statement?from=0").send().await.unwrap().text().await.unwrap();
        let told: Vec<_> = statement.lines().skip(2).map(|row| row.split(',').collect::<Vec<_>>()).collect();
        let told: Vec<_> = told.iter().map(|row| (row[2], row[6])).collect();
        assert_eq!(told, [("payment", "10.00"), ("charge", "6.00"), ("reversal", "-4.00"), ("payment", "21.00")]);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_is_told_before_its_payment_comes_to_the_same() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&server, &ada, 2500).await;
        let paid = shop.act(&session, Action::Pay);
        let refunded = shop.act(&session, Action::Refund(1000));
        // Stripe must say which session it was; until it does, it tells again.
        shop.fake.spoil(2, Fault { status: 500, ..Fault::default() });
        assert_eq!(shop.tell(&server, &refunded).await, [503]);
        check(&server, &ada, 0, 0).await;
        assert_eq!(shop.tell(&server, &refunded).await, [200]);
        check(&server, &ada, 1500, 0).await;
        assert_eq!(shop.tell(&server, &paid).await, [200]);
        check(&server, &ada, 1500, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_takes_the_money_and_gives_it_back_only_when_it_is_won() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let tell = async |session: &str, action| {
            let events = shop.act(session, action);
            assert!(shop.tell(&server, &events).await.iter().all(|status| *status == 200));
        };
        let (_, inquired) = begin(&server, &ada, 2500).await;
        tell(&inquired, Action::Pay).await;
        tell(&inquired, Action::Inquire).await;
        check(&server, &ada, 2500, 0).await;
        // What is lost was withdrawn, even if nobody told of that.
        tell(&inquired, Action::Lose).await;
        check(&server, &ada, 0, 0).await;

        let (_, session) = begin(&server, &ada, 1000).await;
        tell(&session, Action::Pay).await;
        tell(&session, Action::Dispute).await;
        check(&server, &ada, 0, 0).await;
        tell(&session, Action::Win).await;
        check(&server, &ada, 1000, 0).await;

        let (_, session) = begin(&server, &ada, 300).await;
        tell(&session, Action::Pay).await;
        tell(&session, Action::Dispute).await;
        tell(&session, Action::Lose).await;
        check(&server, &ada, 1000, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_given_again_was_taken_before_whatever_is_told_first() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&server, &ada, 1000).await;
        let mut events = shop.act(&session, Action::Pay);
        events.extend(shop.act(&session, Action::Dispute));
        events.extend(shop.act(&session, Action::Win));
        // The last first; at no moment is there more than was paid.
        for event in events.iter().rev() {
            assert_eq!(shop.tell(&server, std::slice::from_ref(event)).await, [200]);
            check(&server, &ada, 1000, 0).await;
        }
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_dispute_and_refund_come_to_the_same_in_any_order() {
    let seed = rand::random();
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let mut random = SmallRng::seed_from_u64(seed);
        let mut sum = 0;
        for round in 0..8 {
            let (_, session) = begin(&server, &ada, 2000).await;
            let mut events = shop.act(&session, Action::Pay);
            let (actions, left): (&[Action], _) = match round % 4 {
                0 => (&[Action::Dispute, Action::Win], 2000),
                1 => (&[Action::Dispute, Action::Lose], 0),
                2 => (&[Action::Refund(100), Action::Refund(200), Action::Refund(300)], 1400),
                _ => (&[Action::Dispute, Action::Win, Action::Refund(500)], 1500),
            };
            actions.iter().for_each(|action| events.extend(shop.act(&session, *action)));
            sum += left;
            let mut told = [events.clone(), events.clone(), events].concat();
            told.shuffle(&mut random);
            let delivery = Delivery { raced: round % 2 == 0, ..shop.delivery(&server, &told) };
            let statuses = shop.fake.deliver(&delivery).await.unwrap();
            assert!(statuses.iter().all(|status| *status == 200), "seed {seed}, round {round}: {statuses:?}");
            check(&server, &ada, sum, 0).await;
        }
        server.close().await;
    })
    .await;
}
