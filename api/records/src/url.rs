//! Which database: a file, or a server.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::UrlError;

/// A database. Has no `Debug`, for a URL can carry a password; its `Display` leaves that out.
#[derive(Clone)]
pub struct RecordsUrl {
    /// As sqlx reads it.
    pub(crate) url: String,
    /// What may be shown.
    pub(crate) name: Arc<str>,
    pub(crate) kind: DatabaseKind,
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    Sqlite,
    Postgres,
}

impl RecordsUrl {
    /// Reads `sqlite:PATH`, or `postgres://USER:PASSWORD@HOST:PORT/DATABASE` with the parameters of libpq.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            // A path is a path: none of its characters starts a parameter.
            let escaped = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
            let (url, name) = (format!("sqlite:{escaped}?mode=rwc"), format!("SQLite at {path}").into());
            return Ok(Self { url, name, kind: DatabaseKind::Sqlite, file: Some(path.into()) });
        }
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")).ok_or(UrlError)?;
        let place = rest.split(['?', '#']).next().unwrap_or_default();
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        if place.is_empty() {
            return Err(UrlError);
        }
        let (url, name) = (text.to_owned(), format!("PostgreSQL at {place}").into());
        Ok(Self { url, name, kind: DatabaseKind::Postgres, file: None })
    }

    /// The file, if it is one. Its folder must exist.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for RecordsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_a_server_and_shows_no_password() {
        let check = |text, want: Option<&str>| {
            assert_eq!(RecordsUrl::parse(text).ok().map(|url| url.to_string()), want.map(str::to_owned), "{text}");
        };
        check("sqlite:data/records.db", Some("SQLite at data/records.db"));
        check("sqlite:/a b/100%?.db", Some("SQLite at /a b/100%?.db"));
        check("postgres://kai:se@cret@db:5432/kandle?sslmode=require", Some("PostgreSQL at db:5432/kandle"));
        check("postgresql://db/kandle", Some("PostgreSQL at db/kandle"));
        check("postgres://db/kandle?password=secret", Some("PostgreSQL at db/kandle"));
        for wrong in ["", "sqlite:", "postgres://", "postgres://kai@", "mysql://db/kandle", "records.db"] {
            check(wrong, None);
        }
    }
}
