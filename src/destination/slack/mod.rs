//! Slack: by an incoming webhook, which can only post, or by an app's bot token, which can edit what it posted.

mod answer;
mod blocks;
mod bot;
mod budget;
mod config;
mod webhook;

use std::{sync::Arc, time::Duration};

use reqwest::Client;

pub(super) use self::config::TYPE;
pub use self::config::{SlackBotConfig, SlackConfig, SlackThread, SlackWay};
use serde_json::Value;

use super::{
    Destination,
    message::{Message, Writer},
};
use crate::name::Name;

/// The parts of a message that tell its event. A request of an app also says where the message stands.
pub(super) fn show(message: &Message) -> Value {
    blocks::render(message)
}

/// The request that carries a message.
pub(super) fn carried_by(config: &SlackConfig) -> String {
    match &config.way {
        SlackWay::Webhook(_) => "a POST to the address of an incoming webhook, which is a secret".to_owned(),
        SlackWay::Bot(bot) => format!(
            "chat.postMessage or chat.update at {}, with the channel {}, `client_msg_id`, and the event's id as `metadata`",
            bot.api_url.origin().ascii_serialization(),
            bot.channel
        ),
    }
}

/// Makes the destination that `config` describes, under its name in the config.
pub(super) fn build(
    name: &Name,
    config: &SlackConfig,
    writer: Writer,
    timeout: Duration,
    client: Client,
) -> Arc<dyn Destination> {
    match &config.way {
        SlackWay::Webhook(url) => Arc::new(webhook::Webhook::new(url.clone(), writer, timeout, client)),
        SlackWay::Bot(bot) => Arc::new(bot::Bot::new(name, bot, writer, timeout, client)),
    }
}
