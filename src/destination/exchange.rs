//! One request over HTTP and the whole answer to it, within the deadline of an attempt.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};
use tokio::time::{Instant, timeout_at};

use super::{Answer, connection::in_words};
use crate::http;

/// How much of an answer is read, in bytes, where a receiver has no reason to say more.
pub(super) const MAX_RESPONSE: usize = 64 * 1024;

/// Sends the request and reads at most `limit` bytes of the answer's body, until `deadline`. `timeout` is the whole
/// time of the attempt, for the words of the error.
///
/// # Errors
/// The answer of an attempt that is to be made again, because no whole answer came.
pub(super) async fn exchange(
    request: RequestBuilder,
    limit: usize,
    deadline: Instant,
    timeout: Duration,
) -> Result<(StatusCode, HeaderMap, String), Answer> {
    let exchange = async {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, _more) = http::read_capped(response, limit).await?;
        Ok((status, headers, String::from_utf8_lossy(&body).into_owned()))
    };
    match timeout_at(deadline, exchange).await {
        Ok(Ok(answered)) => Ok(answered),
        Ok(Err(error)) => Err(Answer::retry(in_words(&error, timeout))),
        Err(_) => Err(Answer::retry(http::timed_out(timeout))),
    }
}
