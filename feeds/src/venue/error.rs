//! What can be wrong with a frame or an answer of a venue.

use engine::market::Venue;

/// A frame or page that cannot be read as a whole. One bad trade in a good frame is a refusal instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The frame is longer than [`super::FRAME_BYTES_MAX`].
    #[error("{venue} sent a frame of {bytes} bytes")]
    TooLong {
        /// Whose frame.
        venue: Venue,
        /// Its length.
        bytes: usize,
    },
    /// A field is missing or has another shape than the venue's page gives.
    #[error("{venue} sent a frame without a valid {field}")]
    Frame {
        /// Whose frame.
        venue: Venue,
        /// Which field.
        field: &'static str,
    },
    /// The venue answered with an error of its own.
    #[error("{venue} answered with the error {message:?}")]
    Venue {
        /// Whose answer.
        venue: Venue,
        /// What it said, cut to 200 characters.
        message: String,
    },
}
