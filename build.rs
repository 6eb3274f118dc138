//! Tells the binary which commit it was built from.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=CALLWATCH_COMMIT");
    // Packagers who build without the repository say it themselves. A debug build does not say it, because every commit
    // would then compile everything anew.
    let given = env::var("CALLWATCH_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(head).flatten());
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = commit.map_or(version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=CALLWATCH_VERSION={version}");
}

/// Hash and date of the commit that is checked out; `None` outside a repository. One that only surrounds this folder has
/// another commit.
fn head() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    // In a container the checkout is often somebody else's, and git would not look at it. Whoever builds it runs its code anyway.
    let args = ["-c", "safe.directory=*", "show", "--no-patch", "--format=%h %cs", "HEAD"];
    let shown = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(shown.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| shown.status.success() && !text.is_empty())
}
