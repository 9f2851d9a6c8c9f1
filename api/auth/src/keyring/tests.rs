use std::{net::Ipv4Addr, thread};

use proptest::prelude::*;
use rand::rngs::OsRng;

use super::*;
use crate::ApiKey;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn grant() -> KeyGrant {
    KeyGrant { owner: Some(Owner { user_id: 42, key_id: 1 }), ..KeyGrant::configured("pro".into()) }
}

fn live(grant: KeyGrant) -> KeyState {
    KeyState::Live(Arc::new(grant))
}

fn hash(number: u64) -> KeyHash {
    KeyHash::of(&number.to_string())
}

#[test]
fn a_good_key_gets_what_it_was_granted() {
    let (keyring, key) = (Keyring::default(), ApiKey::generate(&mut OsRng).unwrap());
    assert_eq!(keyring.lookup(key.reveal(), NOW, HOME), Err(KeyRefusal::Unknown));
    keyring.apply(key.hash(), 1, live(grant())).unwrap();
    assert_eq!(*keyring.lookup(key.reveal(), NOW, HOME).unwrap(), grant());
    keyring.apply(KeyHash::of("kai-of-the-operator"), 0, live(KeyGrant::configured("free".into()))).unwrap();
    assert_eq!(keyring.lookup("kai-of-the-operator", NOW, HOME).unwrap().owner, None);
}

#[test]
fn a_refusal_says_why() {
    let (keyring, key) = (Keyring::default(), ApiKey::generate(&mut OsRng).unwrap());
    let lookup = |text: &str| keyring.lookup(text, NOW, HOME).map_err(KeyRefusal::code).map(|_| ());
    assert_eq!(lookup(""), Err("missing_api_key"));
    let mut typo = key.reveal().to_owned();
    typo.replace_range(10..11, if typo.as_bytes()[10] == b'x' { "y" } else { "x" });
    for text in ["short", &typo, "with space", "kai-\r\nHost: a", key.reveal()] {
        assert_eq!(lookup(text), Err("invalid_api_key"), "{text}");
    }
    assert_eq!(keyring.lookup(&typo, NOW, HOME), Err(KeyRefusal::Malformed));
    assert_eq!(keyring.lookup(key.reveal(), NOW, HOME), Err(KeyRefusal::Unknown));
    let mut version = 0;
    let mut with = |grant: KeyGrant| {
        version += 1;
        keyring.apply(key.hash(), version, live(grant)).unwrap();
        lookup(key.reveal())
    };
    assert_eq!(with(grant()), Ok(()));
    assert_eq!(with(KeyGrant { is_disabled: true, ..grant() }), Err("account_disabled"));
    assert_eq!(with(KeyGrant { expires_at: Some(NOW), ..grant() }), Err("expired_api_key"));
    assert_eq!(with(KeyGrant { expires_at: Some(NOW.after(std::time::Duration::from_nanos(1))), ..grant() }), Ok(()));
    let elsewhere = AllowList::parse(["198.51.100.0/24"]).unwrap();
    assert_eq!(with(KeyGrant { allowed: elsewhere, ..grant() }), Err("address_not_allowed"));
    assert!(keyring.is_valid(key.hash(), NOW), "an open socket's address was checked when it came");
    keyring.apply(key.hash(), 9, KeyState::Revoked).unwrap();
    assert_eq!(lookup(key.reveal()), Err("revoked_api_key"));
    assert!(!keyring.is_valid(key.hash(), NOW));
}

#[test]
fn an_older_change_or_a_second_life_is_left_out() {
    let keyring = Keyring::default();
    keyring.apply(hash(1), 5, live(grant())).unwrap();
    keyring.apply(hash(1), 4, KeyState::Revoked).unwrap();
    assert!(keyring.is_valid(hash(1), NOW));
    keyring.apply(hash(1), 5, live(KeyGrant { is_disabled: true, ..grant() })).unwrap();
    assert!(keyring.is_valid(hash(1), NOW), "the same change twice is one change");
    keyring.apply(hash(1), 6, KeyState::Revoked).unwrap();
    let changes = keyring.changes();
    for version in [5, 6, 7] {
        keyring.apply(hash(1), version, live(grant())).unwrap();
        assert_eq!(keyring.check(hash(1), NOW, HOME), Err(KeyRefusal::Revoked));
    }
    assert_eq!((keyring.changes(), changes), (2, 2));
}

#[test]
fn the_oldest_revoked_keys_are_forgotten_and_stay_useless() {
    let keyring = Keyring::default();
    let most = u64::try_from(REVOKED_MAX).unwrap();
    for number in 0..most + 10 {
        keyring.apply(hash(number), 1, live(grant())).unwrap();
        keyring.apply(hash(number), 2, KeyState::Revoked).unwrap();
        keyring.apply(hash(number), 3, KeyState::Revoked).unwrap();
    }
    assert_eq!(keyring.check(hash(0), NOW, HOME), Err(KeyRefusal::Unknown));
    assert_eq!(keyring.check(hash(most + 9), NOW, HOME), Err(KeyRefusal::Revoked));
    assert!(keyring.keys.len() <= REVOKED_MAX);
    assert_eq!(keyring.live.load(Ordering::Relaxed), 0);
}

#[test]
fn a_full_keyring_refuses_new_keys_and_still_takes_changes() {
    let keyring = Keyring::default();
    keyring.apply(hash(1), 1, live(grant())).unwrap();
    keyring.live.store(LIVE_MAX, Ordering::Relaxed);
    assert_eq!(keyring.apply(hash(2), 2, live(grant())), Err(KeyringFull));
    assert!(!keyring.is_valid(hash(2), NOW));
    keyring.apply(hash(1), 3, live(KeyGrant { is_disabled: true, ..grant() })).unwrap();
    assert_eq!(keyring.check(hash(1), NOW, HOME), Err(KeyRefusal::Disabled));
    keyring.apply(hash(1), 4, KeyState::Revoked).unwrap();
    assert_eq!(keyring.apply(hash(2), 2, live(grant())), Ok(()));
}

#[test]
fn whoever_sees_the_change_counted_finds_the_key_revoked() {
    let keyring = Arc::new(Keyring::default());
    for round in 0..200 {
        keyring.apply(hash(round), 1, live(grant())).unwrap();
        let before = keyring.changes();
        let watcher = thread::spawn({
            let keyring = Arc::clone(&keyring);
            move || {
                while keyring.changes() == before {
                    thread::yield_now();
                }
                keyring.is_valid(hash(round), NOW)
            }
        });
        keyring.apply(hash(round), 2, KeyState::Revoked).unwrap();
        assert!(!watcher.join().unwrap());
    }
}

proptest! {
    #[test]
    fn prop_the_order_of_changes_does_not_matter(
        mut changes in prop::collection::vec((0_u64..4, prop::bool::weighted(0.3)), 1..24),
        seed: u64,
    ) {
        // As in the store: after it is revoked a key does not change any more.
        let mut ended = [false; 4];
        changes.retain(|&(key, revokes)| {
            let at = usize::try_from(key).unwrap();
            let keeps = !ended[at];
            ended[at] |= revokes;
            keeps
        });
        let mut numbered: Vec<_> = (1_u64..).zip(changes).collect();
        let apply = |numbered: &[(u64, (u64, bool))]| {
            let keyring = Keyring::default();
            for &(version, (key, revokes)) in numbered {
                let tier = version.to_string().into();
                let state = if revokes { KeyState::Revoked } else { live(KeyGrant { tier, ..grant() }) };
                keyring.apply(hash(key), version, state).unwrap();
            }
            let live = keyring.live.load(Ordering::Relaxed);
            ((0..4).map(|key| keyring.check(hash(key), NOW, HOME)).collect::<Vec<_>>(), live)
        };
        let in_order = apply(&numbered);
        numbered.sort_by_key(|&(version, _)| (version ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        prop_assert_eq!(apply(&numbered), in_order);
    }
}
