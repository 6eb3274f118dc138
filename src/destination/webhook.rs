//! Webhook

/// Webhook
#[derive(Debug)]
pub struct WebhookDestination;
