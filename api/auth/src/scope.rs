//! What a key may do.

use std::{fmt, str::FromStr};

/// A level of rights: each has those below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Look at data and at the own account.
    Read,
    /// Also what costs or changes something.
    Write,
    /// Also keys, webhooks and the account itself.
    Admin,
}

/// A scope that there is not, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scopes are a list of one or more of read, write and admin")]
pub struct UnknownScope;

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];
    const NAMES: [&'static str; 3] = ["read", "write", "admin"];

    /// Whether this level includes `needed`.
    #[must_use]
    pub fn allows(self, needed: Self) -> bool {
        self >= needed
    }

    /// The highest of the named levels.
    ///
    /// # Errors
    /// [`UnknownScope`] if a name is unknown or there is none.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        let mut highest = Err(UnknownScope);
        for name in names {
            let scope = name.parse()?;
            highest = Ok(highest.map_or(scope, |highest: Self| highest.max(scope)));
        }
        highest
    }

    /// This level and all below it, as answers list them.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["read"],
            Self::Write => &["read", "write"],
            Self::Admin => &Self::NAMES,
        }
    }

    /// Its own name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or(UnknownScope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_includes_those_below_it() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_names(scope.names().iter().copied()), Ok(scope));
            assert_eq!(scope.names().last().copied(), Some(scope.name()));
            let allowed: Vec<_> =
                Scope::ALL.into_iter().filter(|&needed| scope.allows(needed)).map(Scope::name).collect();
            assert_eq!(allowed, scope.names());
        }
    }

    #[test]
    fn an_unknown_name_is_refused_also_beside_known_ones() {
        for names in [&[][..], &["root"], &["read", "Write"], &["admin", ""]] {
            assert_eq!(Scope::from_names(names.iter().copied()), Err(UnknownScope), "{names:?}");
        }
        assert_eq!(Scope::from_names(["write"]), Ok(Scope::Write));
        assert_eq!(Scope::from_names(["admin", "read", "read"]), Ok(Scope::Admin));
    }
}
