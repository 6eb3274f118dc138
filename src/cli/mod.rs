//! The command line: one file per subcommand.

mod backup;
mod check;
mod config_arg;
mod deliveries;
mod demo;
mod explain;
mod forget;
mod generate;
mod init;
mod logging;
mod migrate;
mod opened;
mod preview;
mod reach;
mod restore;
mod run;
mod send;
mod service_manager;
mod status;
mod store_folder;
mod test;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::{config::parse_duration, privacy::escaped_output};

/// Bad config (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Wrong usage, as the parser of arguments has it.
const EXIT_USAGE: u8 = 2;

/// The version, and the commit that a release was built from.
const VERSION: &str = env!("CALLWATCH_VERSION");

/// Watches the calls of AI voice agents and tells people and systems about them.
#[derive(Debug, Parser)]
#[command(name = "callwatch", version = VERSION, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: logging::LoggingArgs,
}

/// The value of an argument that is a duration.
fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("{error}; write numbers with units, such as 15s, 2h or 7d"))
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole pipeline at work on this machine: no key, no network
    Demo(demo::DemoArgs),
    /// Write a config, by a few questions
    Init(Box<init::InitArgs>),
    /// Watch calls and deliver what the rules match, until told to stop
    Run(run::RunArgs),
    /// Report every mistake in a config file
    Check(check::CheckArgs),
    /// Show what the rules would have told of the calls of the last days; sends nothing
    Preview(preview::PreviewArgs),
    /// Say what is known of a call, what each rule made of it and why, and what became of each delivery
    Explain(explain::ExplainArgs),
    /// Send a destination a test notification, and show what came back
    Send(send::SendArgs),
    /// Run rule tests: timelines of calls, and what must be told of them
    Test(test::TestArgs),
    /// Write the store of a stopped service to a file
    Backup(backup::BackupArgs),
    /// Put a backup in the place of a damaged store
    Restore(restore::RestoreArgs),
    /// Carry a stopped store into a database that several machines share, or back
    Migrate(migrate::MigrateArgs),
    /// List deliveries, retry, resend or drop them, pause and resume destinations
    Deliveries(deliveries::DeliveriesArgs),
    /// Tell events of the past again, to the same destinations or to another, after asking
    Replay(deliveries::ReplayArgs),
    /// Forget a caller's calls for good, after asking
    Forget(forget::ForgetArgs),
    /// Show on one screen whether it works, what is stuck, and what to do
    Status(status::StatusArgs),
    /// Print the JSON Schema of the config file, for editors
    Schema,
    /// Print completions for a shell
    Completions(generate::CompletionsArgs),
    /// Print the manual page, or write the pages of all commands to a folder
    Man(generate::ManArgs),
}

impl Command {
    /// Whether it may write to a store.
    fn writes_to_store(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Backup(_)
                | Self::Restore(_)
                | Self::Migrate(_)
                | Self::Explain(_)
                | Self::Deliveries(_)
                | Self::Replay(_)
                | Self::Forget(_)
                | Self::Status(_)
        )
    }
}

/// Reads the arguments and runs the command they name.
pub fn main() -> ExitCode {
    let Cli { command, logging } = Cli::parse();
    let code = execute(command, &logging);
    logging::finish();
    code
}

fn execute(command: Command, logging: &logging::LoggingArgs) -> ExitCode {
    if command.writes_to_store() {
        // The files of a store hold calls: they are for the user of this process alone.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    }
    match command {
        Command::Check(args) => check::check(&args),
        Command::Init(args) => {
            logging.start(logging::Default::Off);
            on_runtime(init::init(*args))
        }
        Command::Schema => generate::schema(),
        Command::Completions(args) => generate::completions(&args, Cli::command()),
        Command::Man(args) => generate::man(&args, Cli::command()),
        Command::Explain(args) => {
            logging.start(logging::Default::Off);
            on_runtime(explain::explain(args))
        }
        Command::Send(args) => {
            logging.start(logging::Default::Off);
            on_runtime(send::send(args))
        }
        Command::Preview(args) => {
            logging.start(logging::Default::Off);
            on_runtime(preview::preview(args))
        }
        Command::Test(args) => on_runtime(test::test(args)),
        Command::Deliveries(args) => {
            logging.start(logging::Default::Info);
            on_runtime(deliveries::deliveries(args))
        }
        Command::Replay(args) => {
            logging.start(logging::Default::Info);
            on_runtime(deliveries::replay(args))
        }
        Command::Forget(args) => {
            logging.start(logging::Default::Info);
            on_runtime(forget::forget(args))
        }
        Command::Status(args) => {
            logging.start(logging::Default::Off);
            on_runtime(status::status(args))
        }
        Command::Demo(args) => {
            logging.start(logging::Default::Off);
            on_runtime(demo::demo(args))
        }
        Command::Backup(args) => {
            logging.start(logging::Default::Info);
            on_runtime(backup::backup(args))
        }
        Command::Restore(args) => {
            logging.start(logging::Default::Info);
            on_runtime(restore::restore(args))
        }
        Command::Migrate(args) => {
            logging.start(logging::Default::Info);
            on_runtime(migrate::migrate(args))
        }
        Command::Run(args) => {
            logging.start(logging::Default::Info);
            on_runtime(run::run(args))
        }
    }
}

/// Writes to standard output, without what could command a terminal or deceive a reader: a stranger may have chosen a part
/// of it. A reader that has gone away is no error: the exit code still tells what came of it.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(escaped_output(text).as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// A value for programs.
fn json(value: &(impl Serialize + ?Sized)) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// The exit code of a command; an error is said on stderr.
fn report<E: fmt::Display>(done: Result<(), E>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a command that ends by printing.
fn printed(result: io::Result<()>) -> ExitCode {
    report(result.map_err(|error| format!("cannot print: {error}")))
}

/// A message as it would leave, and behind it the fields that are not in it as they are, each with the reason.
fn leaving(mut message: String, carried_by: Option<String>, reasons: &[(String, &'static str)]) -> String {
    if !message.ends_with('\n') {
        message.push('\n');
    }
    if carried_by.is_some() || !reasons.is_empty() {
        message.push('\n');
        carried_by.iter().for_each(|it| message.extend(["carried by ", it, "\n"]));
        reasons.iter().for_each(|(field, why)| message.extend([field, ": ", why, "\n"]));
    }
    message
}

/// Asks a person a question that is answered by yes or no; `None` where there is no terminal to ask at.
async fn confirm(question: String) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    // A person takes time, and reading blocks.
    let asked = tokio::task::spawn_blocking(move || {
        let mut terminal = io::stderr();
        write!(terminal, "{question} [y/N] ")?;
        terminal.flush()?;
        let mut said = String::new();
        io::stdin().read_line(&mut said)?;
        io::Result::Ok(matches!(said.trim(), "y" | "Y" | "yes"))
    });
    asked.await.unwrap_or(Ok(false)).map(Some)
}

/// Writes a line for people to standard error. Nothing can be done when that fails.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escaped_output(text));
}

/// The fewest workers of the runtime. A server that floods a connection with answers nobody asked for keeps one of them busy until
/// the deadline; with more of them than such servers, the machine shares its time among all.
const FEWEST_WORKERS: usize = 4;

fn on_runtime(command: impl Future<Output = ExitCode>) -> ExitCode {
    let workers = std::thread::available_parallelism().map_or(FEWEST_WORKERS, usize::from);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    match runtime.worker_threads(workers.max(FEWEST_WORKERS)).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // A thread that hangs in a call of the system, such as looking up a name, is not waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            complain(&format!("callwatch: cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}
