//! Sets up logging to standard error.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt};

/// Form and filter of the log.
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

/// The filter when neither `--log` nor `CALLWATCH_LOG` is given.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// Nothing.
    Off,
    /// Info and above.
    Info,
}

impl LoggingArgs {
    /// Starts logging. Call it once.
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
        // It fails only when logging was started before.
        let _ = match self.log_format {
            Format::Human => {
                let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                lines.with_target(false).with_ansi(colour).try_init()
            }
            Format::Json => lines.json().flatten_event(true).with_target(false).try_init(),
        };
    }
}
