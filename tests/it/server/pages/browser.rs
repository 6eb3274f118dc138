//! The pages in a real browser, where there is one.

use std::{env, path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Duration, sleep, timeout},
};

use super::with_dead;
use crate::{
    rig::{PATIENCE, Rig},
    server::http::{Ask, ask},
};

/// A browser with one open page, steered by the DevTools protocol.
///
/// <https://chromedevtools.github.io/devtools-protocol/>
struct Browser {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// What it told without being asked.
    events: Vec<Value>,
}

impl Browser {
    /// `None` without a browser; the test says so, and fails where `CALLWATCH_BROWSER` asks for one.
    async fn start(folder: &Path) -> Option<Self> {
        let version = Command::new("chromium")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        if !version.is_ok_and(|status| status.success()) {
            assert!(env::var_os("CALLWATCH_BROWSER").is_none(), "there is no `chromium` on the PATH");
            println!("skipped: there is no `chromium` on the PATH");
            return None;
        }
        // It takes commands at descriptor 3 and answers at 4.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe \
                      --user-data-dir=\"$0\" about:blank 3<&0 4>&1 >/dev/null 2>&1";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = shell.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Self { _child: child, input, output, session: None, last: 0, events: vec![] };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", target).await;
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).await.unwrap();
        let answering = async {
            loop {
                let mut text = vec![];
                self.output.read_until(0, &mut text).await.unwrap();
                let told: Value = serde_json::from_slice(text.strip_suffix(&[0]).expect("it lives")).unwrap();
                if told["id"] == self.last {
                    return told;
                }
                self.events.push(told);
            }
        };
        let answer =
            timeout(PATIENCE, answering).await.unwrap_or_else(|_| panic!("{method} is never answered"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The value of a JavaScript expression on the page.
    async fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        self.call("Runtime.evaluate", params).await["result"]["value"].clone()
    }

    async fn until(&mut self, expression: &str) {
        let waiting = async {
            while self.value(expression).await != true {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {expression}"));
    }

    /// Opens a page, and waits until its script has reached the stream.
    async fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({"url": address})).await;
        self.until(&format!("location.href == {address:?} && document.readyState == 'complete'")).await;
        // A page without a part that is kept up to date has no stream.
        let reached = "document.getElementById('state').textContent == 'live ·' || !document.querySelector('main [data-live]')";
        self.until(reached).await;
    }

    async fn resize(&mut self, width: u32) {
        let params = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", params).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_pages_are_live_fit_a_phone_and_load_nothing_from_elsewhere() {
    let rig = Rig::new().await;
    let Some(mut browser) = Browser::start(&rig.dir.path().join("browser")).await else { return };
    let (process, address) = with_dead(&rig, "").await;
    let own = format!("http://{address}");
    for path in ["/", "/deliveries", "/calls", "/calls/clinic/a", "/rules", "/config"] {
        browser.resize(360).await;
        browser.open(&format!("{own}{path}")).await;
        for width in [360, 700, 1280] {
            browser.resize(width).await;
            let fits = "document.documentElement.scrollWidth <= window.innerWidth";
            assert_eq!(browser.value(fits).await, true, "{path} at {width}");
        }
        assert_eq!(browser.value("document.querySelectorAll('main script').length").await, 0);
    }

    // What changes is shown without the page being loaded anew.
    browser.open(&format!("{own}/deliveries?state=dead")).await;
    let call = "window.mark = 1; document.querySelectorAll('#list tbody tr').length";
    assert_eq!(browser.value(call).await, 3);
    rig.crm.behave();
    let retry = Ask::new("POST /api/v1/deliveries/retry").json(r#"{"filter": {"state": "dead"}}"#);
    assert_eq!(ask(address, retry).await.status, 200);
    browser.until("document.getElementById('list').textContent.includes('No delivery matches')").await;
    browser.until("document.getElementById('icon').href.includes('/assets/well-')").await;
    assert_eq!(browser.value("window.mark").await, 1);

    // Paused, it is not touched; the keyboard is enough for that.
    browser.value("document.getElementById('pause').focus()").await;
    for kind in ["keyDown", "keyUp"] {
        let key =
            json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
        browser.call("Input.dispatchKeyEvent", key).await;
    }
    browser.until("document.getElementById('state').textContent == 'paused, as of'").await;

    for told in &browser.events {
        let (method, params) = (told["method"].as_str().unwrap_or_default(), &told["params"]);
        assert!(!["Runtime.consoleAPICalled", "Runtime.exceptionThrown"].contains(&method), "{told}");
        assert!(method != "Log.entryAdded" || params["entry"]["level"] != "error", "{told}");
        let url = params["request"]["url"].as_str().filter(|_| method == "Network.requestWillBeSent");
        assert!(url.is_none_or(|url| url.starts_with(&own)), "{told}");
    }
    process.stop().await;
}
