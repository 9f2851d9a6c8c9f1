//! `KANDLE_LIMITS__OUTBOX_BYTES=…`: settings from the environment, `__` standing between a table and its name.

use super::{
    ConfigError, SymbolConfig,
    error::explain,
    file::{File, Source},
};

const PREFIX: &str = "KANDLE_";
/// Variables that belong to the command line.
const OTHERS: [&str; 3] = ["KANDLE_API_KEY", "KANDLE_URL", "KANDLE_CONFIG"];
/// Names that Stripe's own tools use.
const STRIPE: [(&str, &str); 3] = [
    ("STRIPE_API_BASE", "STRIPE__API_BASE"),
    ("STRIPE_SECRET_KEY", "STRIPE__SECRET_KEY"),
    ("STRIPE_WEBHOOK_SECRET", "STRIPE__WEBHOOK_SECRET"),
];

/// Puts the variables over the file's settings. Returns the symbols that they add to the table, whichever that is.
pub(super) fn apply(
    file: &mut File,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<SymbolConfig>, ConfigError> {
    let mut symbols = Vec::new();
    for (name, value) in environment {
        let own = name.strip_prefix(PREFIX).filter(|_| !OTHERS.contains(&name.as_str()));
        let stripe = STRIPE.iter().find(|(theirs, _)| *theirs == name).map(|(_, path)| *path);
        let Some(path) = own.or(stripe) else { continue };
        match read(path, &value) {
            Ok(part) => {
                symbols.extend(part.symbols.iter().flatten().map(|(alias, source)| symbol(&alias.0, source)));
                file.apply(part);
            }
            Err(problem) => return Err(ConfigError::Environment { name, problem }),
        }
    }
    Ok(symbols)
}

fn symbol(alias: &str, source: &Source) -> SymbolConfig {
    SymbolConfig { alias: alias.to_owned(), venue: source.venue, name: source.name.clone() }
}

/// Reads one variable as the TOML line that it stands for.
fn read(path: &str, value: &str) -> Result<File, String> {
    let bare =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let parts: Vec<&str> = path.split("__").collect();
    if parts.len() > 4 || !parts.iter().all(|part| bare(part)) {
        return Err("names no setting; write KANDLE_TABLE__NAME, such as KANDLE_LIMITS__OUTBOX_BYTES".to_owned());
    }
    if parts.first().is_some_and(|first| first.eq_ignore_ascii_case("keys")) {
        return Err(
            "keys are not taken from the environment; put them under [[keys]] in the file of --config".to_owned()
        );
    }
    let is_symbol = parts.first().is_some_and(|first| first.eq_ignore_ascii_case("symbols"));
    let lower = |(index, part): (usize, &&str)| {
        // The names of settings are in small letters, aliases are as they are.
        if is_symbol && index > 0 { (*part).to_owned() } else { part.to_ascii_lowercase() }
    };
    let key = parts.iter().enumerate().map(lower).collect::<Vec<_>>().join(".");
    let is_plain = value.parse::<i64>().is_ok() || value == "true" || value == "false";
    let text = if is_plain { format!("{key} = {value}") } else { format!("{key} = {}", toml::Value::from(value)) };
    toml::from_str(&text).map_err(|error| explain(&text, &error).1)
}
