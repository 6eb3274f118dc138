//! The `callwatch` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    callwatch::cli::main()
}
