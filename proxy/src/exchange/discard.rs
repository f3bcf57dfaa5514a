//! Responses that nobody wants.

use std::rc::Rc;
use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::tasks::Tasks;
use crate::upstream::ResponseBody;

/// How far the end may be, in bytes and time.
const MOST: usize = 64 * 1024;
const LONGEST: Duration = Duration::from_secs(1);

/// Reads a response to its end if that is not far, so that its connection can be used again.
pub(super) fn discard(tasks: &Rc<Tasks>, mut body: ResponseBody) {
    if body.is_end_stream() {
        return;
    }
    tasks.spawn(async move {
        let mut read = 0;
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, |data| data.len());
                if read > MOST {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LONGEST, reading).await;
    });
}
