//! The arguments of `callwatch deliveries`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    cli::config_arg::ConfigArg,
    kind::Kind,
    name::Name,
    ops::{Filter, StateFilter},
};

/// Arguments of `deliveries`.
#[derive(Debug, Args)]
pub struct DeliveriesArgs {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List deliveries, newest first
    List {
        #[command(flatten)]
        config: ConfigArg,
        /// Of this event
        #[arg(long, value_name = "ID")]
        event: Option<String>,
        #[command(flatten)]
        which: KindArgs,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show an event's deliveries and their attempts
    Show {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        of: Of,
        /// Print the beginning of what receivers answered, too; it may quote the call
        #[arg(long)]
        answers: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Make deliveries that are dead, waiting or held due at once, with their whole retry schedule before them
    Retry {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        which: Which,
    },
    /// Send again what has arrived, after asking
    Resend {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        asking: Asking,
    },
    /// Forget deliveries, after asking
    Drop {
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        asking: Asking,
    },
    /// Leave a destination alone until it is resumed; its deliveries wait
    Pause {
        #[command(flatten)]
        config: ConfigArg,
        /// The destination
        destination: Name,
    },
    /// Let a paused destination have its deliveries
    Resume {
        #[command(flatten)]
        config: ConfigArg,
        /// The destination
        destination: Name,
    },
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub(super) config: ConfigArg,
    /// Tell this destination instead of those that were told before
    #[arg(long, value_name = "NAME")]
    pub(super) to: Option<Name>,
    #[command(flatten)]
    pub(super) kind: KindArgs,
    #[command(flatten)]
    pub(super) asking: Asking,
}

impl ReplayArgs {
    /// The deliveries whose events are meant.
    pub(super) fn filter(&self) -> Filter {
        self.kind.clone().filter()
    }
}

/// How a command that cannot be undone makes sure that it is meant.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Asking {
    /// Only count them
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    pub(super) yes: bool,
}

/// The deliveries of an event.
#[derive(Debug, Args)]
pub(super) struct Of {
    /// The event, as `list` shows it: evt_…
    pub(super) id: String,
    /// Only its delivery to this destination
    pub(super) destination: Option<Name>,
}

/// The deliveries of an event, or of a destination.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The event, as `list` shows it: evt_…
    #[arg(required_unless_present = "all")]
    pub(super) id: Option<String>,
    /// Only its delivery to this destination
    #[arg(value_name = "DESTINATION")]
    pub(super) only: Option<Name>,
    /// All deliveries that match what else is given: `retry` takes the dead ones, `resend` those that have arrived, `drop`
    /// those that have not
    #[arg(long, conflicts_with = "id", requires = "KindArgs")]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) kind: KindArgs,
}

/// Which kind of deliveries is meant; every part that is given must match.
#[derive(Clone, Debug, Args)]
pub(super) struct KindArgs {
    /// To this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<Name>,
    /// In this state
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// About this call
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<Name>,
    /// About this source, or about calls of it
    #[arg(long, value_name = "NAME")]
    source: Option<Name>,
    /// Of events of this kind: ended, analyzed, …
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<Kind>,
    /// That failed last with this text in the result
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Made longer ago than this, such as 1h
    #[arg(long, value_name = "TIME", value_parser = crate::cli::parse_time)]
    older_than: Option<Duration>,
    /// Made no longer ago than this, such as 7d
    #[arg(long, value_name = "TIME", value_parser = crate::cli::parse_time)]
    newer_than: Option<Duration>,
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    let words = || Kind::ALL.map(Kind::as_str).join(", ");
    Kind::parse(text).ok_or_else(|| format!("choose from {}", words()))
}

impl KindArgs {
    /// Whether none of it is given but a destination.
    pub(super) fn is_empty(&self) -> bool {
        Filter { destination: None, ..self.clone().filter() } == Filter::default()
    }

    pub(super) fn filter(self) -> Filter {
        let Self { destination, state, call, rule, source, kind, error, older_than, newer_than } = self;
        let (state, call) = (state.map(Into::into), call.as_deref().map(Into::into));
        Filter { event: None, destination, state, call, rule, source, kind, error, older_than, newer_than }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum StateArg {
    /// Yet to arrive
    Pending,
    /// Waiting to be told with others
    Held,
    /// Arrived
    Delivered,
    /// Told as part of another event
    Merged,
    /// Given up
    Dead,
    /// Pending, held or dead
    Undelivered,
}

impl From<StateArg> for StateFilter {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Held => Self::Held,
            StateArg::Delivered => Self::Delivered,
            StateArg::Merged => Self::Merged,
            StateArg::Dead => Self::Dead,
            StateArg::Undelivered => Self::Undelivered,
        }
    }
}

impl Command {
    /// Where the config is.
    pub(super) fn config(&self) -> &ConfigArg {
        match self {
            Self::List { config, .. }
            | Self::Show { config, .. }
            | Self::Retry { config, .. }
            | Self::Resend { config, .. }
            | Self::Drop { config, .. }
            | Self::Pause { config, .. }
            | Self::Resume { config, .. } => config,
        }
    }
}
