//! Which store: read from one line of the configuration.

use std::{fmt, path::PathBuf};

use reqwest::Url;

/// Where candles are kept. `redb:PATH` is a file of this machine, `questdb:http://HOST:PORT` a QuestDB server.
///
/// A QuestDB address may carry `USER:PASSWORD@` before the host, and behind it `/?tables=PREFIX`, with which all table
/// names begin (`kandle_` if it is not given). `Display` and `Debug` do not show the password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file of the embedded store.
    Redb(PathBuf),
    /// A server.
    QuestDb(QuestDbUrl),
}

/// The address of a QuestDB server.
#[derive(Clone, PartialEq, Eq)]
pub struct QuestDbUrl {
    pub(crate) is_https: bool,
    /// Host and port.
    pub(crate) address: String,
    pub(crate) login: Option<(String, String)>,
    pub(crate) tables: String,
}

/// What is wrong with a store URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It begins with something else.
    #[error("a store URL begins with redb: or questdb:, not with {0:?}")]
    Scheme(String),
    /// Nothing stands behind `redb:`.
    #[error("redb: needs the path of a file behind it, such as redb:/var/lib/kandle/history.redb")]
    Path,
    /// The address of the server cannot be read.
    #[error("questdb: needs an address such as http://127.0.0.1:9000 behind it: {0}")]
    Address(String),
    /// A part that means nothing here.
    #[error("{0:?} means nothing in a QuestDB URL: only ?tables=PREFIX may stand behind the address")]
    Unknown(String),
    /// A prefix that cannot begin a table name.
    #[error("{0:?} cannot begin a table name: use up to 40 letters, digits or _, a letter first")]
    Tables(String),
}

impl StoreUrl {
    /// Reads a store URL.
    ///
    /// # Errors
    /// [`UrlError`] says which part is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        match text.split_once(':') {
            Some(("redb", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() { Err(UrlError::Path) } else { Ok(Self::Redb(path.into())) }
            }
            Some(("questdb", address)) => Ok(Self::QuestDb(address.strip_prefix(':').unwrap_or(address).parse()?)),
            // What stands before the colon is shown, what stands behind it may hold a password.
            Some((scheme, _)) => Err(UrlError::Scheme(scheme.chars().take(20).collect())),
            None => Err(UrlError::Scheme(text.chars().take(20).collect())),
        }
    }
}

impl std::str::FromStr for QuestDbUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|error| UrlError::Address(error.to_string()))?;
        let is_https = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(UrlError::Address(format!("it speaks http or https, not {other:?}"))),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| UrlError::Address("the host is missing".to_owned()))?;
        if url.path() != "/" {
            return Err(UrlError::Unknown(url.path().to_owned()));
        }
        let mut tables = "kandle_".to_owned();
        for (name, value) in url.query_pairs() {
            if name != "tables" {
                return Err(UrlError::Unknown(name.into_owned()));
            }
            tables = value.into_owned();
        }
        let named = tables.starts_with(|c: char| c.is_ascii_lowercase())
            && tables.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !named || tables.len() > 40 {
            return Err(UrlError::Tables(tables));
        }
        // Only where a login is given: a configuration string of the client must not be broken by one.
        let login = (!url.username().is_empty())
            .then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(9000));
        Ok(Self { is_https, address, login, tables })
    }
}

/// The text of a percent-encoded part.
fn decoded(text: &str) -> String {
    let query = format!("x={}", text.replace('+', "%2B"));
    let parsed = Url::parse(&format!("http://x/?{query}")).ok();
    parsed.and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned())).unwrap_or_default()
}

impl QuestDbUrl {
    pub(crate) fn base(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.address)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(path) => write!(f, "redb:{}", path.display()),
            Self::QuestDb(url) => write!(f, "questdb:{}/?tables={}", url.base(), url.tables),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for QuestDbUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        StoreUrl::parse(text).map_or_else(|error| error.to_string(), |url| url.to_string())
    }

    #[test]
    fn a_url_names_a_store_or_says_what_is_wrong_with_it() {
        assert_eq!(StoreUrl::parse("redb:data/x.redb"), Ok(StoreUrl::Redb("data/x.redb".into())));
        assert_eq!(shown("redb:///var/x.redb"), "redb:/var/x.redb");
        assert_eq!(shown("questdb::http://127.0.0.1:9000"), "questdb:http://127.0.0.1:9000/?tables=kandle_");
        assert_eq!(shown("questdb:http://a:80"), "questdb:http://a:80/?tables=kandle_");
        assert_eq!(shown("questdb:https://[::1]/?tables=a_"), "questdb:https://[::1]:443/?tables=a_");
        for (text, word) in [
            ("redb:", "redb: needs the path"),
            ("postgres://user:secret@host", "not with \"postgres\""),
            ("history.redb", "not with \"history.redb\""),
            ("questdb:tcp://host:9009", "http or https, not \"tcp\""),
            ("questdb:127.0.0.1:9000", "needs an address"),
            ("questdb:http://host:99999", "invalid port"),
            ("questdb:http://host/x", "\"/x\" means nothing"),
            ("questdb:http://host?table=x", "\"table\" means nothing"),
            ("questdb:http://host?tables=x';--", "cannot begin a table name"),
        ] {
            assert!(shown(text).contains(word), "{text}: {}", shown(text));
            assert!(!shown(text).contains("secret"));
        }
    }

    #[test]
    fn a_password_is_read_and_never_shown() {
        let url = StoreUrl::parse("questdb:http://me:s%3Be+cret@host").unwrap();
        assert!(!format!("{url} {url:?}").contains("cret"));
        let StoreUrl::QuestDb(url) = url else { panic!("another store") };
        assert_eq!(url.login, Some(("me".to_owned(), "s;e+cret".to_owned())));
        assert!(!format!("{url:?}").contains("cret"));
    }
}
