//! What stands around a page: its tag, how long it may be kept, where the next one is, and a body that streams.

use std::{
    convert::Infallible,
    hash::{BuildHasher, Hasher},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use foldhash::quality::FixedState;
use futures_util::stream;
use store::{StoredCandle, StoredTrade};

use super::query::{Format, Shape};

const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");
/// What will not change may be kept for a year.
const SEALED: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// All else may be kept, and is asked for each time.
const FRESH: HeaderValue = HeaderValue::from_static("no-cache");
const TAG_SEED: u64 = 0x6b61_6e64_6c65;

/// The tag of a page: a hash over every fact of its rows, and over how they are written.
pub(crate) struct Tag(<FixedState as BuildHasher>::Hasher);

impl Tag {
    /// Of a page that is written so, with this label and what follows it.
    pub(crate) fn new(shape: Shape, label: &str, next: Option<&str>) -> Self {
        let mut hasher = FixedState::with_seed(TAG_SEED).build_hasher();
        hasher.write_u8(shape.format as u8);
        hasher.write_u8(shape.form as u8);
        hasher.write(label.as_bytes());
        hasher.write(next.unwrap_or_default().as_bytes());
        Self(hasher)
    }

    /// Adds a candle.
    pub(crate) fn candle(&mut self, row: &StoredCandle) {
        let (candle, hasher) = (&row.candle, &mut self.0);
        for value in [candle.open_time.0, candle.open.0, candle.high.0, candle.low.0, candle.close.0] {
            hasher.write_i64(value);
        }
        for value in [candle.volume, candle.quote_volume, candle.buy_volume] {
            hasher.write_u128(value);
        }
        for value in [candle.trades, candle.first_id, candle.last_id] {
            hasher.write_u64(value);
        }
        let unknown = candle.unknown;
        let flags = [candle.is_closed, unknown.sides, unknown.trades, unknown.quote];
        let bits = flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
        let small = [row.scales.price.decimals(), row.scales.quantity.decimals(), candle.state as u8];
        hasher.write_u64(small.iter().fold(bits, |word, byte| word << 8 | u64::from(*byte)));
        hasher.write_u32(candle.revision);
    }

    /// Adds a trade.
    pub(crate) fn trade(&mut self, row: &StoredTrade) {
        self.0.write_u64(row.id);
        for value in [row.ts_event.0, row.price.0, row.quantity.0] {
            self.0.write_i64(value);
        }
        let small = [row.scales.price.decimals(), row.scales.quantity.decimals(), row.side as u8];
        self.0.write_u64(small.iter().fold(u64::from(row.trades), |word, byte| word << 8 | u64::from(*byte)));
    }

    /// Its text. It is weak: a compressed answer has other bytes and the same tag.
    pub(crate) fn text(&self) -> String {
        format!("W/\"{:016x}\"", self.0.finish())
    }
}

/// What is said before the rows.
pub(crate) struct Head<'a> {
    /// What was asked.
    pub(crate) uri: &'a Uri,
    /// With which headers.
    pub(crate) headers: &'a HeaderMap,
    /// In which format it is answered.
    pub(crate) format: Format,
    /// The page's tag.
    pub(crate) tag: &'a str,
    /// Whether the rows will be the same whenever they are asked for.
    pub(crate) is_sealed: bool,
    /// The cursor of the next page.
    pub(crate) next: Option<&'a str>,
}

impl Head<'_> {
    /// The answer: the rows, or 304 if the client has them. `chunks` is asked for only if they are sent.
    pub(crate) fn answer<I, E>(self, chunks: impl FnOnce() -> Result<I, E>) -> Result<Response, E>
    where
        I: Iterator<Item = Result<Bytes, axum::BoxError>> + Send + 'static,
    {
        let mut response = if self.is_known() {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Response::new(body(chunks()?));
            let kind = HeaderValue::from_static(self.format.media_type());
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, if self.is_sealed { SEALED } else { FRESH });
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        let mut insert = |name: HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        insert(header::ETAG, self.tag);
        if let Some(cursor) = self.next {
            insert(NEXT_CURSOR, cursor);
            insert(header::LINK, &format!("<{}>; rel=\"next\"", with_cursor(self.uri, cursor)));
        }
        Ok(response)
    }

    /// Whether the client has the page already (RFC 9110 §13.1.2; tags are compared as weak ones).
    fn is_known(&self) -> bool {
        let lists = self.headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|list| list.to_str().ok());
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = opaque(self.tag);
        lists.flat_map(|list| list.split(',')).any(|other| other.trim() == "*" || opaque(other) == own)
    }
}

/// The query with another cursor.
fn with_cursor(uri: &Uri, cursor: &str) -> String {
    let others = uri.query().unwrap_or_default().split('&');
    let mut pairs: Vec<&str> = others.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")).collect();
    let own = format!("cursor={cursor}");
    pairs.push(&own);
    format!("{}?{}", uri.path(), pairs.join("&"))
}

/// Chunks as a body; a single one is sent with its length.
fn body(mut chunks: impl Iterator<Item = Result<Bytes, axum::BoxError>> + Send + 'static) -> Body {
    match (chunks.next(), chunks.next()) {
        (None, _) => Body::empty(),
        (Some(Ok(only)), None) => Body::from(only),
        (first, second) => Body::from_stream(stream::iter(first.into_iter().chain(second).chain(chunks))),
    }
}

/// Chunks that cannot fail.
pub(crate) fn sure<E>(
    chunks: impl Iterator<Item = Bytes>,
) -> Result<impl Iterator<Item = Result<Bytes, axum::BoxError>>, E> {
    Ok(chunks.map(|chunk| Ok::<_, Infallible>(chunk).map_err(Into::into)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_has_the_same_query_and_another_cursor() {
        let next = |uri: &'static str| with_cursor(&Uri::from_static(uri), "c2");
        assert_eq!(next("/v1/market/ohlcv/BTC"), "/v1/market/ohlcv/BTC?cursor=c2");
        assert_eq!(next("/x?cursor=c1&interval=1h&end=5"), "/x?interval=1h&end=5&cursor=c2");
    }
}
