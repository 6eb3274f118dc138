use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

/// The webhook's id, or why it is not from callwatch.
fn verify(secret: &str, headers: &http::HeaderMap, body: &[u8]) -> Result<String, &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is wrong")?.as_secs();
    if timestamp.parse::<u64>().map_or(true, |at| now.abs_diff(at) > 300) {
        return Err("too old, or one of the clocks is wrong");
    }
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).map_err(|_| "this is no secret")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let signatures = header("webhook-signature").split(' ').filter_map(|one| one.strip_prefix("v1,"));
    for signature in signatures.filter_map(|one| STANDARD.decode(one).ok()) {
        if hmac::verify(&key, &signed, &signature).is_ok() {
            return Ok(id.to_owned());
        }
    }
    Err("not signed with this secret")
}
