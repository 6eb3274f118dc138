//! The config file of a command: the one that is named, else the first of the usual places that has one.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{EXIT_USAGE, complain};

/// The config file of a command.
#[derive(Clone, Debug, Args)]
pub(super) struct ConfigArg {
    /// The config file [env: CALLWATCH_CONFIG; default: the first there is of ./callwatch.toml,
    /// $XDG_CONFIG_HOME/callwatch/config.toml and /etc/callwatch/config.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArg {
    /// The path of the config file. A file that is named need not exist.
    ///
    /// # Errors
    /// The exit code, after a message on standard error, when none is named and none of the usual places has one.
    pub(super) fn find(&self) -> Result<PathBuf, ExitCode> {
        self.find_in(&|name| {
            env::var_os(name).map(PathBuf::from).filter(|value| !value.as_os_str().is_empty())
        })
        .map_err(|places| {
            let places: Vec<_> = places.iter().map(|place| format!("`{}`", place.display())).collect();
            complain(&format!(
                "callwatch: there is no config file at {}; name one with --config FILE, or write one with `callwatch init`",
                places.join(", ")
            ));
            EXIT_USAGE.into()
        })
    }

    fn find_in(&self, env: &dyn Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, Vec<PathBuf>> {
        if let Some(named) = self.config.clone().or_else(|| env("CALLWATCH_CONFIG")) {
            return Ok(named);
        }
        // A relative path in this variable is to be ignored: <https://specifications.freedesktop.org/basedir-spec/>
        let of_user = env("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
        let of_user = of_user.or_else(|| Some(env("HOME")?.join(".config")));
        let mut places = vec![PathBuf::from("callwatch.toml")];
        places.extend(of_user.map(|folder| folder.join("callwatch/config.toml")));
        places.push(PathBuf::from("/etc/callwatch/config.toml"));
        match places.iter().find(|place| Path::exists(place)) {
            Some(found) => Ok(found.clone()),
            None => Err(places),
        }
    }
}
