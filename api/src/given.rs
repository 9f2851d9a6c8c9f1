//! The parameters of a query: each known, given once, and with the name of the one that is wrong.

use std::borrow::Cow;

use engine::market::Timestamp;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::{ApiError, echo};

/// The latest time, the begin of the year 2200: far enough from where nanoseconds end, in 2262, for a month to be added.
pub(crate) const TIME_MAX: Timestamp = Timestamp(7_258_118_400_000_000_000);

/// Names and values as they came.
pub(crate) struct Given<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Given<'a> {
    /// Reads the text behind `?`, of which only these names are known.
    ///
    /// # Errors
    /// [`ApiError`] naming the parameter.
    pub(crate) fn parse(text: &'a str, known: &[&str]) -> Result<Self, ApiError> {
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
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_ref())
    }

    /// Which of the values is given.
    ///
    /// # Errors
    /// [`ApiError`] naming the parameter and the values.
    pub(crate) fn one_of<T: Copy>(&self, name: &str, values: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = values.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
        let known = || values.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        let wrong = || ApiError::invalid(name, format!("{name} is {:?}, and can be: {}", echo(text), known()));
        found.ok_or_else(wrong).map(Some)
    }

    /// A moment.
    ///
    /// # Errors
    /// [`ApiError`] naming the parameter.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = || {
            let form = "milliseconds since 1970 or RFC 3339, such as 2024-08-08T23:59:00Z, up to the year 2200";
            ApiError::invalid(name, format!("{name} is {:?}, and must be {form}", echo(text)))
        };
        time(text).ok_or_else(wrong).map(Some)
    }

    /// How many rows a page may have, from 1 to `max`.
    ///
    /// # Errors
    /// [`ApiError`] naming the parameter.
    pub(crate) fn limit(&self, default: usize, max: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        let number = text.parse().ok().filter(|limit| (1..=max).contains(limit));
        let wrong = || format!("limit is {:?}, and must be a number from 1 to {max}", echo(text));
        number.ok_or_else(|| ApiError::invalid("limit", wrong()))
    }
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
    use super::*;

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
}
