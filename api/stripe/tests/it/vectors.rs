//! The verdicts of Stripe's own library on signatures.

use serde_json::Value;
use stripe::{Endpoint, SignatureError};

#[test]
fn every_verdict_on_a_signature_is_that_of_the_official_library() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/stripe_webhook_signature_vectors.json")).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 11);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let number = |name: &str| vector[name].as_u64().unwrap();
        let endpoint = Endpoint::new(&[text("secret")], number("tolerance")).unwrap();
        let verdict = endpoint.verify(text("header"), text("payload").as_bytes(), number("now"));
        let theirs = vector["error"].as_str().unwrap_or("valid");
        let ours = match verdict {
            Ok(()) => "valid",
            Err(SignatureError::Malformed) => "Unable to extract timestamp and signatures from header",
            Err(SignatureError::NoSignature) => "No signatures found with expected scheme v1",
            Err(SignatureError::Mismatch) => "No signatures found matching the expected signature for payload",
            Err(SignatureError::Time { .. }) => "Timestamp outside the tolerance zone",
        };
        assert_eq!(ours, theirs, "{}", text("case"));
        assert_eq!(verdict.is_ok(), vector["valid"].as_bool().unwrap(), "{}", text("case"));
    }
}
