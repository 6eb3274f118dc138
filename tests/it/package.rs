//! The Debian package, from its installation to its purge, in a Debian of its own that `deploy/deb/test` makes. Without that, the
//! package is not built, and only the links among its docs are tested here.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, record};

/// A Debian in a folder, with nothing at work in it.
struct Debian(PathBuf);

impl Debian {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        // As a login of root has it; the variables of the test are not those of the service.
        command
            .arg(&self.0)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; returns everything it said.
    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        said
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn install(&self, package: &Path) -> String {
        fs::copy(package, self.path("/tmp/callwatch.deb")).unwrap();
        self.run(&["dpkg", "--install", "/tmp/callwatch.deb"])
    }

    /// The service as its unit starts it. The process is the service itself, because `sh` and `chroot` become it.
    fn service(&self) -> tokio::process::Command {
        let script = "set -a; . /etc/callwatch/.env; set +a; STATE_DIRECTORY=/var/lib/callwatch \
                      exec callwatch run --config /etc/callwatch/config.toml";
        let mut command = tokio::process::Command::from(self.command(&["sh", "-euc", script]));
        command.kill_on_drop(true);
        command
    }

    /// The commands that a systemd was given since this was last asked.
    fn asked_of_systemd(&self) -> String {
        let log = self.path("/tmp/systemctl.log");
        let asked = fs::read_to_string(&log).unwrap_or_default();
        fs::write(log, "").unwrap();
        asked
    }
}

/// Stands for a systemd at work: says that everything runs, and writes down what it was asked.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$*\" >>/tmp/systemctl.log\n";

#[tokio::test(flavor = "multi_thread")]
async fn it_is_installed_set_up_upgraded_and_purged() {
    let var = |name| env::var_os(name).map(PathBuf::from);
    let (Some(chroot), Some(package), Some(newer)) =
        (var("CALLWATCH_CHROOT"), var("CALLWATCH_PACKAGE"), var("CALLWATCH_NEWER_PACKAGE"))
    else {
        println!("skipped: `deploy/deb/test` builds the package and sets CALLWATCH_CHROOT");
        return;
    };
    let debian = Debian(chroot);
    fs::create_dir_all(debian.path("/run/systemd/system")).unwrap();
    fs::write(debian.path("/usr/bin/systemctl"), SYSTEMCTL).unwrap();
    fs::set_permissions(debian.path("/usr/bin/systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    debian.asked_of_systemd();

    let said = debian.install(&package);
    assert!(said.contains("callwatch init --config /etc/callwatch/config.toml"), "{said}");
    let asked = debian.asked_of_systemd();
    assert!(!asked.contains("start") && !asked.contains("enable"), "it has no config yet, but: {asked}");
    assert!(debian.run(&["callwatch", "--version"]).starts_with("callwatch "));
    for file in [
        "/usr/lib/systemd/system/callwatch.service",
        "/usr/share/man/man1/callwatch-run.1.gz",
        "/usr/share/bash-completion/completions/callwatch",
        "/usr/share/doc/callwatch/copyright",
    ] {
        assert!(debian.path(file).exists() || debian.path(&file["/usr".len()..]).exists(), "{file}");
    }
    let mode = |path: &str| fs::metadata(debian.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("/etc/callwatch/callwatch.env"), mode("/etc/callwatch/credentials")), (0o600, 0o700));
    let conffiles = debian.run(&["dpkg-query", "--show", "--showformat=${Conffiles}", "callwatch"]);
    assert!(conffiles.contains("/etc/callwatch/callwatch.env"), "{conffiles}");

    let rig = Rig::new().await;
    rig.callem.add(record("old", "completed"));
    let (key, api) = (format!("ck_live_{}", "0".repeat(60)), rig.callem.base_url().to_string());
    let slack = rig.frontdesk.url().to_string();
    let config = "/etc/callwatch/config.toml";
    let set_up =
        ["--api-key", &key, "--base-url", &api, "--slack", &slack, "--rule", "call-ended", "--send-test"];
    let said = debian.run(&[&["callwatch", "init", "--config", config][..], &set_up].concat());
    assert!(said.contains("  sudo systemctl enable --now callwatch\n"), "{said}");
    assert_eq!(rig.slack_texts().len(), 1, "the test message arrived");
    let text = fs::read_to_string(debian.path(config)).unwrap();
    let text = text.replace("127.0.0.1:9464", "127.0.0.1:0");
    let (before, after) = text.split_once("api_key =").expect("the source has a key");
    let text = format!("{before}interval = \"1s\"\napi_key ={after}\n# mine\n");
    fs::write(debian.path(config), text).unwrap();
    fs::write(debian.path("/etc/callwatch/callwatch.env"), "# mine\n").unwrap();

    for (call, package, told) in [("first", None, 2), ("second", Some(&newer), 3)] {
        if let Some(package) = package {
            debian.install(package);
            let asked = debian.asked_of_systemd();
            assert!(
                asked.contains("restart callwatch.service"),
                "a running service is restarted, but: {asked}"
            );
            assert!(fs::read_to_string(debian.path(config)).unwrap().ends_with("# mine\n"));
            assert_eq!(fs::read_to_string(debian.path("/etc/callwatch/callwatch.env")).unwrap(), "# mine\n");
        }
        let so_far = rig.callem.request_counts().total();
        let mut service = debian.service().spawn().unwrap();
        timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= so_far + 3)).await.unwrap();
        rig.callem.add(record(call, "completed"));
        timeout(PATIENCE, rig.frontdesk.inbox().wait_for(told)).await.expect("the call is told");
        let pid = service.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(timeout(PATIENCE, service.wait()).await.unwrap().unwrap().success());
    }
    assert_eq!(rig.slack_texts().len(), 3, "the test message and each new call, once");

    debian.run(&["dpkg", "--purge", "callwatch"]);
    for path in [
        "/etc/callwatch",
        "/var/lib/callwatch",
        "/usr/bin/callwatch",
        "/etc/systemd/system/callwatch.service",
    ] {
        assert!(!debian.path(path).exists(), "{path} is left");
    }
}

/// The files of the repository that the package has, by their places in it.
fn packaged() -> BTreeMap<PathBuf, PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut packaged = BTreeMap::new();
    for asset in assets {
        let (from, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        // What is built is no page and has no links to it.
        if from.starts_with("target/") {
            continue;
        }
        let (folder, name) = from.rsplit_once('/').unwrap_or(("", from));
        let files: Vec<_> = match name.strip_prefix('*') {
            None => vec![root.join(from)],
            Some(ending) => fs::read_dir(root.join(folder))
                .unwrap()
                .map(|file| file.unwrap().path())
                .filter(|file| file.to_str().unwrap().ends_with(ending))
                .collect(),
        };
        for file in files {
            let place =
                if to.ends_with('/') { Path::new(to).join(file.file_name().unwrap()) } else { to.into() };
            packaged.insert(place, file);
        }
    }
    packaged
}

#[test]
fn every_link_in_its_docs_leads_to_what_it_has() {
    let packaged = packaged();
    let mut links = 0;
    for (place, file) in packaged.iter().filter(|(place, _)| place.extension().is_some_and(|it| it == "md")) {
        let page = fs::read_to_string(file).unwrap();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if link.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let mut target = place.parent().unwrap().to_owned();
            for part in link.split('/').filter(|part| !part.is_empty()) {
                if part == ".." {
                    target.pop();
                } else {
                    target.push(part);
                }
            }
            let is_there = packaged.keys().any(|place| place.starts_with(&target));
            assert!(is_there, "{} links to {link}, which the package has not", file.display());
            links += 1;
        }
    }
    assert!(links > 50, "only {links} links were found");
}
