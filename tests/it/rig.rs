//! A simulated API, local receivers and a store in a temporary folder: everything callwatch needs around it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use callwatch::{
    config::LoadOptions,
    config_file::Config,
    demo::{
        callem::SimulatedCallem,
        receivers::{Arrival, DEMO_SECRET, Message, SlackReceiver, SmtpReceiver, WebhookReceiver},
        sighting::Sighting,
    },
    store::{SledStore, Store, Tally},
    supervisor::{Handle, RunError, Supervisor},
    telemetry::{Signal, Telemetry},
    time::Clock,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Longer than anything waited for takes on a machine that is busy with the other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An address of this machine on which nobody listens. Its port lies below those that the system hands out to whoever asks for
/// any, and no test gets it again soon, so that nobody takes it while it is closed.
pub fn free_address() -> SocketAddr {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 12_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Waits until connections to an address are refused.
pub async fn closed(address: SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("nobody listens there any more");
}

pub struct Rig {
    pub callem: SimulatedCallem,
    pub crm: WebhookReceiver,
    pub frontdesk: SlackReceiver,
    pub manager: SmtpReceiver,
    pub dir: tempfile::TempDir,
}

/// The pipeline at work.
pub struct Running {
    pub telemetry: Telemetry,
    pub store: Arc<SledStore>,
    /// Puts other configs to work.
    pub handle: Handle,
    signals: mpsc::UnboundedReceiver<Arc<Signal>>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Rig {
    pub async fn new() -> Self {
        let callem = SimulatedCallem::start().await.unwrap();
        callem.set_rate_limit(None);
        Self {
            callem,
            crm: WebhookReceiver::start([DEMO_SECRET]).await.unwrap(),
            frontdesk: SlackReceiver::start().await.unwrap(),
            manager: SmtpReceiver::start().await.unwrap(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn store_path(&self) -> PathBuf {
        self.dir.path().join("callwatch.db")
    }

    /// The three rules of the example config, for the receivers of this rig.
    pub fn config_text(&self) -> String {
        let (crm, frontdesk, smtp) = (self.crm.url(), self.frontdesk.url(), self.manager.addr());
        format!(
            r#"
            [store]
            path = "callwatch.db"

            [delivery]
            shutdown_grace = "5s"

            [sources.clinic]
            api_key = "ck_live_{key}"
            base_url = "{base}"
            interval = "100ms"
            sweep = "2s"
            requests_per_minute = 6000

            [destinations.crm]
            type = "webhook"
            url = "{crm}"
            secret = "{DEMO_SECRET}"
            retry = ["100ms", "200ms", "500ms", "1s", "1s", "1s", "1s", "1s", "1s"]

            [destinations.frontdesk]
            type = "slack"
            webhook_url = "{frontdesk}"
            rate = "100/s"
            retry = ["100ms", "200ms", "500ms", "1s", "1s", "1s", "1s", "1s", "1s"]

            [destinations.manager]
            type = "email"
            smtp = "smtp+insecure://{smtp}"
            from = "Callwatch <alerts@example.com>"
            to = ["manager@example.com"]
            retry = ["100ms", "200ms", "500ms", "1s", "1s", "1s", "1s", "1s", "1s"]

            [rules.call-completed]
            on = ["ended", "analyzed"]
            to = ["crm"]

            [rules.unhappy-caller]
            when = 'call.callAnalysis.sentiment == "negative"'
            title = "Unhappy caller {{{{ call.callerNumber }}}}"
            to = ["frontdesk", "manager"]

            [rules.booked]
            when = 'call.callAnalysis.appointmentBooked'
            to = ["crm", "frontdesk"]
            "#,
            key = "0".repeat(60),
            base = self.callem.base_url(),
        )
    }

    /// Writes a config file for the real binary.
    pub fn write_config(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn config(&self) -> Config {
        self.parse(&self.config_text())
    }

    pub fn parse(&self, text: &str) -> Config {
        let path = self.dir.path().join("config.toml");
        match Config::parse(text, &path, LoadOptions::default()) {
            Ok(loaded) => loaded.config,
            Err(report) => panic!("{report:?}"),
        }
    }

    pub async fn start(&self) -> Running {
        self.start_with(self.config()).await
    }

    pub async fn start_with(&self, config: Config) -> Running {
        let store = Arc::new(SledStore::open(&config.store).await.unwrap());
        let clock = Clock::system();
        let (sender, signals) = mpsc::unbounded_channel();
        let telemetry =
            Telemetry::with_listener(clock, move |signal| drop(sender.send(Arc::new(signal.clone()))));
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(store.clone(), telemetry.clone(), clock);
        let handle = supervisor.handle();
        let task = tokio::spawn(supervisor.run(config, stop.clone()));
        Running { telemetry, store, handle, signals, stop, task }
    }

    /// The webhooks that arrived, as (rule, call, kinds, id).
    pub fn webhooks(&self) -> Vec<Webhook> {
        self.crm.inbox().arrivals().iter().map(|arrival| Webhook::of(arrival)).collect()
    }

    pub fn slack_texts(&self) -> Vec<String> {
        let text = |arrival: &Arc<Arrival>| match &arrival.message {
            Message::Slack(message) => {
                message["text"].as_str().unwrap_or_default().lines().next().unwrap_or_default().to_owned()
            }
            other => panic!("{}", matches!(other, Message::Mail(_))),
        };
        self.frontdesk.inbox().arrivals().iter().map(text).collect()
    }

    /// The first line of each mail, which is its title. The subject is that of all mails about a call.
    pub fn mail_titles(&self) -> Vec<String> {
        self.manager.inbox().arrivals().iter().map(|arrival| Sighting::of(arrival).headline).collect()
    }
}

/// A webhook that arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    pub id: String,
    pub verified: bool,
    pub rule: String,
    pub call: String,
    pub kinds: Vec<String>,
    pub sequence: u64,
    pub body: Value,
}

impl Webhook {
    pub fn of(arrival: &Arrival) -> Self {
        let Message::Webhook { body, verified, .. } = &arrival.message else {
            panic!("only webhooks arrive here")
        };
        let body: Value = serde_json::from_slice(body).unwrap();
        let data = &body["data"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            id: arrival.id.clone(),
            verified: *verified,
            rule: text(&data["rule"]),
            call: text(&data["call"]["id"]),
            kinds: data["kinds"].as_array().unwrap().iter().map(text).collect(),
            sequence: data["sequence"].as_u64().unwrap(),
            body,
        }
    }
}

impl Running {
    /// Waits for a signal that came since the start or since the last one that was waited for.
    pub async fn wait_for(&mut self, what: &str, mut is_it: impl FnMut(&Signal) -> bool) -> Arc<Signal> {
        let waiting = async {
            loop {
                let signal = self.signals.recv().await.expect("the pipeline lives");
                if is_it(&signal) {
                    return signal;
                }
            }
        };
        tokio::select! {
            signal = timeout(PATIENCE, waiting) => signal.unwrap_or_else(|_| {
                panic!("waited in vain for {what}; so far: {:?}", self.telemetry.counts())
            }),
            ended = &mut self.task => panic!("the pipeline ended while waiting for {what}: {ended:?}"),
        }
    }

    pub async fn baseline(&mut self) -> (u64, u64) {
        let signal = self.wait_for("the baseline", |s| matches!(s, Signal::BaselineDone { .. })).await;
        let Signal::BaselineDone { calls, events, .. } = *signal else { unreachable!("just matched") };
        (calls, events)
    }

    /// Waits until another `n` requests were answered without a new call or a change: with two, everything has been
    /// seen, because the first may have been under way.
    pub async fn quiet_polls(&mut self, n: usize) {
        // Earlier answers say nothing about what has changed since.
        while self.signals.try_recv().is_ok() {}
        let mut quiet = 0;
        self.wait_for("quiet polls", |signal| {
            match signal {
                Signal::Fetched { new: 0, changed: 0, .. } => quiet += 1,
                Signal::Fetched { .. } => quiet = 0,
                _ => {}
            }
            quiet >= n
        })
        .await;
    }

    /// Waits until every delivery of these destinations is finished.
    pub async fn settled(&self) -> Tally {
        let settled = async {
            loop {
                let tally = self.store.destinations().await.unwrap().into_values().fold(
                    Tally::default(),
                    |sum, it| {
                        let tally = it.tally;
                        Tally {
                            pending: sum.pending + tally.pending,
                            held: sum.held + tally.held,
                            merged: sum.merged + tally.merged,
                            delivered: sum.delivered + tally.delivered,
                            dead: sum.dead + tally.dead,
                        }
                    },
                );
                if tally.unfinished() == 0 {
                    return tally;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, settled).await.expect("deliveries settle")
    }

    /// Stops in good order.
    pub async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("it stops").expect("it does not panic").expect("no error");
    }

    pub fn count(&self, name: &str) -> u64 {
        self.telemetry.counts().iter().filter(|((n, _), _)| *n == name).map(|(_, count)| count).sum()
    }
}

/// A call as the API documents it. It was created long ago, so that a baseline does not announce it, and is updated later
/// than any of the tests begins, so that after one it is no call that the baseline should have shown.
pub fn record(id: &str, status: &str) -> Value {
    json!({
        "id": id, "status": status, "duration": 0, "summary": null, "evaluation": null, "endedReason": null,
        "callerNumber": "+33612345678", "calledNumber": "+33198765432", "isEngaged": true, "callAnalysis": null,
        "transcript": [{"role": "assistant", "content": "Hello."}],
        "createdAt": "2025-12-15T14:30:00.000Z", "updatedAt": "2125-12-15T14:30:00.000Z",
    })
}

/// The call is over.
pub fn complete(call: &mut Value) {
    call["status"] = "completed".into();
    call["duration"] = 145.into();
    call["summary"] = "The caller asked for <an appointment> & was told to wait.".into();
    call["updatedAt"] = "2125-12-15T14:32:25.000Z".into();
}

/// The call is analyzed.
pub fn analyze(call: &mut Value, sentiment: &str, booked: bool) {
    call["callAnalysis"] = json!({"sentiment": sentiment, "leadQuality": "hot", "appointmentBooked": booked});
    call["updatedAt"] = "2125-12-15T14:33:00.000Z".into();
}
