//! How a limit is told: the three `X-RateLimit-…` that clients know, and the fields of the [IETF draft].
//!
//! `X-RateLimit-Limit` is what a full bucket holds, `X-RateLimit-Remaining` what it holds now, and `X-RateLimit-Reset` the
//! second since 1970 at which it is full again; in `RateLimit` the same is a number of seconds from now.
//!
//! [IETF draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::quota::{Quota, Taken};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Writes what came of a request under the quota of the tier called `policy`; `now_ms` is the wall clock's.
pub(crate) fn tell(headers: &mut HeaderMap, policy: &str, quota: Quota, taken: Taken, now_ms: i64) {
    let seconds = |ns: u64| ns.div_ceil(1_000_000_000);
    let reset_in = seconds(taken.full_in_ns);
    let reset_at = u64::try_from(now_ms).unwrap_or(0).div_ceil(1000) + reset_in;
    headers.insert(LIMIT, quota.burst().into());
    headers.insert(REMAINING, taken.remaining.into());
    headers.insert(RESET, reset_at.into());
    let mut text = |name, value: String| {
        // Names of tiers are plain words, which the configuration sees to.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    text(POLICY, format!("\"{policy}\";q={};w={}", quota.burst(), quota.window_s()));
    text(STATE, format!("\"{policy}\";r={};t={reset_in}", taken.remaining));
    if !taken.is_allowed {
        headers.insert(header::RETRY_AFTER, seconds(taken.next_in_ns).max(1).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_is_told_when_to_come_again() {
        let quota = Quota::new(30, 30);
        let (mut bucket, mut headers) = (0, HeaderMap::new());
        let taken = (0..31).map(|_| quota.take(0, &mut bucket)).last().unwrap();
        tell(&mut headers, "starter", quota, taken, 1_700_000_000_001);
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!([text("x-ratelimit-limit"), text("x-ratelimit-remaining")], ["30", "0"]);
        assert_eq!([text("x-ratelimit-reset"), text("retry-after")], ["1700000061", "2"]);
        assert_eq!(text("ratelimit-policy"), "\"starter\";q=30;w=60");
        assert_eq!(text("ratelimit"), "\"starter\";r=0;t=60");
    }
}
