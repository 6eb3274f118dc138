//! Slack

/// Slack
#[derive(Debug)]
pub struct SlackDestination;
