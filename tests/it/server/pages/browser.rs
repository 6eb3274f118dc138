//! The pages in a real browser, where there is one.

use std::{env, process::Stdio};

use tokio::{process::Command, time::timeout};

use super::with_dead;
use crate::rig::{PATIENCE, Rig};

/// Whether there is a browser; without one the test says so, and fails where `CALLWATCH_BROWSER` asks for one.
async fn has_browser() -> bool {
    let version =
        Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    let is_there = version.is_ok_and(|status| status.success());
    if !is_there {
        assert!(env::var_os("CALLWATCH_BROWSER").is_none(), "there is no `chromium` on the PATH");
        println!("skipped: there is no `chromium` on the PATH");
    }
    is_there
}

/// The page as it is a moment after it was loaded, and what its console and its network say.
async fn open(rig: &Rig, address: &str) -> (String, String) {
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=360,800", "--timeout=3000"]);
    chromium.args(["--enable-logging=stderr", "--dump-dom", address]);
    chromium.arg(format!("--user-data-dir={}", rig.dir.path().join("browser").display()));
    let output = chromium.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("the browser ends").unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_runs_its_script_and_no_other_and_complains_of_nothing() {
    if !has_browser().await {
        return;
    }
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    for path in ["/", "/deliveries", "/calls", "/calls/clinic/a", "/rules", "/config"] {
        // The stream may not be open yet when the page is looked at.
        let looking = async {
            loop {
                let (page, said) = open(&rig, &format!("http://{address}{path}")).await;
                let complaints: Vec<_> = said.lines().filter(|line| line.contains(":CONSOLE")).collect();
                assert_eq!(complaints, [""; 0], "{path}");
                assert!(!page.contains("<script>alert"), "{page}");
                if page.contains("<span id=\"state\">live ·</span>") {
                    return page;
                }
            }
        };
        let page = timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{path} is never live"));
        // The button is there only when it does something.
        assert!(page.contains("type=\"button\">pause</button>"), "{page}");
    }
    process.stop().await;
}
