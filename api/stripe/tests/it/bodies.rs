//! Bodies of webhooks that are odd, hostile or of another version.

use proptest::prelude::*;
use serde_json::{Value, json};
use stripe::{EVENT_BYTES_MAX, Event, EventError, Kind};

fn fixture(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../fake/fixtures/stripe_fixtures.json")).unwrap();
    all["resources"][name].clone()
}

fn event(kind: &str, object: &Value) -> Value {
    let mut event = fixture("event");
    event["type"] = kind.into();
    event["data"] = json!({ "object": object });
    event
}

fn parse(event: &Value) -> Result<Event, EventError> {
    Event::parse(event.to_string().as_bytes())
}

fn is_object_error(event: &Value) -> bool {
    matches!(parse(event), Err(EventError::Object { .. }))
}

#[test]
fn the_published_fixtures_are_read_as_they_are() {
    let plan = parse(&fixture("event")).unwrap();
    assert_eq!((plan.created, plan.kind), (1_234_567_890, Kind::Other("plan.created".to_owned())));
    for (kind, name) in stripe::TYPES.map(|kind| {
        let name = if kind.starts_with("checkout") {
            "checkout.session"
        } else if kind == "charge.refunded" {
            "charge"
        } else {
            "dispute"
        };
        (kind, name)
    }) {
        let read = parse(&event(kind, &fixture(name))).unwrap();
        assert!(!matches!(read.kind, Kind::Other(_)), "{kind}");
    }
}

#[test]
fn fields_of_other_versions_are_ignored_and_expanded_objects_are_their_ids() {
    let mut session = fixture("checkout.session");
    session["of_next_year"] = json!({ "deep": [1.5, null] });
    session["payment_intent"] = json!({ "id": "pi_1", "object": "payment_intent", "amount": 7 });
    session["metadata"] = Value::Null;
    let mut event = event("checkout.session.completed", &session);
    event["context"] = json!("acct_1");
    let Kind::Checkout { session, .. } = parse(&event).unwrap().kind else { panic!() };
    assert_eq!((session.payment_intent.as_deref(), session.metadata.len()), (Some("pi_1"), 0));
    assert_eq!(session.amount_total, None);
}

#[test]
fn what_a_type_promises_must_be_there_and_must_be_whole_numbers() {
    let mut session = fixture("checkout.session");
    session["currency"] = "usd".into();
    for (field, value) in [
        ("id", Value::Null),
        ("payment_status", "half_paid".into()),
        ("status", "sleeping".into()),
        ("amount_total", json!(25.0)),
        ("amount_total", json!(-1)),
        ("amount_total", json!("2500")),
        ("amount_total", json!(1_000_000_000_000_u64)),
        ("amount_total", json!(1e30)),
        ("created", json!(-1)),
        ("payment_intent", json!(7)),
        ("metadata", json!({ "a": 1 })),
    ] {
        let mut wrong = session.clone();
        wrong["amount_total"] = 2500.into();
        wrong[field] = value.clone();
        assert!(is_object_error(&event("checkout.session.completed", &wrong)), "{field} {value}");
    }
    session["amount_total"] = 2500.into();
    session["currency"] = "USDC".into();
    assert!(is_object_error(&event("checkout.session.completed", &session)));

    let mut charge = fixture("charge");
    charge["amount_refunded"] = 101.into();
    assert!(is_object_error(&event("charge.refunded", &charge)), "more refunded than charged");
    let mut dispute = fixture("dispute");
    dispute["status"] = "of_next_year".into();
    assert!(is_object_error(&event("charge.dispute.closed", &dispute)));
}

#[test]
fn a_body_that_is_no_event_is_refused() {
    let deep = "[".repeat(100_000);
    let no_type = json!({ "id": "evt_1", "created": 1, "livemode": false, "data": { "object": {} } }).to_string();
    for body in ["", "{}", "null", "[]", "{\"id\":1}", "\u{0}", &deep, &no_type] {
        assert!(matches!(Event::parse(body.as_bytes()), Err(EventError::Envelope(_))), "{:.40}", body);
    }
    assert!(matches!(Event::parse(b"\xff\xfe"), Err(EventError::Envelope(_))));
    let long = vec![b' '; EVENT_BYTES_MAX + 1];
    assert!(matches!(Event::parse(&long), Err(EventError::TooLong)));
}

proptest! {
    #[test]
    fn prop_no_body_and_no_header_panics(body in proptest::collection::vec(any::<u8>(), 0..300), header in ".{0,200}") {
        let _ = Event::parse(&body);
        let endpoint = stripe::Endpoint::new(&["whsec_test_secret"], 300).unwrap();
        prop_assert!(endpoint.verify(&header, &body, 1).is_err());
    }

    #[test]
    fn prop_a_damaged_event_is_read_or_refused(at in 0_usize..4000, byte in any::<u8>()) {
        let mut body = event("checkout.session.completed", &fixture("checkout.session")).to_string().into_bytes();
        let length = body.len();
        body[at % length] = byte;
        let _ = Event::parse(&body);
    }
}
