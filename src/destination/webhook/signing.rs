//! The signatures of webhooks.

use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use reqwest::header::{HeaderMap, HeaderValue};
use ring::{hmac, signature::Ed25519KeyPair};
use secrecy::{ExposeSecret, SecretString};

use super::{NotReady, payload::callem_word};
use crate::{destination::Notification, privacy::hex};

/// Secrets are base64 with or without its padding.
pub(super) const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Standard Webhooks: one signature for each secret, over `id.timestamp.body`. A symmetric one (`v1`) is base64 of
/// HMAC-SHA256, an asymmetric one (`v1a`) base64 of Ed25519:
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
pub(super) fn sign_standard(
    headers: &mut HeaderMap,
    notification: &Notification<'_>,
    body: &[u8],
    secrets: &[SecretString],
) -> Result<(), NotReady> {
    let timestamp = notification.now.as_secs().to_string();
    let signed = [notification.event.id.as_str().as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let mut signatures = vec![];
    for secret in secrets {
        let text = secret.expose_secret();
        if let Some(key) = text.strip_prefix("whsk_") {
            let signature = ed25519_key(key).ok_or(NotReady::NotEd25519)?.sign(&signed.concat());
            signatures.push(format!("v1a,{}", STANDARD.encode(signature)));
            continue;
        }
        let key = SECRET_BASE64
            .decode(text.strip_prefix("whsec_").unwrap_or(text))
            .map_err(|_| NotReady::NotBase64)?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        signed.iter().for_each(|part| context.update(part));
        signatures.push(format!("v1,{}", STANDARD.encode(context.sign())));
    }
    headers.insert("webhook-timestamp", header(&timestamp));
    if !signatures.is_empty() {
        headers.insert("webhook-signature", header(&signatures.join(" ")));
    }
    Ok(())
}

/// The key of a seed in base64 (RFC 8032), which may have its public key behind it.
fn ed25519_key(text: &str) -> Option<Ed25519KeyPair> {
    let bytes = SECRET_BASE64.decode(text).ok()?;
    match bytes.split_at_checked(32)? {
        (seed, []) => Ed25519KeyPair::from_seed_unchecked(seed).ok(),
        (seed, public) => Ed25519KeyPair::from_seed_and_public_key(seed, public).ok(),
    }
}

/// The vendor documents HMAC-SHA256 and no more. Receivers usually expect it in hexadecimal, over the body, with the
/// bytes of the secret's text as the key. There is room for one signature, so only the first secret signs.
pub(super) fn sign_callem(
    headers: &mut HeaderMap,
    notification: &Notification<'_>,
    body: &[u8],
    secret: Option<&SecretString>,
) {
    headers.insert("x-callem-event", HeaderValue::from_static(callem_word(notification.event.kinds)));
    headers.insert("x-callem-timestamp", HeaderValue::from(notification.now.as_secs()));
    if let Some(secret) = secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        headers.insert("x-callem-signature", header(&hex(hmac::sign(&key, body).as_ref())));
    }
}

#[expect(clippy::expect_used, reason = "numbers, base64 and hexadecimal are visible ASCII")]
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII")
}
