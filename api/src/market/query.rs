//! The parameters of a query: each known, given once, and parsed into what cannot be wrong.

use axum::http::{HeaderMap, header};
use engine::{frame::Form, interval::Interval, market::Timestamp};

use crate::{
    error::{ApiError, echo},
    given::Given,
};

/// The most rows of a page.
pub(crate) const LIMIT_MAX: usize = 10_000;
const LIMIT_DEFAULT: usize = 500;

/// What is done about candles that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fill {
    /// They are missing.
    #[default]
    None,
    /// A flat candle at the previous close.
    Flat,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// An object with an array of rows.
    Json,
    /// A row of names, then rows of values.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    const ALL: [Self; 3] = [Self::Json, Self::Csv, Self::Arrow];

    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }

    /// Its media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The first of a list of media types that is one of ours; JSON if none is.
    fn accepted(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(header::ACCEPT).into_iter().filter_map(|list| list.to_str().ok());
        let mut types = lists.flat_map(|list| list.split(',')).filter_map(|entry| entry.split(';').next());
        let known = |name: &str| match name.trim() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "text/csv" | "text/*" => Some(Self::Csv),
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        };
        types.find_map(known).unwrap_or(Self::Json)
    }
}

/// How rows are written, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// 1 to [`LIMIT_MAX`].
    pub(crate) limit: usize,
    /// In which format.
    pub(crate) format: Format,
    /// Numbers of JSON.
    pub(crate) form: Form,
}

/// A query for candles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candles {
    /// How long they are.
    pub(crate) interval: Interval,
    /// The first open time that counts.
    pub(crate) start: Option<Timestamp>,
    /// The first open time that counts no more.
    pub(crate) end: Option<Timestamp>,
    /// Where a page before this one ended.
    pub(crate) cursor: Option<String>,
    /// What is done about holes.
    pub(crate) fill: Fill,
    /// Whether the open candle is told.
    pub(crate) open: bool,
    /// The answer.
    pub(crate) shape: Shape,
}

impl Candles {
    /// Reads the text behind `?`.
    ///
    /// # Errors
    /// [`ApiError`] naming the parameter.
    pub(crate) fn parse(text: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        const KNOWN: [&str; 9] = ["interval", "start", "end", "limit", "cursor", "fill", "open", "format", "numbers"];
        let given = Given::parse(text, &KNOWN)?;
        let query = Self {
            interval: given.get("interval").map_or(Ok(Interval::M1), interval)?,
            start: given.time("start")?,
            end: given.time("end")?,
            cursor: given.get("cursor").map(str::to_owned),
            fill: given.one_of("fill", &[("none", Fill::None), ("flat", Fill::Flat)])?.unwrap_or_default(),
            open: given.one_of("open", &[("false", false), ("true", true)])?.unwrap_or_default(),
            shape: given.shape(headers)?,
        };
        match (query.start, query.end) {
            (Some(start), Some(end)) if end < start => {
                Err(ApiError::invalid("end", "end lies before start: give the earlier time as start"))
            }
            _ => Ok(query),
        }
    }
}

/// A query for trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trades {
    /// The first time that counts.
    pub(crate) start: Option<Timestamp>,
    /// Where a page before this one ended.
    pub(crate) cursor: Option<String>,
    /// The answer.
    pub(crate) shape: Shape,
}

impl Trades {
    /// Reads the text behind `?`.
    ///
    /// # Errors
    /// [`ApiError`] naming the parameter.
    pub(crate) fn parse(text: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let given = Given::parse(text, &["start", "limit", "cursor", "format", "numbers"])?;
        let cursor = given.get("cursor").map(str::to_owned);
        Ok(Self { start: given.time("start")?, cursor, shape: given.shape(headers)? })
    }
}

/// The symbols of a query for tickers and the form of their numbers; without symbols, all are meant.
///
/// # Errors
/// [`ApiError`] naming the parameter.
pub(crate) fn tickers(text: &str) -> Result<(Vec<String>, Form), ApiError> {
    let given = Given::parse(text, &["symbol", "numbers"])?;
    let names = given.get("symbol").map(|list| list.split(',').map(|name| name.trim().to_owned()).collect());
    Ok((names.unwrap_or_default(), given.form()?))
}

/// What is asked of all pages.
impl Given<'_> {
    fn shape(&self, headers: &HeaderMap) -> Result<Shape, ApiError> {
        let limit = self.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
        let format = self.one_of("format", &Format::ALL.map(|format| (format.name(), format)))?;
        Ok(Shape { limit, format: format.unwrap_or_else(|| Format::accepted(headers)), form: self.form()? })
    }

    fn form(&self) -> Result<Form, ApiError> {
        let forms = [("number", Form::Number), ("string", Form::Text)];
        Ok(self.one_of("numbers", &forms)?.unwrap_or_default())
    }
}

fn interval(text: &str) -> Result<Interval, ApiError> {
    let known = || Interval::ALL.map(Interval::name).join(", ");
    let wrong = || format!("interval is {:?}, and can be: {}", echo(text), known());
    Interval::parse(text).ok_or_else(|| ApiError::invalid("interval", wrong()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::given::TIME_MAX;

    proptest! {
        #[test]
        fn prop_no_text_panics_and_what_is_read_is_within_bounds(
            text in "(start|end|limit|interval|cursor|fill|&|=|%|-|\\+|[0-9TZ:.]|[a-z]|\\PC){0,60}",
        ) {
            let headers = HeaderMap::new();
            if let Ok(query) = Candles::parse(&text, &headers) {
                let times = [query.start, query.end].into_iter().flatten();
                prop_assert!(times.into_iter().all(|at| at.0 >= 0 && at <= TIME_MAX));
                prop_assert!((1..=LIMIT_MAX).contains(&query.shape.limit));
            }
            let _ = (Trades::parse(&text, &headers).is_ok(), tickers(&text).is_ok());
        }
    }

    fn field_of(text: &str) -> String {
        match Candles::parse(text, &HeaderMap::new()) {
            Err(ApiError::Invalid { field, .. } | ApiError::UnknownParameter { name: field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for (text, field) in [
            ("interval=7m", "interval"),
            ("start=yesterday", "start"),
            ("start=-1", "start"),
            ("end=7258118400001", "end"),
            ("end=2200-01-01T00:00:01Z", "end"),
            ("end=1969-12-31T00:00:00Z", "end"),
            ("start=2&end=1", "end"),
            ("limit=0", "limit"),
            ("limit=10001", "limit"),
            ("limit=1e3", "limit"),
            ("fill=linear", "fill"),
            ("format=xml", "format"),
            ("numbers=float", "numbers"),
            ("open=yes", "open"),
            ("from=1", "from"),
            ("limit=1&limit=2", "limit"),
        ] {
            assert_eq!(field_of(text), field, "{text}");
        }
    }

    #[test]
    fn the_format_comes_from_the_parameter_or_else_from_accept() {
        let format = |text: &str, accept: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            Candles::parse(text, &headers).unwrap().shape.format
        };
        assert_eq!(format("", "*/*"), Format::Json);
        assert_eq!(format("", "text/html, text/csv;q=0.9, */*;q=0.1"), Format::Csv);
        assert_eq!(format("", "application/vnd.apache.arrow.stream"), Format::Arrow);
        assert_eq!(format("format=json", "text/csv"), Format::Json);
        assert_eq!(format("", "image/png"), Format::Json);
    }
}
