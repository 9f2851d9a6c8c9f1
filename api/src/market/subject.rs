//! The instrument that a query is about: served now, or only stored.

use engine::{
    interval::Interval,
    market::{Instrument, Symbol, Timestamp, Venue},
    number::Scale,
};
use store::{Scales, Series, Source, Store};

use super::nearest::nearest;
use crate::{
    error::{ApiError, echo},
    view::View,
};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The name that it was asked by.
    pub(crate) label: String,
    /// Its stable name.
    pub(crate) source: Source,
    /// Where it trades.
    venue: Venue,
    /// Its number and scales in this run, if it is served.
    pub(crate) served: Option<(Symbol, Scales)>,
}

impl Subject {
    /// Finds the instrument behind an alias or a source.
    ///
    /// # Errors
    /// [`ApiError::UnknownSymbol`] if it is neither served nor stored, and whatever the store fails with.
    pub(crate) async fn find(view: &dyn View, store: Option<&Store>, name: &str) -> Result<Self, ApiError> {
        let unknown = || ApiError::UnknownSymbol { name: echo(name), suggestions: nearest(name, &view.names()) };
        if let Some(listing) = view.listing(name) {
            let venue = venue_of(&listing.source).ok_or_else(unknown)?;
            let served = Some((listing.symbol, listing.scales));
            return Ok(Self { label: listing.label, source: listing.source, venue, served });
        }
        let (Ok(source), Some(store)) = (Source::parse(name), store) else { return Err(unknown()) };
        let venue = venue_of(&source).ok_or_else(unknown)?;
        if !is_stored(store, &source).await? {
            return Err(unknown());
        }
        Ok(Self { label: name.to_owned(), source, venue, served: None })
    }

    /// The instrument as the encoders want it, with the scales of a row.
    pub(crate) fn instrument(&self, scales: Scales) -> Instrument {
        instrument_of(self.venue, &self.source, scales)
    }

    /// The scales of a page without rows.
    pub(crate) fn scales(&self) -> Scales {
        self.served.map_or(Scales { price: Scale::ZERO, quantity: Scale::ZERO }, |(_, scales)| scales)
    }
}

/// The instrument of a source; `None` if its venue is none of ours.
pub(crate) fn instrument(source: &Source, scales: Scales) -> Option<Instrument> {
    Some(instrument_of(venue_of(source)?, source, scales))
}

fn instrument_of(venue: Venue, source: &Source, scales: Scales) -> Instrument {
    let name = source.as_str().split_once(':').map_or("", |(_, name)| name).into();
    Instrument { venue, name, price_scale: scales.price, quantity_scale: scales.quantity, ids: venue.id_rule() }
}

fn venue_of(source: &Source) -> Option<Venue> {
    source.as_str().split_once(':').and_then(|(venue, _)| Venue::parse(venue))
}

/// Whether anything is stored of an instrument: the likeliest intervals are looked at first.
async fn is_stored(store: &Store, source: &Source) -> Result<bool, ApiError> {
    let likely = [Interval::M1, Interval::H1, Interval::D1];
    let others = Interval::ALL.into_iter().filter(|interval| !likely.contains(interval));
    for interval in likely.into_iter().chain(others) {
        let series = Series { source: source.clone(), interval };
        if !store.newest_candles(&series, Timestamp(i64::MAX), 1).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(!store.newest_trades(source, 1).await?.is_empty())
}
