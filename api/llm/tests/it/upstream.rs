//! The provider that does what its script says.

pub(crate) use scripted::*;
