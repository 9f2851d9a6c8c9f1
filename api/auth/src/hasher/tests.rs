use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use super::*;

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

fn email() -> Email {
    Email::parse("angel@example.com").unwrap()
}

fn limits(parallel: usize, waiting: usize) -> HasherLimits {
    HasherLimits { parallel: NonZeroUsize::new(parallel).unwrap(), waiting }
}

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/vectors/argon2id_vectors.json")).unwrap()
}

#[tokio::test]
async fn a_password_is_recognised_by_its_hash_and_no_other_is() {
    let hasher = PasswordHasher::new(limits(1, 1)).unwrap();
    let stored = hasher.hash(password("a-long-password"), &email()).await.unwrap();
    assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    assert_ne!(hasher.hash(password("a-long-password"), &email()).await.unwrap(), stored, "the salt is the same");
    let verify = async |text, stored| hasher.verify(password(text), stored).await.unwrap();
    assert_eq!(verify("a-long-password", Some(&stored)).await, Verdict::Right { new_hash: None });
    for wrong in ["a-long-passwore", "", "a-long-password ", "A-long-password"] {
        assert_eq!(verify(wrong, Some(&stored)).await, Verdict::Wrong, "{wrong}");
    }
    assert_eq!(verify("a-long-password", None).await, Verdict::Wrong);
}

#[tokio::test]
async fn the_password_of_nobody_opens_no_account() {
    let mut hasher = PasswordHasher::new(limits(1, 0)).unwrap();
    hasher.nobody = hasher.hash(password("a-long-password"), &email()).await.unwrap().into();
    assert_eq!(hasher.verify(password("a-long-password"), None).await.unwrap(), Verdict::Wrong);
}

#[tokio::test]
async fn a_weak_password_gets_no_hash() {
    let hasher = PasswordHasher::new(limits(1, 0)).unwrap();
    for weak in ["short", "password123", "angel@example.com"] {
        let refused = hasher.hash(password(weak), &email()).await;
        assert!(matches!(refused, Err(HasherError::Weak(_))), "{weak}: {refused:?}");
    }
}

#[test]
fn the_settings_are_one_of_those_that_owasp_names() {
    let ours = serde_json::json!({"m_KiB": MEMORY_KIB, "t": PASSES, "p": LANES});
    assert!(vectors()["owasp_params_2026_08"].as_array().unwrap().contains(&ours));
}

#[tokio::test]
async fn published_hashes_are_read_and_made_the_same() {
    let hasher = PasswordHasher::new(limits(1, 0)).unwrap();
    let vectors = vectors();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 8);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let number = |name: &str| u32::try_from(vector[name].as_u64().unwrap()).unwrap();
        let params = Params::new(1 << number("m_log2_KiB"), number("t"), number("p"), Some(32)).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let made = argon2.hash_password_with_salt(text("password").as_bytes(), text("salt").as_bytes()).unwrap();
        assert_eq!(made.to_string(), text("encoded"));
        let right = hasher.verify(password(text("password")), Some(text("encoded"))).await.unwrap();
        let Verdict::Right { new_hash: Some(new_hash) } = right else { panic!("{right:?}") };
        assert!(new_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new_hash}");
        let again = hasher.verify(password(text("password")), Some(&new_hash)).await.unwrap();
        assert_eq!(again, Verdict::Right { new_hash: None });
        assert_eq!(hasher.verify(password("other"), Some(text("encoded"))).await.unwrap(), Verdict::Wrong);
    }
}

#[tokio::test]
async fn what_is_no_argon2id_hash_is_an_error_and_not_a_wrong_password() {
    let hasher = PasswordHasher::new(limits(1, 0)).unwrap();
    let good = vectors()["vectors"][2]["encoded"].as_str().unwrap().to_owned();
    let bad = [
        String::new(),
        "password".to_owned(),
        good.replace("argon2id", "argon2i"),
        good.replace("argon2id", "scrypt"),
        good.replace("m=256", "m=4194304"),
        good.replace("m=256", "m=99999999999"),
        good.chars().take(40).collect(),
    ];
    for stored in bad {
        let verdict = hasher.verify(password("password"), Some(&stored)).await;
        assert!(matches!(verdict, Err(HasherError::Hash(_))), "{stored}: {verdict:?}");
    }
}

/// One at work and one that waits are all there may be; the third is told so at once, and there is room again afterwards.
#[tokio::test]
async fn more_than_may_wait_are_refused_at_once() {
    let hasher = PasswordHasher::new(limits(1, 1)).unwrap();
    let (mut first, mut second) =
        (pin!(hasher.verify(password("first"), None)), pin!(hasher.verify(password("second"), None)));
    poll_fn(|context| {
        assert!(first.as_mut().poll(context).is_pending() && second.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    assert!(matches!(hasher.verify(password("third"), None).await, Err(HasherError::Busy)));
    assert!(first.await.is_ok() && second.await.is_ok());
    assert_eq!(hasher.verify(password("third"), None).await.unwrap(), Verdict::Wrong);
}

/// A caller that leaves while it waits gives its place back; one whose hash is at work keeps it until that is done.
#[tokio::test]
async fn who_leaves_gives_the_place_back_when_the_work_is_done() {
    let hasher = PasswordHasher::new(limits(1, 1)).unwrap();
    {
        let (mut first, mut second) =
            (pin!(hasher.verify(password("first"), None)), pin!(hasher.verify(password("second"), None)));
        poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending() && second.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    assert_eq!((hasher.admitted.available_permits(), hasher.running.available_permits()), (1, 0));
    let both = hasher.admitted.acquire_many(2).await.unwrap();
    assert_eq!(hasher.running.available_permits(), 1);
    drop(both);
}

/// The work is the same: a hash with the same settings, on the same threads, and no answer comes before it is done. Times are
/// not compared, because others use this machine too; but nothing makes so much work in 5 ms.
#[tokio::test]
async fn an_unknown_account_takes_as_much_work_as_a_wrong_password() {
    let hasher = PasswordHasher::new(limits(1, 0)).unwrap();
    let nobody = PasswordHash::new(&hasher.nobody).unwrap();
    assert!(is_same(&readable(&nobody).unwrap(), hasher.argon2.params()));
    for stored in [None, Some(&*hasher.nobody)] {
        let start = Instant::now();
        {
            let mut verdict = pin!(hasher.verify(password("wrong"), stored));
            assert!(poll_fn(|context| Poll::Ready(verdict.as_mut().poll(context).is_pending())).await);
            assert_eq!(hasher.running.available_permits(), 0);
            assert_eq!(verdict.await.unwrap(), Verdict::Wrong);
        }
        assert!(start.elapsed() > Duration::from_millis(5));
    }
}
