//! The parameters of a query: each known, given once, and parsed into what cannot be wrong.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use engine::{frame::Form, interval::Interval, market::Timestamp};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::{ApiError, echo};

/// The most rows of a page.
pub(crate) const LIMIT_MAX: usize = 10_000;
const LIMIT_DEFAULT: usize = 500;
/// The latest time, the begin of the year 2200: far enough from where nanoseconds end, in 2262, for a month to be added.
pub(crate) const TIME_MAX: Timestamp = Timestamp(7_258_118_400_000_000_000);

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

/// Names and values as they came.
struct Given<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Given<'a> {
    fn parse(text: &'a str, known: &[&str]) -> Result<Self, ApiError> {
        let mut given: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                return Err(ApiError::UnknownParameter { name: echo(&name), known: known.join(", ") });
            }
            if given.iter().any(|(earlier, _)| *earlier == name) {
                return Err(ApiError::invalid(&name, format!("{name} is given twice: give it once")));
            }
            given.push((name, value));
        }
        Ok(Self(given))
    }

    /// A value; one that is empty is as good as none.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_ref())
    }

    fn one_of<T: Copy>(&self, name: &str, values: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = values.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
        let known = || values.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        let wrong = || ApiError::invalid(name, format!("{name} is {:?}, and can be: {}", echo(text), known()));
        found.ok_or_else(wrong).map(Some)
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = || {
            let form = "milliseconds since 1970 or RFC 3339, such as 2024-08-08T23:59:00Z, up to the year 2200";
            ApiError::invalid(name, format!("{name} is {:?}, and must be {form}", echo(text)))
        };
        time(text).ok_or_else(wrong).map(Some)
    }

    fn shape(&self, headers: &HeaderMap) -> Result<Shape, ApiError> {
        let limit = self.get("limit").map_or(Ok(LIMIT_DEFAULT), |text| {
            let number = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            let wrong = || format!("limit is {:?}, and must be a number from 1 to {LIMIT_MAX}", echo(text));
            number.ok_or_else(|| ApiError::invalid("limit", wrong()))
        })?;
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

/// A moment in milliseconds or RFC 3339. A plus that was not escaped came as a blank, and is meant as a plus.
fn time(text: &str) -> Option<Timestamp> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Timestamp::from_millis).filter(|at| *at <= TIME_MAX);
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).or_else(|error| match text.rsplit_once(' ') {
        Some((local, offset)) => OffsetDateTime::parse(&format!("{local}+{offset}"), &Rfc3339),
        None => Err(error),
    });
    let nanos = i64::try_from(moment.ok()?.unix_timestamp_nanos()).ok()?;
    (0..=TIME_MAX.0).contains(&nanos).then_some(Timestamp(nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn times_are_milliseconds_or_rfc_3339() {
        let whole = Some(Timestamp::from_millis(1_704_067_200_000));
        for text in ["1704067200000", "2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00", "2024-01-01T02:00:00 02:00"]
        {
            assert_eq!(time(text), whole, "{text}");
        }
        assert_eq!(time("2024-01-01T00:00:00.000000001Z"), whole.map(|at| at.plus(1)));
        assert_eq!(time("2024-01-01"), None);
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
