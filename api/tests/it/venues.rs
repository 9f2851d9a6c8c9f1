//! Recorded candles of venues: what is loaded comes back, and what is rolled up equals the venue's own longer candles.
