//! Lists, page by page: events of the last 30 days, and the session that a payment belongs to.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::{StripeClient, checked},
    error::{RequestError, StripeError},
    event::{Event, EventError},
    session::Session,
};

/// How many events one page can have.
pub const PAGE_EVENTS_MAX: u8 = 100;

const TYPES_MAX: usize = 20;
const TYPE_BYTES_MAX: usize = 100;

/// From which event on a page goes. Events older than 30 days are unknown, and so is a cursor of one: it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor<'a> {
    /// The events that are next older than this one (`starting_after`).
    OlderThan(&'a str),
    /// The events that are next newer than this one (`ending_before`).
    NewerThan(&'a str),
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventsQuery<'a> {
    /// From which event on; without one, from the newest to the older ones.
    pub cursor: Option<Cursor<'a>>,
    /// Only events of this second and later, since the Unix epoch.
    pub created_from: Option<u64>,
    /// Only events of these types, at most 20; empty is all.
    pub types: &'a [&'a str],
    /// How many on a page, 1 to [`PAGE_EVENTS_MAX`]; 0 is the most.
    pub limit: u8,
}

/// A page of events, newest first, whichever way the cursor goes.
#[derive(Debug)]
pub struct Page {
    /// The events. One that cannot be read does not hide the others.
    pub events: Vec<Result<Event, EventError>>,
    /// Whether there are more in the direction of the cursor.
    pub has_more: bool,
    newest: Option<String>,
    oldest: Option<String>,
}

impl Page {
    /// Where what happens after this page begins: keep it, and ask with it the next time.
    pub fn newer(&self) -> Option<Cursor<'_>> {
        self.newest.as_deref().map(Cursor::NewerThan)
    }

    /// Where what happened before this page begins.
    pub fn older(&self) -> Option<Cursor<'_>> {
        self.oldest.as_deref().map(Cursor::OlderThan)
    }
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    has_more: bool,
}

impl StripeClient {
    /// A page of events. To find what a downtime has missed ask with `created_from` well before its beginning and follow
    /// [`Page::older`] while [`Page::has_more`]: an event can be listed later than its second says, and reading one twice costs nothing.
    ///
    /// # Errors
    /// [`StripeError`]
    pub async fn events(&self, query: &EventsQuery<'_>) -> Result<Page, StripeError> {
        let list: List<Value> = self.ask(Method::GET, &format!("/v1/events?{}", query.encode()?), None).await?;
        let id = |value: &Value| value.get("id").and_then(Value::as_str).map(str::to_owned);
        Ok(Page {
            newest: list.data.first().and_then(id),
            oldest: list.data.last().and_then(id),
            events: list.data.iter().map(Event::from_value).collect(),
            has_more: list.has_more,
        })
    }

    /// The session by which a payment was made, if it was by one: refunds and disputes name only the payment (`pi_…`).
    ///
    /// # Errors
    /// [`StripeError`]
    pub async fn session_of_payment(&self, payment_intent: &str) -> Result<Option<Session>, StripeError> {
        let path = format!("/v1/checkout/sessions?limit=1&payment_intent={}", checked(payment_intent)?);
        let list: List<Session> = self.ask(Method::GET, &path, None).await?;
        Ok(list.data.into_iter().next())
    }
}

impl EventsQuery<'_> {
    fn encode(&self) -> Result<String, RequestError> {
        let limit = if self.limit == 0 { PAGE_EVENTS_MAX } else { self.limit };
        if limit > PAGE_EVENTS_MAX {
            return Err(RequestError::Field { field: "limit" });
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        match self.cursor {
            Some(Cursor::OlderThan(id)) => query.append_pair("starting_after", checked(id)?),
            Some(Cursor::NewerThan(id)) => query.append_pair("ending_before", checked(id)?),
            None => &mut query,
        };
        if let Some(created) = self.created_from {
            query.append_pair("created[gte]", &created.to_string());
        }
        if self.types.len() > TYPES_MAX || self.types.iter().any(|kind| kind.is_empty() || kind.len() > TYPE_BYTES_MAX)
        {
            return Err(RequestError::Field { field: "types" });
        }
        for (nth, kind) in self.types.iter().enumerate() {
            query.append_pair(&format!("types[{nth}]"), kind);
        }
        Ok(query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_asked_for_and_nothing_else() {
        let query = EventsQuery {
            cursor: Some(Cursor::OlderThan("evt_1")),
            created_from: Some(7),
            types: &["a.b", "c"],
            limit: 5,
        };
        let expected = "limit=5&starting_after=evt_1&created%5Bgte%5D=7&types%5B0%5D=a.b&types%5B1%5D=c";
        assert_eq!(query.encode().as_deref(), Ok(expected));
        assert_eq!(EventsQuery::default().encode().as_deref(), Ok("limit=100"));
    }

    #[test]
    fn a_query_beyond_its_bounds_is_refused() {
        let base = EventsQuery::default();
        for (field, query) in [
            ("limit", EventsQuery { limit: 101, ..base }),
            ("id", EventsQuery { cursor: Some(Cursor::NewerThan("evt_1&x=y")), ..base }),
            ("types", EventsQuery { types: &["a"; 21], ..base }),
            ("types", EventsQuery { types: &[""], ..base }),
        ] {
            assert_eq!(query.encode(), Err(RequestError::Field { field }));
        }
    }
}
