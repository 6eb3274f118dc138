//! Where log lines go and what they look like.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt};

/// How to log.
#[derive(Debug, Args)]
pub struct LoggingArgs {
    /// Form of the log lines
    #[arg(long, global = true, value_enum, default_value_t = Format::Human, env = "CALLWATCH_LOG_FORMAT")]
    log_format: Format,
    /// What to log: error, warn, info, debug, trace, or a filter like `callwatch=debug,hyper=warn`
    #[arg(long, global = true, value_name = "FILTER", env = "CALLWATCH_LOG")]
    log: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: coloured on a terminal
    Human,
    /// One JSON object per line
    Json,
}

/// What is logged when nobody said.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// Nothing.
    Off,
    /// What callwatch did, not how.
    Info,
}

impl LoggingArgs {
    /// Starts logging to standard error.
    pub fn start(&self, default: Default) {
        let default = match default {
            Default::Off => "off",
            Default::Info => "info",
        };
        let filter = self.log.as_deref().unwrap_or(default);
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
            eprintln!("callwatch: --log {filter}: {error}; logging at info");
            EnvFilter::new("info")
        });
        let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
        // Starting twice cannot happen: the command line is read once.
        let _ = match self.log_format {
            Format::Human => {
                let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                lines.with_target(false).with_ansi(colour).try_init()
            }
            Format::Json => lines.json().flatten_event(true).with_target(false).try_init(),
        };
    }
}
