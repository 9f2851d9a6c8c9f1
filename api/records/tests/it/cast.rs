//! Who plays in the tests: users, their keys, what they ask for.

use ledger::{Micros, Timestamp};
use records::{
    Attempt, Email, KeyId, Name, NewKey, NewUser, PasswordHash, Payer, Records, RequestName, Scope, Text, User, UserId,
    Word,
};

pub(crate) fn kai(kai: u64) -> Micros {
    micros(kai * 1_000_000)
}

pub(crate) fn micros(micros: u64) -> Micros {
    Micros::new(micros).unwrap()
}

pub(crate) fn word(text: &str) -> Word {
    Word::new(text).unwrap()
}

pub(crate) fn request(text: impl Into<String>) -> RequestName {
    RequestName::new(text).unwrap()
}

pub(crate) async fn user(records: &Records, email: &str, cap: u64, credit: u64) -> NewUser {
    NewUser {
        id: records.users().next_id().await.unwrap(),
        email: Email::new(email).unwrap(),
        username: Name::new(email.split('@').next().unwrap()).unwrap(),
        password: Some(PasswordHash(Text::new("$argon2id$hash").unwrap())),
        tier: word("starter"),
        cap: kai(cap),
        signup_credit: kai(credit),
        created: Timestamp::new(1_700_000_000_000_000_000).unwrap(),
    }
}

/// A user with a cap and credit, both in KAI.
pub(crate) async fn ada(records: &Records, cap: u64, credit: u64) -> User {
    records.users().create(user(records, "ada@example.com", cap, credit).await, None).await.unwrap()
}

pub(crate) async fn key(records: &Records, user: UserId, number: u8) -> NewKey {
    NewKey {
        id: records.keys().next_id().await.unwrap(),
        user,
        hash: [number; 32],
        prefix: Text::new("kai-abcd").unwrap(),
        name: Name::new("my-first-bot").unwrap(),
        scope: Scope::Write,
        cap: None,
        cidrs: vec![Text::new("10.0.0.0/8").unwrap(), Text::new("::1/128").unwrap()],
        created: Timestamp::new(1_700_000_000_000_000_000).unwrap(),
        expires: None,
    }
}

pub(crate) fn payer(user: UserId, key: Option<KeyId>) -> Payer {
    Payer { user, key, has_key_cap: key.is_some() }
}

pub(crate) fn attempt(number: u32) -> Attempt {
    Attempt {
        number,
        endpoint: Name::new("/v1/chat/completions").unwrap(),
        provider: word("local"),
        model: Name::new("kai-fast").unwrap(),
        upstream_model: Name::new("SmolLM2-135M-Instruct").unwrap(),
        tokens_in: 18,
        tokens_cached: 0,
        tokens_out: 14,
        tokens_reasoning: 0,
        latency_ms: 120,
        first_token_ms: Some(30),
        status: word("ok"),
        source: word("upstream"),
        raw: None,
    }
}
