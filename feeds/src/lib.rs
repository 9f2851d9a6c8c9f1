//! Venues: recorded and live trades as integers, with proof of completeness.
