//! The part of the configuration that is about accounts, money and who may ask what: `[records]`, `[accounts]`, `[http]`,
//! `[tiers.NAME]` and `[stripe]`, as its text has it and as it is meant.

use std::path::PathBuf;

use api::{
    limits::Quota,
    tiers::{DEVELOPER, Tier, Tiers},
};
use ipnet::IpNet;
use records::RecordsUrl;
use serde::{Deserialize, Deserializer, de::Error};

use super::file::{Bounded, File, Url};

/// Where accounts and money are kept, and what new users get.
#[derive(Clone)]
pub struct AccountsConfig {
    /// The database; `None` for no accounts at all, so that only the keys of the file hold.
    pub records: Option<RecordsUrl>,
    /// The file of the secret that tokens are signed with. It is made if there is none.
    pub secret_file: PathBuf,
    /// Whether anybody may register.
    pub is_open: bool,
    /// The tier of new users.
    pub tier: String,
    /// What each new user is given, in micros.
    pub signup_credit_micros: u64,
    /// All tiers.
    pub tiers: Tiers,
}

/// How HTTP is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Web pages that may read answers; none stands for all.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
}

/// Cards by Stripe.
#[derive(Clone)]
pub struct StripeConfig {
    /// Where its API is.
    pub api_base: String,
    /// The secret key.
    pub secret_key: SecretText,
    /// The signing secrets of the webhook: the old one stays until Stripe has forgotten it.
    pub webhook_secrets: Vec<SecretText>,
    /// Where a customer comes back to who has paid.
    pub success_url: String,
    /// Where a customer comes back to who has not.
    pub cancel_url: String,
}

/// A secret of the configuration. It has no `Debug`, so that it reaches no log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// `[records]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordsFile {
    pub(super) url: Option<RecordsChoice>,
}

/// A database URL, or `none`.
#[derive(Clone)]
pub(super) struct RecordsChoice(pub(super) Option<RecordsUrl>);

impl<'de> Deserialize<'de> for RecordsChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "none" => Ok(Self(None)),
            text => RecordsUrl::parse(text)
                .map(|url| Self(Some(url)))
                .map_err(|error| D::Error::custom(format!("{error}; \"none\" keeps no accounts"))),
        }
    }
}

/// `[accounts]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountsFile {
    pub(super) secret_file: Option<PathBuf>,
    pub(super) registration: Option<bool>,
    pub(super) tier: Option<TierName>,
    pub(super) signup_credit_micros: Option<Bounded<0, 1_000_000_000_000>>,
}

/// `[http]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpFile {
    pub(super) origins: Option<Vec<Url<false>>>,
    pub(super) proxies: Option<Vec<IpNet>>,
}

/// `[stripe]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StripeFile {
    pub(super) api_base: Option<Url<false>>,
    pub(super) secret_key: Option<Secret>,
    pub(super) webhook_secret: Option<Secret>,
    pub(super) webhook_secret_old: Option<Secret>,
    pub(super) success_url: Option<Url<false>>,
    pub(super) cancel_url: Option<Url<false>>,
}

/// `[tiers.NAME]`: what is left out is as it is shipped, or without a limit.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierFile {
    pub(super) requests_per_minute: Option<Bounded<0, 10_000_000>>,
    pub(super) burst: Option<Bounded<1, 10_000_000>>,
    pub(super) connections: Option<Bounded<1, 100_000>>,
    pub(super) runs: Option<Bounded<0, 100_000>>,
    pub(super) monthly_cap_micros: Option<Bounded<0, 1_000_000_000_000_000>>,
}

/// The name of a tier: it stands in headers and in the database.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TierName(pub(super) String);

impl<'de> Deserialize<'de> for TierName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > 32 || !name.bytes().all(allowed) {
            return Err(D::Error::custom(format!(
                "{name:?} is no name for a tier; use 1 to 32 small letters, digits, - or _"
            )));
        }
        Ok(Self(name))
    }
}

/// A secret of printable characters.
#[derive(Clone)]
pub(super) struct Secret(SecretText);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // What is wrong with it is not repeated: it would be printed.
        let refused = || D::Error::custom("is no secret of 8 to 256 printable characters");
        let text = String::deserialize(from).map_err(|_| refused())?;
        let is_plain = (8..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain { Ok(Self(SecretText(text))) } else { Err(refused()) }
    }
}

/// Puts the settings of `over` in place of these.
pub(super) fn apply(file: &mut File, over: &mut File) {
    fn put<T>(old: &mut Option<T>, new: &mut Option<T>) {
        if new.is_some() {
            *old = new.take();
        }
    }
    put(&mut file.records.url, &mut over.records.url);
    let (accounts, new) = (&mut file.accounts, &mut over.accounts);
    put(&mut accounts.secret_file, &mut new.secret_file);
    put(&mut accounts.registration, &mut new.registration);
    put(&mut accounts.tier, &mut new.tier);
    put(&mut accounts.signup_credit_micros, &mut new.signup_credit_micros);
    put(&mut file.http.origins, &mut over.http.origins);
    put(&mut file.http.proxies, &mut over.http.proxies);
    let (stripe, new) = (&mut file.stripe, &mut over.stripe);
    put(&mut stripe.api_base, &mut new.api_base);
    put(&mut stripe.secret_key, &mut new.secret_key);
    put(&mut stripe.webhook_secret, &mut new.webhook_secret);
    put(&mut stripe.webhook_secret_old, &mut new.webhook_secret_old);
    put(&mut stripe.success_url, &mut new.success_url);
    put(&mut stripe.cancel_url, &mut new.cancel_url);
    for (name, mut new) in std::mem::take(&mut over.tiers) {
        let tier = file.tiers.entry(name).or_default();
        put(&mut tier.requests_per_minute, &mut new.requests_per_minute);
        put(&mut tier.burst, &mut new.burst);
        put(&mut tier.connections, &mut new.connections);
        put(&mut tier.runs, &mut new.runs);
        put(&mut tier.monthly_cap_micros, &mut new.monthly_cap_micros);
    }
}

/// What a file says of accounts. `usual` is where they are kept if it says nothing.
pub(super) fn accounts(file: &File, usual: impl FnOnce() -> (Option<RecordsUrl>, PathBuf)) -> AccountsConfig {
    let (url, secret_file) = usual();
    let accounts = &file.accounts;
    AccountsConfig {
        records: file.records.url.clone().map_or(url, |choice| choice.0),
        secret_file: accounts.secret_file.clone().unwrap_or(secret_file),
        is_open: accounts.registration.unwrap_or(true),
        tier: accounts.tier.clone().map_or_else(|| DEVELOPER.to_owned(), |tier| tier.0),
        signup_credit_micros: accounts.signup_credit_micros.map_or(0, |micros| micros.0.unsigned_abs()),
        tiers: tiers(file),
    }
}

/// How a file wants HTTP to be served.
pub(super) fn http(file: &File) -> HttpConfig {
    let origins = file.http.origins.iter().flatten().map(|origin| origin.0.trim_end_matches('/').to_owned()).collect();
    HttpConfig { origins, proxies: file.http.proxies.clone().unwrap_or_default() }
}

/// Cards, if a file has the secret key.
pub(super) fn stripe(file: &File) -> Option<StripeConfig> {
    let stripe = &file.stripe;
    let url =
        |url: &Option<Url<false>>, usual: &str| url.as_ref().map_or_else(|| usual.to_owned(), |url| url.0.clone());
    Some(StripeConfig {
        api_base: url(&stripe.api_base, "https://api.stripe.com"),
        secret_key: stripe.secret_key.clone()?.0,
        webhook_secrets: [&stripe.webhook_secret, &stripe.webhook_secret_old]
            .into_iter()
            .flatten()
            .map(|secret| secret.0.clone())
            .collect(),
        success_url: url(
            &stripe.success_url,
            "http://127.0.0.1:8080/v1/billing/stripe/done?session_id={CHECKOUT_SESSION_ID}",
        ),
        cancel_url: url(&stripe.cancel_url, "http://127.0.0.1:8080/v1/billing/stripe/cancelled"),
    })
}

fn tiers(file: &File) -> Tiers {
    let mut tiers = Tiers::default();
    for (name, given) in &file.tiers {
        let known = tiers.get(&name.0).cloned();
        let usual = known.unwrap_or(Tier { quota: None, connections: None, runs: None, cap_micros: None });
        let size = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let quota = match given.requests_per_minute.map(|number| size(number.0)) {
            // None at all is no limit, not a closed door.
            Some(0) => None,
            Some(number) => Some(Quota::new(number, given.burst.map_or(number, |burst| size(burst.0)))),
            None => usual.quota,
        };
        let tier = Tier {
            quota,
            connections: given.connections.map(|number| size(number.0)).or(usual.connections),
            runs: given.runs.map(|number| size(number.0)).or(usual.runs),
            cap_micros: given.monthly_cap_micros.map(|micros| micros.0.unsigned_abs()).or(usual.cap_micros),
        };
        tiers.set(&name.0, tier);
    }
    tiers
}
