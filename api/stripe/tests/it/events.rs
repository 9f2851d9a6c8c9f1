//! From a customer's payment to what a webhook says, and the way back after a downtime.

use std::time::Duration;

use stripe::{CheckoutStage, Cursor, DisputeStage, DisputeStatus, Endpoint, Event, EventsQuery, Kind, Session};
use stripe_fake::{Action, Delivery};

use crate::stage::{Receiver, TEN, Webhook, fake, key};

const SECRET: &str = "whsec_test_secret";
const SIGNED: u64 = 1_700_000_000;

fn delivery(receiver: &Receiver, events: Vec<String>) -> Delivery {
    let (url, secret) = (receiver.url.clone(), SECRET.to_owned());
    Delivery { url, secret, events, signed_at: Some(SIGNED), ..Delivery::default() }
}

/// Verifies and reads what was received.
fn read(receiver: &Receiver) -> Vec<Event> {
    let endpoint = Endpoint::new(&[SECRET], 300).unwrap();
    let read = |(signature, body): &Webhook| {
        endpoint.verify(signature, body, SIGNED + 1).unwrap();
        Event::parse(body).unwrap()
    };
    receiver.got().iter().map(read).collect()
}

fn session_of(event: &Event, expected: CheckoutStage) -> &Session {
    let Kind::Checkout { stage, session } = &event.kind else { panic!("{event:?}") };
    assert_eq!(*stage, expected);
    session
}

#[tokio::test]
async fn a_payment_by_card_a_refund_and_a_dispute_are_told_as_they_happen() {
    let (fake, client) = fake().await;
    let receiver = Receiver::start().await;
    let session = client.create_session(&TEN, &key("order")).await.unwrap();
    let actions = [
        Action::Pay,
        Action::Refund(300),
        Action::Refund(200),
        Action::Inquire,
        Action::Lose,
        Action::Dispute,
        Action::Win,
    ];
    let events: Vec<String> = actions.iter().flat_map(|action| fake.act(&session.id, *action).unwrap()).collect();
    assert!(fake.deliver(&delivery(&receiver, events.clone())).await.unwrap().iter().all(|status| *status == 200));
    let told = read(&receiver);
    assert_eq!(told.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), events);
    assert!(told.iter().all(|event| !event.livemode && event.created > SIGNED));

    let paid = session_of(&told[0], CheckoutStage::Completed);
    assert!(paid.is_paid() && paid.id == session.id && paid.metadata == session.metadata);
    let payment = paid.payment_intent.clone();
    assert!(payment.is_some());
    let mut refunded = Vec::new();
    let mut disputed = Vec::new();
    for event in &told[1..] {
        match &event.kind {
            Kind::Refunded(charge) => {
                assert_eq!((&charge.payment_intent, charge.amount.minor()), (&payment, 1000));
                assert_eq!(charge.metadata["user_id"], "1");
                refunded.push(charge.amount_refunded.usd_micros().unwrap());
            }
            Kind::Dispute { stage, dispute } => {
                assert_eq!((&dispute.payment_intent, dispute.amount.minor()), (&payment, 1000));
                disputed.push((*stage, dispute.status));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refunded, [3_000_000, 5_000_000], "the sum until then, each time");
    assert_eq!(
        disputed,
        [
            (DisputeStage::Created, DisputeStatus::WarningNeedsResponse),
            (DisputeStage::Closed, DisputeStatus::Lost),
            (DisputeStage::Created, DisputeStatus::NeedsResponse),
            (DisputeStage::FundsWithdrawn, DisputeStatus::NeedsResponse),
            (DisputeStage::Closed, DisputeStatus::Won),
            (DisputeStage::FundsReinstated, DisputeStatus::Won),
        ]
    );
    let found = client.session_of_payment(&payment.unwrap()).await.unwrap().unwrap();
    assert_eq!(found.id, session.id);
    assert_eq!(client.session_of_payment("pi_unknown").await.unwrap(), None);
}

#[tokio::test]
async fn a_slow_payment_is_not_paid_until_it_has_come() {
    let (fake, client) = fake().await;
    let receiver = Receiver::start().await;
    for (end, stage, paid) in
        [(Action::Arrive, CheckoutStage::AsyncSucceeded, true), (Action::Fail, CheckoutStage::AsyncFailed, false)]
    {
        let session = client.create_session(&TEN, &key(&format!("{end:?}"))).await.unwrap();
        let events =
            [Action::PayLater, end].iter().flat_map(|action| fake.act(&session.id, *action).unwrap()).collect();
        let before = receiver.got().len();
        fake.deliver(&delivery(&receiver, events)).await.unwrap();
        let told = read(&receiver).split_off(before);
        assert!(!session_of(&told[0], CheckoutStage::Completed).is_paid());
        assert_eq!(session_of(&told[1], stage).is_paid(), paid);
        assert_eq!(client.session(&session.id).await.unwrap().is_paid(), paid);
    }
}

#[tokio::test]
async fn an_expired_session_takes_no_money() {
    let (fake, client) = fake().await;
    let session = client.create_session(&TEN, &key("late")).await.unwrap();
    let expired = client.expire_session(&session.id, &key("late-expire")).await.unwrap();
    assert_eq!((expired.status, expired.url), (Some(stripe::SessionStatus::Expired), None));
    assert_eq!(
        client.expire_session(&session.id, &key("late-expire")).await.unwrap().id,
        session.id,
        "the same key, the same answer"
    );
    assert!(client.expire_session(&session.id, &key("again")).await.unwrap_err().is_terminal());
    assert!(fake.act(&session.id, Action::Pay).is_err());
    let page = client.events(&EventsQuery::default()).await.unwrap();
    assert_eq!(page.events.len(), 1);
    session_of(page.events[0].as_ref().unwrap(), CheckoutStage::Expired);
}

#[tokio::test]
async fn webhooks_come_twice_in_any_order_late_and_all_at_once() {
    let (fake, client) = fake().await;
    let receiver = Receiver::start().await;
    let session = client.create_session(&TEN, &key("order")).await.unwrap();
    let paid = fake.act(&session.id, Action::Pay).unwrap().remove(0);
    let refunded = fake.act(&session.id, Action::Refund(1000)).unwrap().remove(0);
    let order = vec![refunded.clone(), paid.clone(), refunded.clone(), paid.clone()];
    let pause = Duration::from_millis(20);
    let start = std::time::Instant::now();
    fake.deliver(&Delivery { pause, ..delivery(&receiver, order.clone()) }).await.unwrap();
    assert!(start.elapsed() >= 3 * pause);
    assert_eq!(read(&receiver).iter().map(|event| event.id.clone()).collect::<Vec<_>>(), order);

    let statuses =
        fake.deliver(&Delivery { raced: true, ..delivery(&receiver, vec![paid.clone(); 50]) }).await.unwrap();
    assert_eq!(statuses, [200; 50]);
    let bodies: Vec<_> =
        receiver.got().into_iter().filter(|(_, body)| Event::parse(body).unwrap().id == paid).collect();
    assert_eq!(bodies.len(), 52);
    assert!(bodies.iter().all(|(_, body)| *body == bodies[0].1), "one event has the same bytes each time");
}

#[tokio::test]
async fn a_downtime_is_made_up_for_page_by_page() {
    let (fake, client) = fake().await;
    let mut told = Vec::new();
    for nth in 0..6 {
        let session = client.create_session(&TEN, &key(&format!("order-{nth}"))).await.unwrap();
        told.extend(fake.act(&session.id, Action::Pay).unwrap());
        told.extend(fake.act(&session.id, Action::Refund(1)).unwrap());
    }
    let ids =
        |page: &stripe::Page| page.events.iter().map(|event| event.as_ref().unwrap().id.clone()).collect::<Vec<_>>();

    // Backwards from now, as after a downtime.
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let from = cursor.as_deref().map(Cursor::OlderThan);
        let page = client
            .events(&EventsQuery { cursor: from, limit: 5, created_from: Some(1), ..EventsQuery::default() })
            .await
            .unwrap();
        found.extend(ids(&page));
        if !page.has_more {
            break;
        }
        let Some(Cursor::OlderThan(oldest)) = page.older() else { panic!("{page:?}") };
        cursor = Some(oldest.to_owned());
    }
    assert_eq!(found, told.iter().rev().cloned().collect::<Vec<_>>());

    // Forwards from what was seen last: the page next to it comes first.
    let page = client
        .events(&EventsQuery { cursor: Some(Cursor::NewerThan(&told[2])), limit: 4, ..EventsQuery::default() })
        .await
        .unwrap();
    assert_eq!((ids(&page), page.has_more), (told[3..7].iter().rev().cloned().collect(), true));
    let newer = EventsQuery { cursor: page.newer(), ..EventsQuery::default() };
    let page = client.events(&newer).await.unwrap();
    assert_eq!((ids(&page), page.has_more), (told[7..].iter().rev().cloned().collect(), false));

    let refunds = client.events(&EventsQuery { types: &["charge.refunded"], ..EventsQuery::default() }).await.unwrap();
    assert_eq!(refunds.events.len(), 6);
    let future = client
        .events(&EventsQuery { created_from: Some(u64::from(u32::MAX)), ..EventsQuery::default() })
        .await
        .unwrap();
    assert!(future.events.is_empty() && future.newer().is_none() && future.older().is_none());
    let forgotten = EventsQuery { cursor: Some(Cursor::NewerThan("evt_forgotten")), ..EventsQuery::default() };
    assert!(client.events(&forgotten).await.unwrap_err().is_terminal());
}
