//! What the speed claims are made with.
