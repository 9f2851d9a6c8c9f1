//! What no webhook told is found: the reconciler asks Stripe, from where the last server left off.

use stripe_fake::{Action, Fault};

use super::{
    desk::{Desk, on_each_database},
    shop::{Shop, begin, check, standing},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_downtime_loses_no_payment_and_no_refund() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        server.reconcile(desk.now()).await;
        let mut sessions = Vec::new();
        for cents in [1000, 2000, 3000, 4000, 5000] {
            sessions.push(begin(&server, &ada, cents).await.1);
        }
        let told = shop.act(&sessions[0], Action::Pay);
        shop.tell(&server, &told).await;
        server.close().await;

        shop.act(&sessions[0], Action::Refund(300));
        shop.act(&sessions[1], Action::Pay);
        shop.act(&sessions[1], Action::Dispute);
        shop.act(&sessions[2], Action::Pay);
        shop.act(&sessions[3], Action::PayLater);
        shop.act(&sessions[3], Action::Arrive);
        shop.act(&sessions[4], Action::Expire);
        desk.pass(120);

        // Two servers come up again at once.
        let (one, other) = (shop.serve(desk).await, shop.serve(desk).await);
        tokio::join!(one.reconcile(desk.now()), other.reconcile(desk.now()));
        check(&one, &ada, 700 + 3000 + 4000, 0).await;
        assert!(one.records.payments().listed_until().await.unwrap() >= desk.now().nanos() / 1_000_000_000);
        assert_eq!(one.records.payments().unfinished(desk.now(), 0, 10).await.unwrap(), []);
        // A pass more changes nothing.
        one.reconcile(desk.now()).await;
        check(&other, &ada, 7700, 0).await;
        one.close().await;
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_read_page_by_page_to_its_end() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&server, &ada, 20_000).await;
        shop.act(&session, Action::Pay);
        // Three pages of events, of which the payment is on the last.
        for _ in 0..230 {
            shop.act(&session, Action::Refund(50));
        }
        server.reconcile(desk.now()).await;
        check(&server, &ada, 20_000 - 230 * 50, 0).await;
        let asked = shop.fake.requests();
        let pages = asked.iter().filter(|asked| asked.path.starts_with("/v1/events")).count();
        assert_eq!(pages, 3);
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_listed_late_is_found_within_the_hour() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (_, session) = begin(&server, &ada, 1000).await;
        shop.act(&session, Action::Pay);
        server.reconcile(desk.now()).await;
        // For Stripe it is half an hour earlier than for us.
        desk.pass(1800);
        server.reconcile(desk.now()).await;
        shop.act(&session, Action::Refund(400));
        server.reconcile(desk.now()).await;
        check(&server, &ada, 600, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_no_list_tells_of_is_found_by_asking_about_its_checkout() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        // More open checkouts than one pass asks about, of which the last is paid.
        let mut sessions = Vec::new();
        for _ in 0..101 {
            sessions.push(begin(&server, &ada, 100).await.1);
        }
        desk.pass(2 * 3600);
        let mut reconciler = server.reconciler();
        reconciler.pass(desk.now()).await;
        let ends = [Action::Expire, Action::Pay];
        sessions[99..].iter().zip(ends).for_each(|(session, action)| drop(shop.act(session, action)));
        check(&server, &ada, 0, 0).await;
        reconciler.pass(desk.now()).await;
        check(&server, &ada, 100, 0).await;
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stripe_is_away_nothing_is_taken_for_read() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let (checkout, session) = begin(&server, &ada, 1000).await;
        shop.act(&session, Action::Pay);
        desk.pass(61);
        shop.fake.spoil(4, Fault { status: 503, ..Fault::default() });
        server.reconcile(desk.now()).await;
        assert_eq!(server.records.payments().listed_until().await.unwrap(), 0);
        check(&server, &ada, 0, 0).await;
        server.reconcile(desk.now()).await;
        check(&server, &ada, 1000, 0).await;
        assert_eq!(standing(&server, &ada, checkout).await.0, json!("settled"));
        server.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_nobody_heard_of_is_not_begun_again_after_a_day() {
    on_each_database(async |desk: &Desk| {
        let shop = Shop::open().await;
        let server = shop.serve(desk).await;
        let ada = server.holder("ada@example.com", 0, 0, desk.now()).await;
        let micros = super::desk::micros(1_000_000);
        let checkout = server.records.payments().begin(ada.user, micros).await.unwrap();
        desk.pass(24 * 3600);
        server.reconcile(desk.now()).await;
        assert_eq!(shop.pages_asked(), 0);
        assert_eq!(standing(&server, &ada, checkout.id).await, (json!("not_settled"), json!("failed")));
        server.close().await;
    })
    .await;
}
