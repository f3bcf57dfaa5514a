//! What time it is, as HTTP says it.

use std::cell::RefCell;
use std::time::SystemTime;

use http::HeaderValue;

/// The time of the last `date` that was made, in seconds, and that.
type Made = (u64, HeaderValue);

/// The value of `date` (RFC 9110, 5.6.7). It is made once a second.
pub(super) fn now() -> HeaderValue {
    thread_local! {
        static MADE: RefCell<Option<Made>> = const { RefCell::new(None) };
    }
    let time = SystemTime::now();
    let second = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    MADE.with_borrow_mut(|made| match made {
        Some((of, value)) if *of == second => value.clone(),
        _ => {
            let text = httpdate::fmt_http_date(time);
            let value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
            made.insert((second, value)).1.clone()
        }
    })
}
