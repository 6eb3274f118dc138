//! The real binary as a child process, and how much processor time and memory a process uses (from Linux's `/proc`).

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// `callwatch run`. It is killed when this is dropped.
pub struct Process(Child);

impl Process {
    pub fn run(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null());
        if std::env::var_os("CALLWATCH_LOG").is_none() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Self(command.spawn().unwrap())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processor time so far of the threads of a process whose name `is_wanted`.
pub fn cpu(process: u32, is_wanted: impl Fn(&str) -> bool) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let nanos = threads.filter_map(|thread| {
        let thread = thread.ok()?.path();
        let stat = fs::read_to_string(thread.join("schedstat")).ok()?;
        let name = fs::read_to_string(thread.join("comm")).ok()?;
        is_wanted(name.trim()).then(|| stat.split(' ').next()?.parse::<u64>().ok()).flatten()
    });
    Duration::from_nanos(nanos.sum())
}

/// The memory of a process in megabytes: `VmRSS:` for now, `VmHWM:` for the most so far.
pub fn memory_mb(process: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let size = status.lines().find_map(|found| found.strip_prefix(line)).expect("a size");
    size.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
