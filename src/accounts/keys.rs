//! `kandle keys`: API keys of users.

use auth::AllowList;
use ledger::Timestamp;
use records::{ApiKey, KEYS_PAGE_MAX, KeyId};
use serde_json::json;

use super::{
    desk::Desk,
    kai,
    make::{self, KeyWish},
};
use crate::cli::{KeysArgs, KeysCommand};

/// Runs one command.
///
/// # Errors
/// Whatever it fails with.
pub async fn run(args: KeysArgs) -> anyhow::Result<()> {
    let desk = Desk::open(&args.at).await?;
    let done = command(&desk, args.command).await;
    desk.records.close().await;
    done
}

async fn command(desk: &Desk, command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create { user, name, scope, expires, cap, allow } => {
            let user = desk.user(&user).await?.id;
            let allowed = AllowList::parse(allow.iter().map(String::as_str))?;
            let now = engine::market::Timestamp(i64::try_from(desk.now().nanos()).unwrap_or(i64::MAX));
            let expires = expires.map(|moment| Timestamp::new(moment.at(now).0.unsigned_abs()).unwrap_or_default());
            let cap = cap.as_deref().map(kai::parse).transpose()?;
            let wish = KeyWish { user, name: &name, scope: scope.into(), cap, allowed: &allowed, expires };
            let (key, id) = make::key(&desk.records, wish, desk.now()).await?;
            let text = format!("key {}: {}\nIt is shown this once; only its hash is kept.", id.0, key.reveal());
            desk.say(&text, &json!({"key_id": id.0, "api_key": key.reveal()}))
        }
        KeysCommand::List { user } => {
            let user = desk.user(&user).await?.id;
            let keys = desk.records.keys().of_user(user, None, KEYS_PAGE_MAX).await?;
            keys.iter().try_for_each(|key| say(desk, key))
        }
        KeysCommand::Revoke { key } => say(desk, &desk.records.keys().revoke(KeyId(key), None).await?),
    }
}

fn say(desk: &Desk, key: &ApiKey) -> anyhow::Result<()> {
    let is_over = key.expires.is_some_and(|end| end <= desk.now());
    let state = match (key.revoked, is_over) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "live",
    };
    let scope = format!("{:?}", key.scope).to_lowercase();
    desk.say(
        &format!("{:>6}  {}…  {scope}  {state}  {}", key.id.0, key.prefix, key.name),
        &json!({
            "key_id": key.id.0,
            "prefix": key.prefix.as_str(),
            "name": key.name.as_str(),
            "scope": scope,
            "state": state,
            "spend_cap_micros": key.cap.map(ledger::Micros::get),
        }),
    )
}
