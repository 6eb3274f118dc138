//! Programs that tests need and that may be missing on a machine; `.ci/run` brings them.

use std::{env, path::PathBuf, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::rig::PATIENCE;

/// Says that a test is skipped because this is missing; with `CI=true` nothing may be missing.
pub fn skip(missing: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}; `.ci/run` brings it");
    println!("skipped: {missing}");
}

/// Where `.ci/run` puts a library; `None`, and the test is skipped, when it is not there.
pub fn library(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(path);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("there is no {}", path.display()));
    None
}

/// A program with the libraries that `.ci/run` has installed.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let tools = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    command.env("PYTHONPATH", tools.join("python")).env("NODE_PATH", tools.join("node/node_modules"));
    command.kill_on_drop(true);
    command
}

/// The output of a program that is given this input and has to succeed; `None`, and the test is skipped, without such a program.
pub async fn output(command: &mut Command, input: &str) -> Option<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip(&format!("there is no `{name}` on the PATH"));
            return None;
        }
        child => child.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    // A compiler takes its time on a loaded machine.
    let output = timeout(PATIENCE * 6, child.wait_with_output()).await.expect("it ends").unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}
