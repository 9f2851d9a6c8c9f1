//! Market data over HTTP: candles and trades of every time, tickers of this moment.
//!
//! `query` (what can be asked) → `subject` (of which instrument) → `page` (which candles: `level` reads one interval from the
//! store and the running engine, `cover` takes shorter ones where it has holes, `rollup` merges them, `fill` closes holes) →
//! `answer` (tag, caching, next page) → `json`, `csv`, `arrow` (how rows are written, in `chunks`; `shapes` describes them); `kept` has pages that can change no
//! more. Read `page` first.

mod answer;
mod arrow;
mod chunks;
mod cover;
mod csv;
mod cursor;
mod fields;
mod fill;
mod json;
mod kept;
mod level;
mod nearest;
mod page;
mod query;
mod rollup;
mod shapes;
mod subject;
mod trades;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use engine::{json::write_ticker, market::Timestamp};
use store::StoredCandle;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use self::{
    answer::{Head, Tag, sure},
    chunks::Chunks,
    csv::Csv,
    json::Json,
    kept::{Kept, Key},
    level::{Reader, SETTLED_AFTER_NS},
    nearest::nearest,
    page::Page,
    query::Format,
    subject::Subject,
};
use crate::{
    error::{ApiError, echo},
    routes::App,
    segment::Segment,
    view::View,
};

type Shared = Arc<dyn View>;

/// The routes below `/v1/market` that tell prices. A symbol may have slashes, escaped or not.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(ohlcv).layer(Extension(Arc::new(Kept::default()))))
        .routes(routes!(trades))
        .routes(routes!(ticker))
}

/// Candles of an instrument.
///
/// Oldest first; without `start`, the newest. Pages that can change no more may be kept for good.
#[utoipa::path(
    get,
    path = "/v1/market/ohlcv/{*symbol}",
    tag = "market",
    security((), ("key" = [])),
    params(("symbol" = String, Path, description = "An alias or an instrument; slashes may be escaped.", example = "BTC"), shapes::CandleQuery),
    responses(
        (status = 200, description = "A page of candles.",
            headers(
                ("ETag" = String, description = "The page's tag, for `If-None-Match`."),
                ("Link" = String, description = "The next page, if there is one."),
                ("X-Next-Cursor" = String, description = "The same as a cursor."),
            ),
            content(
                (shapes::CandlePage = "application/json"),
                (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.arrow.stream"),
            )),
        (status = 304, description = "The client has the page already."),
        (status = 404, description = "Nothing is known of the symbol; `suggestions` has the nearest names."),
        (status = 406, description = "A number of the page is beyond what the format can hold."),
    ),
)]
async fn ohlcv(
    State(view): State<Shared>,
    Extension(kept): Extension<Arc<Kept>>,
    Segment(symbol): Segment,
    RawQuery(text): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query::Candles::parse(&text.unwrap_or_default(), &headers)?;
    let format = query.shape.format;
    let key = Key::new(&uri, format);
    if let Some(answer) = kept.find(&key, view.now_ms()) {
        return sealed(&uri, &headers, format, answer);
    }
    let history = view.history();
    let store = history.as_ref();
    let subject = Subject::find(&*view, store, &symbol).await?;
    let now = Timestamp::from_millis(view.now_ms());
    let page = Page::read(&Reader { view: &*view, store, subject: &subject, now }, &query).await?;

    let next = page.next.map(|cursor| cursor.encode(&subject.source));
    let mut tag = Tag::new(query.shape, &subject.label, next.as_deref());
    page.rows.iter().for_each(|row| tag.candle(row));
    let tag = tag.text();
    let settled = now.plus(-SETTLED_AFTER_NS);
    let is_sealed = page.is_whole && page.rows.last().is_some_and(|row| row.candle.close_time <= settled);
    if is_sealed && page.rows.len() <= kept::ROWS_MAX {
        let body = encoded(subject, &query, page.rows, next.clone())?.collect::<Result<Vec<_>, _>>();
        let body = body.map_err(ApiError::Body)?.concat().into();
        let answer = kept::Answer { body, tag, next };
        kept.keep(key, answer.clone(), view.now_ms());
        return sealed(&uri, &headers, format, answer);
    }
    let head = Head { uri: &uri, headers: &headers, format, tag: &tag, is_sealed, next: next.as_deref() };
    head.answer(|| encoded(subject, &query, page.rows, next.clone()))
}

/// A page that can change no more, from memory.
fn sealed(uri: &Uri, headers: &HeaderMap, format: Format, answer: kept::Answer) -> Result<Response, ApiError> {
    let head = Head { uri, headers, format, tag: &answer.tag, is_sealed: true, next: answer.next.as_deref() };
    head.answer(|| sure(std::iter::once(answer.body)))
}

type Encoded = Box<dyn Iterator<Item = Result<Bytes, axum::BoxError>> + Send>;

/// The chunks of a page of candles.
fn encoded(
    subject: Subject,
    query: &query::Candles,
    rows: Vec<StoredCandle>,
    next: Option<String>,
) -> Result<Encoded, ApiError> {
    Ok(match query.shape.format {
        Format::Json => {
            let json = Json::candles(subject, query.interval, query.shape.form, next);
            Box::new(sure::<ApiError>(Chunks::new(rows, json))?)
        }
        Format::Csv => Box::new(sure::<ApiError>(Chunks::new(rows, Csv::new(&subject)))?),
        Format::Arrow => Box::new(arrow::candles(&subject, &rows)?.map(|chunk| chunk.map_err(Into::into))),
    })
}

/// Trades of an instrument.
///
/// Oldest first; without `start`, the newest.
#[utoipa::path(
    get,
    path = "/v1/market/trades/{*symbol}",
    tag = "market",
    security((), ("key" = [])),
    params(("symbol" = String, Path, description = "An alias or an instrument; slashes may be escaped.", example = "BTC"), shapes::TradeQuery),
    responses(
        (status = 200, description = "A page of trades.",
            headers(
                ("ETag" = String, description = "The page's tag, for `If-None-Match`."),
                ("Link" = String, description = "The next page, if there is one."),
                ("X-Next-Cursor" = String, description = "The same as a cursor."),
            ),
            content(
                (shapes::TradePage = "application/json"),
                (String = "text/csv"),
                (Vec<u8> = "application/vnd.apache.arrow.stream"),
            )),
        (status = 304, description = "The client has the page already."),
        (status = 404, description = "Nothing is known of the symbol; `suggestions` has the nearest names."),
        (status = 406, description = "A number of the page is beyond what the format can hold."),
    ),
)]
async fn trades(
    State(view): State<Shared>,
    Segment(symbol): Segment,
    RawQuery(text): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query::Trades::parse(&text.unwrap_or_default(), &headers)?;
    let history = view.history();
    let store = history.as_ref();
    let subject = Subject::find(&*view, store, &symbol).await?;
    let page = trades::Page::read(&*view, store, &subject, &query).await?;

    let next = page.next.map(|place| cursor::encode_trades(place, &subject.source));
    let mut tag = Tag::new(query.shape, &subject.label, next.as_deref());
    page.rows.iter().for_each(|row| tag.trade(row));
    let (uri, headers, format) = (&uri, &headers, query.shape.format);
    let tag = tag.text();
    let head = Head { uri, headers, format, tag: &tag, is_sealed: false, next: next.as_deref() };
    match format {
        Format::Json => head.answer(|| {
            let json = Json::trades(subject, query.shape.form, next.clone());
            sure(Chunks::new(page.rows, json))
        }),
        Format::Csv => head.answer(|| sure(Chunks::new(page.rows, Csv::new(&subject)))),
        Format::Arrow => head.answer(|| {
            let batches = arrow::trades(&subject, page.rows)?;
            Ok(batches.map(|chunk| chunk.map_err(Into::into)))
        }),
    }
}

/// Last prices.
///
/// Of the symbols that were asked for, or of all; a symbol that has not traded is left out.
#[utoipa::path(
    get,
    path = "/v1/market/ticker",
    tag = "market",
    security((), ("key" = [])),
    params(shapes::TickerQuery),
    responses(
        (status = 200, description = "Tickers.", body = shapes::Tickers),
        (status = 404, description = "Nothing is known of a symbol; `suggestions` has the nearest names."),
    ),
)]
async fn ticker(State(view): State<Shared>, RawQuery(text): RawQuery) -> Result<Response, ApiError> {
    let (names, form) = query::tickers(&text.unwrap_or_default())?;
    let listing = |name: &String| {
        let known = view.listing(name).map(|listing| (listing.label, listing.source));
        known.ok_or_else(|| ApiError::UnknownSymbol { name: echo(name), suggestions: nearest(name, &view.names()) })
    };
    let asked = names.iter().map(listing).collect::<Result<Vec<_>, _>>()?;
    let all = view.tickers().await;
    let by_source: HashMap<_, _> = all.iter().map(|row| (&row.source, row)).collect();
    let asked: Vec<_> = match asked.as_slice() {
        [] => all.iter().map(|row| (row.label.as_str(), row)).collect(),
        asked => asked.iter().filter_map(|(label, source)| Some((label.as_str(), *by_source.get(source)?))).collect(),
    };
    let mut out = b"{\"tickers\":[".to_vec();
    for (number, (label, row)) in asked.into_iter().enumerate() {
        let Some(instrument) = subject::instrument(&row.source, row.scales) else { continue };
        if number > 0 {
            out.push(b',');
        }
        write_ticker(&mut out, &row.ticker, &instrument, label, form);
    }
    out.extend_from_slice(b"]}");
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, Format::Json.media_type())];
    Ok((headers, out).into_response())
}
