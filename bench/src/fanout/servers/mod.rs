//! The servers of this bench that are not somebody else's program.

pub(crate) mod broadcast;
pub(crate) mod kandle;
pub(crate) mod raw;
pub(crate) mod tungstenite;
