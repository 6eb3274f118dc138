//! The real binary at work, steered from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::rig::{PATIENCE, Rig};

/// `callwatch run` with the config file of a rig.
pub struct Process {
    child: Child,
    pub config: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts it with this config, and waits until the config is at work.
    pub async fn start(rig: &Rig, config: &str) -> Self {
        let config = rig.write_config(config);
        let log = rig.dir.path().join("log");
        let mut run = command(&config, &["run", "--log-format", "json"]);
        run.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let process = Self { child: run.spawn().unwrap(), config, log };
        process.says("the config is at work").await;
        process
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn count(&self, what: &str) -> usize {
        self.log().lines().filter(|line| line.contains(what)).count()
    }

    /// Waits until this stands in the log.
    pub async fn says(&self, what: &str) {
        self.says_times(what, 1).await;
    }

    pub async fn says_times(&self, what: &str, times: usize) {
        let waiting = async {
            while self.count(what) < times {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it never says {what}:\n{}", self.log()));
    }

    /// Replaces the config file at once, as editors and ConfigMaps do.
    pub fn edit(&self, text: &str) {
        let new = self.config.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &self.config).unwrap();
    }

    pub async fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits until it ends by itself; returns its exit code and its log.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it goes on:\n{}", self.log())).unwrap();
        (ended.code(), self.log())
    }

    /// Ends it in good order; returns its log.
    pub async fn stop(self) -> String {
        self.stop_by("-TERM").await
    }

    pub async fn stop_by(mut self, signal: &str) -> String {
        self.signal(signal).await;
        let ended = timeout(PATIENCE, self.child.wait()).await.expect("it stops").unwrap();
        assert_eq!(ended.code(), Some(0), "{}", self.log());
        self.log()
    }
}

/// The binary under test: the one of this build, or the one that `CALLWATCH_BINARY` names, such as one built for release.
pub fn binary() -> PathBuf {
    std::env::var_os("CALLWATCH_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_callwatch").into(), PathBuf::from)
}

/// A line of `/proc/PID/status`, in MB.
pub fn memory(process: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let found = status.lines().find_map(|it| it.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// A command of the binary with this config.
pub fn command(config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).arg("--config").arg(config).env_remove("STATE_DIRECTORY");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
