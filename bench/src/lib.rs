//! What the benches have in common: the `spread` of what was measured, and the `rank` of who measures.

pub mod rank;
pub mod spread;
