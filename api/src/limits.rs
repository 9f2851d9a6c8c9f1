//! How many requests a caller may make: a bucket for each, in memory, told in headers.
//!
//! `quota` (a tier's rate and how a bucket is drained) → `buckets` (everybody's) → `headers` (how it is told).

mod buckets;
mod headers;
mod quota;

pub use quota::Quota;

pub(crate) use buckets::{Buckets, Who};
pub(crate) use headers::tell;
