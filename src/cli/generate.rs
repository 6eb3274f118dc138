//! `callwatch schema`, `completions` and `man`: files for editors, shells and manuals, made from the declarations of keys
//! and arguments.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{json, print, printed, report};
use crate::config_file;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(ignore_case = true)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder to write a page for each command to
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints the JSON Schema of the config file.
pub fn schema() -> ExitCode {
    printed(json(&config_file::schema()).and_then(|text| print(&text)))
}

/// Prints completions for a shell.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> ExitCode {
    let mut text = vec![];
    clap_complete::generate(args.shell, &mut command, "callwatch", &mut text);
    printed(print(&String::from_utf8_lossy(&text)))
}

/// Prints the page of the program, or writes the pages of all commands.
pub fn man(args: &ManArgs, command: Command) -> ExitCode {
    let Some(folder) = &args.folder else {
        let mut text = vec![];
        let rendered = Man::new(command).render(&mut text);
        return printed(rendered.and_then(|()| print(&String::from_utf8_lossy(&text))));
    };
    let written = write_pages(folder, command);
    report(written.map_err(|error| format!("cannot write manual pages to {}: {error}", folder.display())))
}

fn write_pages(folder: &Path, command: Command) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}
