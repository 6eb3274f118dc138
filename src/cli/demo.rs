//! `callwatch demo`: shows the whole pipeline on this machine.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;

use super::{EXIT_CONFIG, complain};
use crate::{
    config::{LoadOptions, Report, Secret, Secrets},
    config_file::{Config, Loaded},
    demo::{
        bundled,
        show::{ClusterOptions, Ending, Options, show},
    },
    style::Style,
};

/// The exit code that shells give a process that was ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after this time, such as 30s or 2m [default: at Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = crate::cli::parse_time)]
    lasts: Option<Duration>,
    /// Try the rules of this config; its secrets are not needed, its addresses not used
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Simulate other calls: each number makes calls of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Run as many processes over one PostgreSQL, and kill one after the other
    #[arg(long, value_name = "N", requires = "store")]
    nodes: Option<NonZeroUsize>,
    /// The PostgreSQL server for --nodes, postgres://user@host/database; they get a database of their own there, which is removed at
    /// the end. Other users of the machine can read arguments, so an address with a password belongs in the variable
    #[arg(
        long,
        value_name = "URL",
        requires = "nodes",
        env = "CALLWATCH_DEMO_STORE",
        hide_env_values = true
    )]
    store: Option<String>,
}

/// Shows the demo. It exits with 0 when nothing was lost, with 1 when something was or the demo failed, and with 130
/// when it was interrupted before that was known.
pub async fn demo(args: DemoArgs) -> ExitCode {
    let DemoArgs { lasts, config, seed, nodes, store } = args;
    let cluster =
        nodes.zip(store).map(|(nodes, url)| ClusterOptions { nodes, server: Secret::from(url.as_str()) });
    let promises = if config.is_some() { &[] } else { bundled::PROMISES };
    let config = match load(config).await {
        Ok(loaded) => loaded.config,
        Err(report) => {
            complain(report.render(Style::of(&std::io::stderr()).is_coloured()).trim_end());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match show(Options { config, promises, lasts, seed, cluster }).await {
        Ok(Ending::NoneLost) => ExitCode::SUCCESS,
        Ok(Ending::Lost) => ExitCode::FAILURE,
        Ok(Ending::Quit) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn load(path: Option<PathBuf>) -> Result<Loaded, Report> {
    let options = LoadOptions { secrets: Secrets::Ignored, ..LoadOptions::default() };
    match path {
        Some(path) => Config::load(&path, options),
        None => Config::parse(bundled::CONFIG, "demo.toml".as_ref(), options),
    }
}
