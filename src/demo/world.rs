//! Simulated surroundings for a config: a Callem for every source and a receiver for every destination.

use std::{io, net::Ipv4Addr, path::Path, time::Duration};

use url::Url;

use super::{
    callem::{API_KEY, SimulatedCallem},
    receivers::{DEMO_SECRET, Inbox, SlackReceiver, SmtpReceiver, WebhookReceiver},
};
use crate::{
    config::{Secret, ServerConfig, ShownFields},
    config_file::Config,
    destination::{DestinationKind, SlackWay, SmtpSecurity, SmtpServer, WebhookAuth, WebhookFormat},
    name::Name,
    rule::pacing::Pacing,
};

/// How often a simulated Callem is polled.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The time in which the whole list of a simulated Callem is walked.
const SWEEP: Duration = Duration::from_secs(10);

/// Requests a minute for each source. That is far more than the real API allows, so that a demo never waits.
const REQUESTS_PER_MINUTE: u32 = 600;

/// The simulated servers that a config uses.
#[derive(Debug)]
pub struct World {
    /// In the order of the config.
    pub sources: Vec<(Name, SimulatedCallem)>,
    /// In the order of the config.
    pub destinations: Vec<(Name, Receiver)>,
    /// Whether the config's rules or destinations hold deliveries back, which is left out here.
    pub paced: bool,
}

/// The receiver in place of a destination.
#[derive(Clone, Debug)]
pub enum Receiver {
    /// `type = "webhook"`
    Webhook(WebhookReceiver),
    /// `type = "slack"`
    Slack(SlackReceiver),
    /// `type = "email"`
    Email(SmtpReceiver),
}

impl World {
    /// Starts the servers that a config needs and makes the config use them. Replaced are addresses, keys, secrets, the
    /// store (by one in `folder`) and the pace of polling. Nothing is held back or grouped. Names, conditions, texts and
    /// everything else stay. No secret of the config is read.
    ///
    /// # Errors
    /// When the system grants no loopback port.
    pub async fn around(mut config: Config, folder: &Path) -> io::Result<(Self, Config)> {
        let paced = config.rules.iter().any(|rule| !rule.sorted.is_empty());
        let mut world = Self { sources: vec![], destinations: vec![], paced };
        for rule in &mut config.rules {
            rule.pacing = Pacing::default();
            rule.sorted.clear();
        }
        let together =
            REQUESTS_PER_MINUTE.saturating_mul(u32::try_from(config.sources.len()).unwrap_or(u32::MAX));
        for source in &mut config.sources {
            let callem = SimulatedCallem::start().await?;
            callem.set_rate_limit(None);
            source.api_key = Secret::from(API_KEY);
            source.base_url = callem.base_url();
            source.interval = INTERVAL;
            source.sweep = SWEEP;
            // Sources on one host share one budget.
            source.requests_per_minute = together;
            world.sources.push((source.name.clone(), callem));
        }
        for destination in &mut config.destinations {
            destination.quiet = None;
            let receiver = Receiver::in_place_of(&mut destination.kind).await?;
            world.destinations.push((destination.name.clone(), receiver));
        }
        config.store.path = folder.join("store");
        // The page of the demo, for whoever is on this machine.
        config.server = Some(ServerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            token: None,
            public_url: None,
            trusted_proxy: None,
            show: ShownFields::default(),
        });
        // The monitor of the real service must not take the demo for it.
        config.heartbeat = None;
        Ok((world, config))
    }
}

impl Receiver {
    async fn in_place_of(kind: &mut DestinationKind) -> io::Result<Self> {
        Ok(match kind {
            DestinationKind::Webhook(webhook) => {
                for secret in &mut webhook.secrets {
                    *secret = Secret::from(DEMO_SECRET);
                }
                for (_, value) in &mut webhook.headers {
                    *value = Secret::from("demo");
                }
                if let WebhookFormat::Own(body) = &mut webhook.format {
                    body.secrets.iter_mut().for_each(|(_, secret)| *secret = Secret::from("demo"));
                }
                match &mut webhook.auth {
                    Some(WebhookAuth::Bearer(secret) | WebhookAuth::Basic { password: secret, .. }) => {
                        *secret = Secret::from("demo");
                    }
                    None => {}
                }
                // The demo's receiver does not answer with these words.
                webhook.success = None;
                let secrets = (!webhook.secrets.is_empty()).then_some(DEMO_SECRET);
                let receiver = WebhookReceiver::start(secrets).await?;
                webhook.url = receiver.url().into();
                Self::Webhook(receiver)
            }
            DestinationKind::Slack(slack) => {
                let receiver = SlackReceiver::start().await?;
                match &mut slack.way {
                    SlackWay::Webhook(url) => *url = Secret::from(receiver.url().as_str()),
                    SlackWay::Bot(bot) => {
                        bot.token = Secret::from(receiver.token().as_str());
                        bot.api_url = receiver.api_url();
                    }
                }
                Self::Slack(receiver)
            }
            DestinationKind::Email(email) => {
                let receiver = SmtpReceiver::start().await?;
                email.smtp = SmtpServer {
                    security: SmtpSecurity::Insecure,
                    host: receiver.addr().ip().to_string(),
                    port: receiver.addr().port(),
                    user: None,
                    password: None,
                };
                email.password = None;
                Self::Email(receiver)
            }
        })
    }

    /// The messages that it accepted.
    pub fn inbox(&self) -> &Inbox {
        match self {
            Self::Webhook(receiver) => receiver.inbox(),
            Self::Slack(receiver) => receiver.inbox(),
            Self::Email(receiver) => receiver.inbox(),
        }
    }

    /// Its address, for people to read.
    pub fn address(&self) -> String {
        let host = |url: Url| format!("http://{}", url.authority());
        match self {
            Self::Webhook(receiver) => host(receiver.url()),
            Self::Slack(receiver) => host(receiver.url()),
            Self::Email(receiver) => format!("smtp://{}", receiver.addr()),
        }
    }

    /// A description of it in a few words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Webhook(receiver) if receiver.verifies() => "a webhook that checks signatures",
            Self::Webhook(_) => "a webhook, unsigned",
            Self::Slack(_) => "a Slack channel",
            Self::Email(_) => "a mail server",
        }
    }

    /// Whether one message that it has taken may tell several deliveries, because it edits messages.
    pub fn edits(&self) -> bool {
        match self {
            Self::Slack(receiver) => !receiver.channel().is_empty(),
            Self::Webhook(_) | Self::Email(_) => false,
        }
    }

    /// Whether its messages have the id of their event. Slack messages have none.
    pub fn has_ids(&self) -> bool {
        match self {
            Self::Webhook(_) | Self::Email(_) => true,
            Self::Slack(_) => false,
        }
    }
}
