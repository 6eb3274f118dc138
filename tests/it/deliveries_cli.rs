//! `callwatch deliveries` as an operator meets it: the store of a stopped service.

use std::{path::PathBuf, process::Stdio, time::Duration};

use callwatch::{
    call::CallId,
    change::Changes,
    config::StoreConfig,
    event::{Event, EventId, Subject},
    kind::Kind,
    store::{
        Attempt, Commit, DeliveryFilter, Duty, Hold, Merge, NewDelivery, NewEvent, Outcome, Query,
        Settlement, SledStore, Store, Token, Verdict,
    },
    time::Timestamp,
};
use serde_json::{Value, value::RawValue};
use tokio::process::Command;

const CONFIG: &str = r#"
    [store]
    path = "callwatch.db"

    [sources.clinic]
    api_key = { env = "CALLWATCH_TEST_NOT_SET" }

    [destinations.crm]
    type = "webhook"
    url = "https://crm.example.com/hooks/0123456789abcdef"
    secret = { env = "CALLWATCH_TEST_NOT_SET" }

    [destinations.frontdesk]
    type = "slack"
    webhook_url = { env = "CALLWATCH_TEST_NOT_SET" }

    [rules.call-completed]
    on = ["ended"]
    to = ["crm", "frontdesk"]
"#;

/// A finished run of the command.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    #[track_caller]
    fn fine(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{}", self.err);
        self.err
    }
}

/// A folder with a config and, once it has run, a store.
struct Stopped {
    folder: tempfile::TempDir,
}

impl Stopped {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
        Self { folder }
    }

    /// With a delivery that arrived (`evt_a`), one that is dead (`evt_d`), one that waits for its next try (`evt_p`)
    /// and one for a destination that is no longer in the config (`evt_o`).
    async fn with_deliveries() -> Self {
        let stopped = Self::new();
        let store = stopped.store().await;
        let all = [("evt_a", "crm"), ("evt_d", "crm"), ("evt_p", "crm"), ("evt_o", "old-crm")];
        for (minute, (event, destination)) in all.into_iter().enumerate() {
            commit(&store, new_event(event, destination, minute as u64)).await;
        }
        let next = now().after(Duration::from_secs(365 * 24 * 3600));
        let dead = "gave up after 2 attempts over 5m; last: 500 Internal Server Error";
        for (event, number, result, verdict) in [
            ("evt_a", 1, "200 OK", Verdict::Delivered),
            ("evt_d", 1, "503 Service Unavailable", Verdict::Retry(now())),
            ("evt_p", 1, "timed out after 15s", Verdict::Retry(next)),
            ("evt_d", 2, "500 Internal Server Error", Verdict::Dead(dead.to_owned())),
        ] {
            let attempt = Attempt {
                at: now(),
                took_ms: 120,
                result: result.to_owned(),
                response: "no room for +33612345678: Hello, thank you".to_owned(),
            };
            let outcome = Outcome { token: token(&store, event).await, number, attempt, verdict };
            settle(&store, "crm", Settlement { outcomes: vec![outcome], ..Settlement::new(now()) }).await;
        }
        store.close().await.unwrap();
        stopped
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn store(&self) -> SledStore {
        let path = self.path("callwatch.db");
        SledStore::open(&StoreConfig {
            path,
            database: None,
            retain: Duration::from_secs(86_400),
            cache: 8 << 20,
        })
        .await
        .unwrap()
    }

    async fn run(&self, args: &[&str]) -> Done {
        self.command("deliveries", args).await
    }

    async fn replay(&self, args: &[&str]) -> Done {
        self.command("replay", args).await
    }

    async fn command(&self, command: &str, args: &[&str]) -> Done {
        let output = Command::new(env!("CARGO_BIN_EXE_callwatch"))
            .arg(command)
            .args(args)
            .arg("--config")
            .arg(self.path("config.toml"))
            .env_remove("STATE_DIRECTORY")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    async fn json(&self, args: &[&str]) -> Vec<Value> {
        let out = self.run(&[args, &["--json"]].concat()).await.fine();
        assert!(!out.contains("+33612345678"), "{out}");
        serde_json::from_str(&out).unwrap()
    }

    /// The state of an event's only delivery.
    async fn state(&self, event: &str) -> String {
        let all = self.json(&["show", event]).await;
        all[0]["state"].as_str().unwrap().to_owned()
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}

/// A moment this many minutes after three hours ago.
fn minute(minute: u64) -> Timestamp {
    now().before(Duration::from_secs(3 * 3600)).after(Duration::from_secs(60 * minute))
}

/// An event about a call of its own, with one delivery, both made at [`minute`].
fn new_event(event: &str, destination: &str, made: u64) -> NewEvent {
    let record = r#"{"callerNumber": "+33612345678", "transcript": [{"content": "Hello, thank you"}]}"#;
    let event = Event {
        id: EventId::from(event),
        subject: Subject::Call {
            source: "clinic".into(),
            call: CallId::from(format!("call-of-{event}").as_str()),
        },
        rule: "call-completed".into(),
        also: vec![],
        kinds: Kind::Ended.into(),
        changes: Changes::default(),
        at: minute(made),
        record: RawValue::from_string(record.to_owned()).unwrap().into(),
    };
    let delivery =
        NewDelivery { destination: destination.into(), sequence: 1, created: minute(made), hold: None };
    NewEvent { event, deliveries: vec![delivery] }
}

async fn commit(store: &SledStore, event: NewEvent) {
    let claim = store.claim(&Duty::Source("clinic".into())).await.unwrap().unwrap();
    store.commit(&claim, Commit { events: vec![event], ..Commit::default() }).await.unwrap();
}

async fn settle(store: &SledStore, destination: &str, settlement: Settlement) {
    let claim = store.claim(&Duty::Destination(destination.into())).await.unwrap().unwrap();
    store.settle(&claim, settlement).await.unwrap();
}

/// The only delivery of an event.
async fn token(store: &SledStore, event: &str) -> Token {
    let filter = DeliveryFilter { event: Some(EventId::from(event)), ..DeliveryFilter::default() };
    store.query(&Query { filter, after: None, limit: 1 }).await.unwrap().items[0].token
}

fn events(all: &[Value]) -> Vec<&str> {
    all.iter().map(|it| it["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_list_is_a_table_newest_first_with_what_is_held_back() {
    let stopped = Stopped::with_deliveries().await;
    let out = stopped.run(&["list"]).await.fine();
    let expected = "\
EVENT  TO       STATE      TRIES  AGE  LAST
  RULE  CALLER
evt_o  old-crm  pending    0      2h   not in the config
  call-completed  +3361•••5678
evt_p  crm      pending    1      2h   timed out after 15s
  call-completed  +3361•••5678
evt_d  crm      dead       2      2h   500 Internal Server Error
  call-completed  +3361•••5678
evt_a  crm      delivered  1      3h   200 OK
  call-completed  +3361•••5678
old-crm is not in the config: 1 delivery waits until it is back, or until `callwatch deliveries drop --all --destination old-crm`
";
    assert_eq!(out, expected);
}

#[tokio::test]
async fn a_withheld_number_is_listed_as_such_and_a_number_is_no_id_of_a_call() {
    let stopped = Stopped::new();
    let store = stopped.store().await;
    let mut event = new_event("evt_w", "crm", 0);
    event.event.record = serde_json::from_str(r#"{"id":"a","callerNumber":null}"#).unwrap();
    commit(&store, event).await;
    store.close().await.unwrap();
    let out = stopped.run(&["list"]).await.fine();
    assert!(out.ends_with("\n  call-completed  unknown number\n"), "{out}");
    let hint = "\n--call takes the id of a call; `callwatch explain NUMBER` finds those of a number\n";
    for (call, is_hinted) in [("+33612345678", true), ("06 12 34 56 78", true), ("c999", false)] {
        let out = stopped.run(&["list", "--call", call]).await.fine();
        assert!(out.starts_with("no deliveries\n") && out.ends_with(hint) == is_hinted, "{call}: {out}");
    }
}

#[tokio::test]
async fn a_delivery_that_a_clock_ahead_made_is_not_new() {
    let stopped = Stopped::new();
    let store = stopped.store().await;
    let mut event = new_event("evt_f", "crm", 0);
    // Between two full hours, so that it does not matter how long the test takes.
    event.deliveries[0].created = now().after(Duration::from_secs(2 * 3600 + 1800));
    commit(&store, event).await;
    store.close().await.unwrap();
    let out = stopped.run(&["list"]).await.fine();
    assert!(out.contains("\nevt_f  crm  pending  0      in 2h  not tried yet\n"), "{out}");
}

#[tokio::test]
async fn the_table_fits_a_terminal_whatever_is_in_it() {
    let stopped = Stopped::new();
    let store = stopped.store().await;
    let event = EventId::compute(&"clinic".into(), "call", &"rule".into(), b"state", 0);
    let destination = "a-destination-with-a-name-that-goes-on-and-on-to-sixty-four-char";
    commit(&store, new_event(event.as_str(), destination, 0)).await;
    let attempt =
        Attempt { at: now(), took_ms: 1, result: "long words ".repeat(20), response: String::new() };
    let verdict = Verdict::Dead("long words ".repeat(20));
    let outcome = Outcome { token: token(&store, event.as_str()).await, number: 1, attempt, verdict };
    settle(&store, destination, Settlement { outcomes: vec![outcome], ..Settlement::new(now()) }).await;
    store.close().await.unwrap();
    let out = stopped.run(&["list"]).await.fine();
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.contains(event.as_str()), "an id is never cut: {out}");
    for line in out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[tokio::test]
async fn the_list_is_filtered_and_limited() {
    let stopped = Stopped::with_deliveries().await;
    for (filter, expected) in [
        (&["--destination", "crm"][..], &["evt_p", "evt_d", "evt_a"][..]),
        (&["--state", "pending"], &["evt_o", "evt_p"]),
        (&["--state", "dead", "--destination", "crm"], &["evt_d"]),
        (&["--call", "call-of-evt_a"], &["evt_a"]),
        (&["--call", "call-of-nobody"], &[]),
        (&["--limit", "2"], &["evt_o", "evt_p"]),
        (&["--state", "undelivered"], &["evt_o", "evt_p", "evt_d"]),
        (&["--rule", "call-completed", "--source", "clinic", "--kind", "ended", "--limit", "1"], &["evt_o"]),
        (&["--error", "internal server"], &["evt_d"]),
        (&["--newer-than", "1s"], &[]),
        (&["--older-than", "2h", "--error", "timed out"], &["evt_p"]),
    ] {
        let all = stopped.json(&[&["list"], filter].concat()).await;
        assert_eq!(events(&all), expected, "{filter:?}");
    }
    let out = stopped.run(&["list", "--limit", "1"]).await.fine();
    assert!(out.contains("\nthe newest 1 of 4; --limit shows more\n"), "{out}");
    let err = stopped.run(&["list", "--destination", "cmr"]).await.failed(1);
    assert_eq!(err, "callwatch: there is no destination `cmr`; there is `crm`, `frontdesk`, `old-crm`\n");
    let err = stopped.run(&["list", "--rule", "call-complete"]).await.failed(1);
    assert_eq!(err, "callwatch: there is no rule `call-complete`; there is `call-completed`\n");
}

#[tokio::test]
async fn a_delivery_is_shown_with_its_attempts_and_answers_on_request_only() {
    let stopped = Stopped::with_deliveries().await;
    let out = stopped.run(&["show", "evt_d"]).await.fine();
    for part in [
        "event       evt_d\ndestination crm\nstate       dead since ",
        ": gave up after 2 attempts over 5m; last: 500 Internal Server Error\n",
        "\ncall        call-of-evt_d of clinic, delivery 1 about it\nrule        call-completed\nmade        ",
        " (2h ago)\nattempts    2\n  ",
        "  120 ms  503 Service Unavailable\n  ",
        "  120 ms  500 Internal Server Error\n",
    ] {
        assert!(out.contains(part), "{part} in\n{out}");
    }
    assert!(!out.contains("Hello") && !out.contains("no room"), "{out}");
    let out = stopped.run(&["show", "evt_d", "crm", "--answers"]).await.fine();
    assert!(out.contains("    no room for +3361•••5678: Hello, thank you\n"), "{out}");

    let all = stopped.json(&["show", "evt_d"]).await;
    assert_eq!((&all[0]["state"], &all[0]["attempts"]), (&"dead".into(), &2.into()));
    assert_eq!(all[0]["log"][1]["result"], "500 Internal Server Error");
    assert!(all[0]["log"][1].get("answer").is_none());
    for args in [&["show", "evt_none"][..], &["show", "evt_d", "frontdesk"]] {
        let err = stopped.run(args).await.failed(1);
        assert!(err.starts_with("callwatch: there is no delivery of evt_"), "{err}");
    }
}

#[tokio::test]
async fn dead_deliveries_are_retried_one_by_one_or_all() {
    let stopped = Stopped::with_deliveries().await;
    let out = stopped.run(&["retry", "evt_d", "crm"]).await.fine();
    assert_eq!(out, "1 delivery is due again; callwatch delivers when it runs\n");
    let all = stopped.json(&["show", "evt_d"]).await;
    assert_eq!((&all[0]["state"], &all[0]["attempts"]), (&"pending".into(), &2.into()));
    let err = stopped.run(&["retry", "--all", "--destination", "crm"]).await.failed(1);
    assert_eq!(err, "callwatch: nothing to do: no delivery of it is dead\n");
    let err = stopped.run(&["retry", "evt_a"]).await.failed(1);
    assert_eq!(err, "callwatch: nothing to do: it has arrived\n");
    // One that waits for its next try needs not wait.
    stopped.run(&["retry", "evt_p"]).await.fine();
    assert!(stopped.run(&["show", "evt_p"]).await.fine().contains("pending: due now"));

    let stopped = Stopped::with_deliveries().await;
    stopped.run(&["retry", "--all", "--destination", "crm"]).await.fine();
    assert_eq!(stopped.state("evt_d").await, "pending");
    assert!(stopped.run(&["show", "evt_p"]).await.fine().contains("pending: next try at "));
}

#[tokio::test]
async fn what_has_arrived_is_sent_again_to_where_it_went_or_elsewhere() {
    let stopped = Stopped::with_deliveries().await;
    let resend = ["resend", "--all", "--destination", "crm"];
    let some = |more: &[&'static str]| [&resend[..], more].concat();
    assert_eq!(stopped.run(&some(&["--dry-run"])).await.fine(), "1 delivery would be sent again\n");
    let err = stopped.run(&resend).await.failed(2);
    assert_eq!(
        err,
        "callwatch: what is sent again arrives twice, and nobody can be asked here: add --yes, or --dry-run to count\n"
    );
    assert_eq!(stopped.json(&["show", "evt_a"]).await.len(), 1);
    let out = stopped.run(&["resend", "--yes", "evt_a", "crm"]).await.fine();
    assert_eq!(out, "1 delivery is sent again; callwatch delivers when it runs\n");
    let all = stopped.json(&["show", "evt_a"]).await;
    assert_eq!((&all[0]["state"], &all[1]["state"]), (&"delivered".into(), &"pending".into()));
    for (args, says) in [
        (&["resend", "--yes", "evt_a"][..], "1 waits already, and is not made twice"),
        (&["resend", "--yes", "evt_d"], "it has not arrived; `callwatch deliveries retry` tries again"),
        (&some(&["--yes", "--rule", "nobody"]), "nothing that matches has arrived"),
    ] {
        let err = stopped.run(args).await.failed(1);
        assert_eq!(err, format!("callwatch: nothing to do: {says}\n"), "{args:?}");
    }
    let err = stopped.run(&["resend", "--yes", "evt_none"]).await.failed(1);
    assert!(err.contains("there is no delivery of evt_none any more, if there ever was"), "{err}");

    let out = stopped.replay(&["--to", "frontdesk", "--source", "clinic", "--dry-run"]).await.fine();
    assert_eq!(out, "1 delivery would be sent again to frontdesk\n");
    let out = stopped.replay(&["--to", "frontdesk", "--state", "dead", "--yes"]).await.fine();
    assert_eq!(out, "1 delivery is sent again to frontdesk; callwatch delivers when it runs\n");
    assert_eq!(events(&stopped.json(&["list", "--destination", "frontdesk"]).await), ["evt_d"]);
    let err = stopped.replay(&["--yes", "--to", "frontdesk"]).await.failed(2);
    assert_eq!(err, "callwatch: say what is to be told again, such as --rule NAME --newer-than 7d\n");
    let err = stopped.replay(&["--yes", "--to", "old-crm", "--rule", "call-completed"]).await.failed(1);
    assert_eq!(err, "callwatch: there is no destination `old-crm`; there is `crm`, `frontdesk`\n");
    let err = stopped.replay(&["--yes", "--rule", "call-completed", "--older-than", "1d"]).await.failed(1);
    assert_eq!(err, "callwatch: nothing to do: nothing that matches has arrived\n");
}

#[tokio::test]
async fn what_is_dropped_is_gone() {
    let stopped = Stopped::with_deliveries().await;
    let out = stopped.run(&["drop", "--yes", "--all", "--destination", "old-crm"]).await.fine();
    assert_eq!(out, "1 delivery is dropped\n");
    let all = ["drop", "--all", "--destination", "crm"];
    let some = |more: &[&'static str]| [&all[..], more].concat();
    let out = stopped.run(&some(&["--dry-run", "--state", "dead"])).await.fine();
    assert_eq!(out, "1 delivery would be dropped\n");
    let out = stopped.run(&some(&["--yes", "--error", "no such error"])).await.failed(1);
    assert_eq!(out, "callwatch: nothing to do: nothing matches\n");
    let out = stopped.run(&some(&["--yes"])).await.fine();
    assert_eq!(out, "2 deliveries are dropped\n");
    assert_eq!(events(&stopped.json(&["list"]).await), ["evt_a"], "what has arrived is kept");
    stopped.run(&["drop", "--yes", "evt_a"]).await.fine();
    assert_eq!(stopped.run(&["list"]).await.fine(), "no deliveries\n");
}

const GROUP: &str = "group/booked/000000000000007f";
const DIGEST: &str = "digest/0 8 * * * UTC";

/// Four deliveries to crm: `evt_1` is held, `evt_2` and `evt_3` are told as part of `evt_s`.
async fn with_batches() -> Stopped {
    let stopped = Stopped::new();
    let store = stopped.store().await;
    for (made, event, batch) in [(0, "evt_1", GROUP), (1, "evt_2", DIGEST), (2, "evt_3", DIGEST)] {
        let mut held = new_event(event, "crm", made);
        held.deliveries[0].hold = Some(Hold { batch: batch.parse().unwrap(), happened: minute(made) });
        commit(&store, held).await;
    }
    let subject = Subject::Batch(DIGEST.parse().unwrap());
    let event = Event { subject, ..new_event("evt_s", "crm", 3).event };
    let tokens = vec![token(&store, "evt_2").await, token(&store, "evt_3").await];
    let merge = Some(Merge { tokens, event, sequence: 1 });
    settle(&store, "crm", Settlement { merge, ..Settlement::new(minute(3)) }).await;
    store.close().await.unwrap();
    stopped
}

#[tokio::test]
async fn what_is_held_and_what_was_told_with_others_is_listed_and_shown() {
    let stopped = with_batches().await;
    let out = stopped.run(&["list"]).await.fine();
    let expected = "\
EVENT  TO   STATE    TRIES  AGE  LAST
  RULE  CALLER
evt_s  crm  pending  0      2h   not tried yet
  call-completed
evt_3  crm  merged   0      2h   part of evt_s
  call-completed  +3361•••5678
evt_2  crm  merged   0      2h   part of evt_s
  call-completed  +3361•••5678
evt_1  crm  held     0      3h   in batch group/booked/000000000000007f
  call-completed  +3361•••5678
";
    assert_eq!(out, expected);
    for (state, expected) in [("held", &["evt_1"][..]), ("merged", &["evt_3", "evt_2"])] {
        assert_eq!(events(&stopped.json(&["list", "--state", state]).await), expected);
    }
    let held = stopped.run(&["show", "evt_1"]).await.fine();
    assert!(held.contains("\nstate       held: waits in batch group/booked/000000000000007f\n"), "{held}");
    let merged = stopped.run(&["show", "evt_2"]).await.fine();
    assert!(
        merged.contains("\nstate       merged at ") && merged.contains(": told as part of evt_s\n"),
        "{merged}"
    );
    let summary = stopped.run(&["show", "evt_s"]).await.fine();
    assert!(
        summary.contains("\nstands for  the deliveries that waited in batch digest/0 8 * * * UTC\n"),
        "{summary}"
    );

    let held = stopped.json(&["show", "evt_1"]).await.remove(0);
    assert_eq!((&held["state"], &held["waits_in"]), (&"held".into(), &GROUP.into()));
    assert_eq!((&held["held"], &held["finished"]), (&format!("in batch {GROUP}").into(), &Value::Null));
    let merged = stopped.json(&["show", "evt_2"]).await.remove(0);
    assert_eq!((&merged["state"], &merged["told_by"]), (&"merged".into(), &"evt_s".into()));
    assert!(merged["finished"].is_string() && merged["due"].is_null(), "{merged}");
    let summary = stopped.json(&["show", "evt_s"]).await.remove(0);
    assert_eq!((&summary["state"], &summary["stands_for"]), (&"pending".into(), &DIGEST.into()));
}

#[tokio::test]
async fn what_is_held_can_be_sent_or_dropped_and_what_was_told_with_others_only_dropped() {
    let stopped = with_batches().await;
    let out = stopped.run(&["retry", "evt_1"]).await.fine();
    let expected = "1 delivery is due again; callwatch delivers when it runs\n\
                    1 delivery is no longer held: told alone, not with others\n";
    assert_eq!(out, expected);
    assert_eq!(stopped.state("evt_1").await, "pending");
    let err = stopped.run(&["retry", "evt_2"]).await.failed(1);
    assert_eq!(err, "callwatch: nothing to do: it was told as part of evt_s; retry that\n");
    let out = stopped.run(&["drop", "--yes", "evt_2"]).await.fine();
    assert_eq!(out, "1 delivery is dropped\nevt_s, which told it, is left as it is\n");

    let stopped = with_batches().await;
    let out = stopped.run(&["drop", "--yes", "--all", "--destination", "crm"]).await.fine();
    assert_eq!(out, "2 deliveries are dropped\nwhat was held is left out when its batch goes out\n");
    assert_eq!(events(&stopped.json(&["list"]).await), ["evt_3", "evt_2"], "what was told is kept");
}

#[tokio::test]
async fn a_destination_is_paused_and_resumed() {
    let stopped = Stopped::with_deliveries().await;
    let out = stopped.run(&["pause", "crm"]).await.fine();
    assert_eq!(out, "crm is paused: what is meant for it waits until it is resumed\n");
    let out = stopped.run(&["list"]).await.fine();
    assert!(out.contains("\nevt_p  crm      pending    1      2h   paused\n"), "{out}");
    assert!(
        out.contains(" (paused by hand): 1 delivery waits until `callwatch deliveries resume crm`\n"),
        "{out}"
    );
    assert_eq!(stopped.json(&["show", "evt_p"]).await[0]["held"], "paused");
    let out = stopped.run(&["resume", "crm"]).await.fine();
    assert_eq!(out, "crm is resumed; 1 delivery waits for it\n");
    let out = stopped.run(&["resume", "crm"]).await.fine();
    assert_eq!(out, "crm is not paused; 1 delivery waits for it\n");
    assert!(stopped.run(&["pause", "cmr"]).await.failed(1).contains("there is no destination `cmr`"));
}

#[tokio::test]
async fn without_a_store_or_beside_a_running_service_it_says_so() {
    let stopped = Stopped::new();
    let err = stopped.run(&["list"]).await.failed(1);
    assert!(
        err.starts_with("callwatch: there is no store at ") && !stopped.path("callwatch.db").exists(),
        "{err}"
    );

    let store = stopped.store().await;
    let err = stopped.run(&["list"]).await.failed(1);
    let running =
        format!("callwatch: callwatch is running (process {}) and has the store ", std::process::id());
    assert!(err.starts_with(&running), "{err}");
    store.close().await.unwrap();
    stopped.run(&["list"]).await.fine();

    std::fs::write(stopped.path("config.toml"), "[store]\npaths = 1").unwrap();
    assert!(stopped.run(&["list"]).await.failed(78).contains("paths"));
    for wrong in
        [&[][..], &["retry"], &["retry", "--all"], &["drop", "evt_a", "--all", "--destination", "crm"]]
    {
        stopped.run(wrong).await.failed(2);
    }
}
