//! What is wrong with a configuration: where, which name, and what would mend it.

use std::{error::Error, fmt, io, path::PathBuf};

use super::nearest::nearest;

/// Why a configuration cannot be used. Each says where to look and what to do; none repeats the text of a key.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of the file is wrong.
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// An environment variable is wrong.
    Environment {
        /// Which variable.
        name: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// A certificate without a key, or a key without a certificate.
    HalfTls,
    /// A tier that is named and not described.
    UnknownTier {
        /// Its name.
        tier: String,
        /// The names that there are.
        known: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(
                f,
                "cannot read the configuration {}; give --config the path of an existing TOML file, or leave it out \
                 to run on the defaults (kandle.sample.toml shows them)",
                path.display()
            ),
            Self::Line { path, line, problem } => write!(f, "{}, line {line}: {problem}", path.display()),
            Self::HalfTls => {
                write!(f, "one of `cert` and `key` of [tls] is missing; give both, or none to serve without TLS")
            }
            Self::UnknownTier { tier, known } => {
                write!(f, "there is no tier `{tier}`; known: {known}; [tiers.{tier}] describes one more")
            }
            Self::Environment { name, problem } => write!(f, "environment variable {name}: {problem}"),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Line { .. } | Self::Environment { .. } | Self::HalfTls | Self::UnknownTier { .. } => None,
        }
    }
}

/// Turns an error of the TOML reader into the line it is on and a sentence with a remedy.
pub(super) fn explain(text: &str, error: &toml::de::Error) -> (usize, String) {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or_default();
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let words = text.lines().nth(line - 1).unwrap_or_default();
    let name = words.split('=').next().unwrap_or_default().trim();
    (line, problem(name, error.message()))
}

/// One sentence about `name`: the reader's message, with the nearest known name where the name is unknown.
fn problem(name: &str, message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        let unknown = quoted.next().unwrap_or(name);
        let known: Vec<&str> = quoted.collect();
        let hint = match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        };
        return format!("unknown name `{unknown}`; {hint}known here: {}", known.join(", "));
    }
    if name == "key" {
        // The message of a wrong type repeats the value, and the value is a secret.
        return "`key` is not a key; use 8 to 128 letters, digits or any of - _ . in quotes, such as `kai-…`, each \
                key once"
            .to_owned();
    }
    let message = message.trim().replace('\n', "; ");
    if name.is_empty() || message.contains(name) { message } else { format!("`{name}`: {message}") }
}
