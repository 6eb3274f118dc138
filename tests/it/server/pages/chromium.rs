//! A real browser, steered by the DevTools protocol: <https://chromedevtools.github.io/devtools-protocol/>

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Duration, sleep, timeout},
};

use crate::rig::PATIENCE;
pub use crate::tools::skip;

/// A browser with one open page.
pub struct Browser {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// The events that it sent without being asked.
    events: Vec<Value>,
}

impl Browser {
    /// `None` without a browser; the test is skipped then.
    pub async fn start(folder: &Path) -> Option<Self> {
        let mut version = Command::new("chromium");
        let version = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if !version.is_ok_and(|status| status.success()) {
            skip("there is no `chromium` on the PATH");
            return None;
        }
        // It takes commands at descriptor 3 and answers at 4.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --disable-background-networking --remote-debugging-pipe --user-data-dir=\"$0\" about:blank \
                      3<&0 4>&1 >/dev/null 2>&1";
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

    /// The value of a JavaScript expression on the page; that of a promise is waited for.
    pub async fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        self.call("Runtime.evaluate", params).await["result"]["value"].clone()
    }

    /// Waits until the expression is true.
    pub async fn until(&mut self, expression: &str) {
        let waiting = async {
            while self.value(expression).await != true {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            let shown = self.value("document.title + '\\n' + document.body.innerText").await;
            panic!("never {expression}\n{}", shown.as_str().unwrap_or_default());
        }
    }

    /// Waits until it has been given this so many times since it was started.
    pub async fn is_given(&mut self, path: &str, times: usize) {
        let is_it = |told: &&Value| {
            let response = &told["params"]["response"];
            told["method"] == "Network.responseReceived"
                && response["status"] == 200
                && response["url"].as_str().is_some_and(|url| url.ends_with(path))
        };
        let waiting = async {
            while self.events.iter().filter(is_it).count() < times {
                self.value("0").await;
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it is not given {path} {times} times"));
    }

    /// Opens a page, and waits until its script has reached the stream.
    pub async fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({"url": address})).await;
        self.is_at(address).await;
        // A page without a part that is kept up to date has no stream.
        let reached =
            "(it => !it || it.textContent == 'live ·' || !document.querySelector('main [data-live]'))
                       (document.getElementById('state'))";
        self.until(reached).await;
    }

    /// Waits until it has loaded the page at this address.
    pub async fn is_at(&mut self, address: &str) {
        self.until(&format!("location.href == {address:?} && document.readyState == 'complete'")).await;
    }

    /// Makes the window this wide.
    pub async fn resize(&mut self, width: u32) {
        let params = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", params).await;
    }

    /// `light` or `dark`.
    pub async fn colours(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Presses and releases a key.
    pub async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("{other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let params = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            let mut params = params;
            if !text.is_empty() && kind == "keyDown" {
                params["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", params).await;
        }
    }

    /// Writes into the field that has the focus.
    pub async fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Fails when anything was asked of another server, written to the console, or went wrong.
    pub fn has_no_complaint(&self, own: &str) {
        for told in &self.events {
            let (method, params) = (told["method"].as_str().unwrap_or_default(), &told["params"]);
            assert!(!["Runtime.consoleAPICalled", "Runtime.exceptionThrown"].contains(&method), "{told}");
            assert!(method != "Log.entryAdded" || params["entry"]["level"] != "error", "{told}");
            let url = params["request"]["url"].as_str().filter(|_| method == "Network.requestWillBeSent");
            assert!(url.is_none_or(|url| url.starts_with(own)), "{told}");
        }
    }
}
