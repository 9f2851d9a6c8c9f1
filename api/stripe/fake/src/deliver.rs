//! Webhooks: signed as Stripe signs them and sent in exactly the order that is asked for, twice, late or all at once.

use std::time::Duration;

use futures_util::future::join_all;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{Shared, clock, refusal::Refusal};

const DELIVERIES_MAX: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is sent where.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The endpoint.
    pub url: String,
    /// Its secret; the signature is of scheme `v1`, beside one of the scheme `v0` that means nothing.
    pub secret: String,
    /// Ids of events in the order of sending; an id may stand here many times.
    pub events: Vec<String>,
    /// All at once, rather than each after the answer to the one before.
    pub raced: bool,
    /// Between two, unless they are raced.
    pub pause: Duration,
    /// When it was signed, in seconds since the Unix epoch; now, if it is not said.
    pub signed_at: Option<u64>,
}

/// Nothing, or not all, was sent.
#[derive(Debug)]
pub enum DeliveryError {
    /// There is no such event, or too many were asked for.
    Refused(Refusal),
    /// The endpoint did not answer.
    Http(reqwest::Error),
}

impl From<Refusal> for DeliveryError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<reqwest::Error> for DeliveryError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error)
    }
}

pub(crate) async fn deliver(shared: &Shared, delivery: &Delivery) -> Result<Vec<u16>, DeliveryError> {
    if delivery.events.len() > DELIVERIES_MAX {
        return Err(Refusal::new(400, None, "Too many deliveries").into());
    }
    let bodies: Vec<String> = {
        let world = shared.world();
        delivery.events.iter().map(|id| Ok(format!("{:#}", world.event(id)?))).collect::<Result<_, Refusal>>()?
    };
    let client =
        reqwest::Client::builder().no_proxy().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
    let send = |body: String| {
        let signed_at = delivery.signed_at.unwrap_or_else(clock::seconds);
        let request = client.post(&delivery.url).header("content-type", "application/json; charset=utf-8");
        let request = request.header("stripe-signature", signature(&delivery.secret, signed_at, &body)).body(body);
        async move { Ok::<u16, reqwest::Error>(request.send().await?.status().as_u16()) }
    };
    if delivery.raced {
        return Ok(join_all(bodies.into_iter().map(send)).await.into_iter().collect::<Result<_, _>>()?);
    }
    let mut statuses = Vec::with_capacity(bodies.len());
    for (nth, body) in bodies.into_iter().enumerate() {
        if nth > 0 {
            tokio::time::sleep(delivery.pause).await;
        }
        statuses.push(send(body).await?);
    }
    Ok(statuses)
}

/// The header `Stripe-Signature`, <https://docs.stripe.com/webhooks#verify-manually>.
fn signature(secret: &str, signed_at: u64, body: &str) -> String {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    let mac = mac.chain_update(format!("{signed_at}.{body}")).finalize().into_bytes();
    format!("t={signed_at},v1={},v0={}", hex::encode(mac), "0".repeat(64))
}
