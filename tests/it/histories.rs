//! A dozen hand-picked histories through the real client over HTTP: whatever the list does while it is read,
//! every change is told once and nothing is made up (S1, S2, S3, S6). The planner's own tests play thousands.

use std::{collections::BTreeMap, time::Duration};

use callwatch::demo::callem::{Failure, Order};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::rig::{PATIENCE, Rig, analyze, complete, record};

/// A list of calls and what happens to it.
struct History {
    order: Order,
    page_size: u32,
    /// The server gives no more rows than this.
    clamp: Option<usize>,
    /// How many completed calls there are at first; `live` more are live.
    old: usize,
    live: usize,
    /// The history, step by step; a few requests go by between two steps.
    steps: Vec<Step>,
}

type Step = Box<dyn Fn(&mut World<'_>)>;

/// The API and what was done to it.
struct World<'a> {
    rig: &'a Rig,
    /// The last state of every call that was touched; `None` when it was deleted.
    truth: BTreeMap<String, Option<Value>>,
}

impl World<'_> {
    fn add(&mut self, id: &str, status: &str) {
        let mut call = record(id, status);
        call["createdAt"] = "2100-01-01T00:00:00.000Z".into();
        self.rig.callem.add(call.clone());
        self.truth.insert(id.to_owned(), Some(call));
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Value)) {
        assert!(self.rig.callem.update(id, change), "{id} is there");
        let now = serde_json::from_str(&self.rig.callem.record(id).unwrap()).unwrap();
        self.truth.insert(id.to_owned(), Some(now));
    }

    fn delete(&mut self, id: &str) {
        assert!(self.rig.callem.delete(id), "{id} is there");
        self.truth.insert(id.to_owned(), None);
    }
}

fn old(number: usize) -> String {
    format!("old{number:03}")
}

impl History {
    fn new(order: Order) -> Self {
        Self { order, page_size: 20, clamp: None, old: 60, live: 0, steps: vec![] }
    }

    fn then(mut self, step: impl Fn(&mut World<'_>) + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    async fn play(self) {
        let rig = Rig::new().await;
        rig.callem.set_order(self.order);
        rig.callem.clamp_limit(self.clamp);
        for number in 0..self.old {
            let mut call = record(&old(number), "completed");
            call["createdAt"] =
                format!("2025-12-{:02}T{:02}:00:00.000Z", 1 + number / 24, number % 24).into();
            analyze(&mut call, "neutral", false);
            rig.callem.add(call);
        }
        for number in 0..self.live {
            rig.callem.add(record(&format!("live{number}"), "live"));
        }
        let text = rig
            .config_text()
            .replace(
                r#"on = ["ended", "analyzed"]"#,
                r#"on = ["started", "ended", "analyzed", "updated", "deleted"]"#,
            )
            .replace(
                "sweep = \"2s\"",
                &format!("sweep = \"1s\"\ndeletions_believed_after = \"2s\"\npage_size = {}", self.page_size),
            );
        let mut running = rig.start_with(rig.parse(&text)).await;
        running.baseline().await;
        let mut world = World { rig: &rig, truth: BTreeMap::new() };
        for step in &self.steps {
            let so_far = rig.callem.request_counts().total();
            timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= so_far + 2))
                .await
                .unwrap();
            step(&mut world);
        }
        let truth = world.truth;
        let told = async {
            while !truth.iter().all(|(id, state)| is_told(&rig, id, state.as_ref())) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, told).await.is_err() {
            let missing: Vec<_> = truth
                .iter()
                .filter(|(id, state)| !is_told(&rig, id, state.as_ref()))
                .map(|(id, _)| id)
                .collect();
            panic!("never told: {missing:?}");
        }
        // Two more sweeps: whatever might be made up has had its chance.
        sleep(Duration::from_millis(2500)).await;
        running.stop().await;
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for webhook in rig.webhooks().into_iter().filter(|webhook| webhook.rule == "call-completed") {
            assert!(
                truth.contains_key(&webhook.call),
                "made up: {} of {}",
                webhook.kinds.join("+"),
                webhook.call
            );
            let what = format!("{} {}", webhook.kinds.join("+"), webhook.body["data"]["call"]);
            *seen.entry((webhook.call, what)).or_default() += 1;
        }
        assert!(seen.values().all(|times| *times == 1), "told twice: {seen:?}");
    }
}

/// Whether the last that was told of a call is its last state.
fn is_told(rig: &Rig, id: &str, state: Option<&Value>) -> bool {
    let last = rig
        .webhooks()
        .into_iter()
        .filter(|w| w.rule == "call-completed" && w.call == id)
        .max_by_key(|w| w.sequence);
    match (last, state) {
        (Some(last), Some(state)) => last.body["data"]["call"] == *state,
        (Some(last), None) => last.kinds == ["deleted"],
        (None, _) => false,
    }
}

/// A call starts, ends and is analyzed, far apart enough to be seen each time, between old ones.
fn life(history: History) -> History {
    history
        .then(|world| world.add("a", "live"))
        .then(|world| world.change("a", complete))
        .then(|world| world.change("a", |call| analyze(call, "negative", true)))
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_first() {
    life(History::new(Order::NewestFirst)).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oldest_first() {
    life(History::new(Order::OldestFirst)).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_update() {
    life(History::new(Order::ByUpdate)).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_once() {
    life(History::new(Order::Shuffled { every_request: false })).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_on_every_request() {
    life(History { old: 30, ..History::new(Order::Shuffled { every_request: true }) }).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gives_fewer_rows_than_asked_for() {
    life(History { clamp: Some(7), ..History::new(Order::NewestFirst) }).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_more_new_calls_than_a_page_holds() {
    let history = History { page_size: 5, ..History::new(Order::NewestFirst) };
    history.then(|world| (0..40).for_each(|n| world.add(&format!("burst{n}"), "completed"))).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_calls_far_from_the_head_end() {
    let history = History { live: 3, ..History::new(Order::NewestFirst) };
    let history = history.then(|world| (0..70).for_each(|n| world.add(&format!("new{n}"), "completed")));
    history.then(|world| (0..3).for_each(|n| world.change(&format!("live{n}"), complete))).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_while_new_calls_come_in() {
    let mut history = History { page_size: 10, ..History::new(Order::NewestFirst) };
    for n in 0..8 {
        history = history.then(move |world| {
            world.delete(&old(59 - n));
            world.add(&format!("new{n}"), "live");
            world.delete(&old(n));
        });
    }
    history.play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_edits_deep_in_the_list() {
    let history = History::new(Order::NewestFirst);
    let history = history.then(|world| world.change(&old(3), |call| call["summary"] = "An edit.".into()));
    history.then(|world| world.change(&old(30), |call| analyze(call, "positive", true))).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_deleted_and_comes_back() {
    let history = History::new(Order::OldestFirst).then(|world| world.delete(&old(10)));
    let mut history = history;
    // Long enough for the deletion to be noticed.
    for _ in 0..25 {
        history = history.then(|_| {});
    }
    history.then(|world| world.add(&old(10), "completed")).play().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_the_middle_of_everything() {
    let failing = |failure: Failure| move |world: &mut World<'_>| world.rig.callem.fail_next(1, failure);
    let history = History { page_size: 10, ..History::new(Order::NewestFirst) };
    let history = history.then(failing(Failure::Status(503))).then(|world| world.add("a", "live"));
    let history = history.then(failing(Failure::HalfBody)).then(|world| world.change("a", complete));
    let history = history.then(failing(Failure::Html)).then(|world| world.delete(&old(5)));
    let history = history.then(failing(Failure::WrongShape)).then(|world| world.add("b", "completed"));
    history
        .then(failing(Failure::Status(404)))
        .then(|world| world.change("a", |call| analyze(call, "negative", true)))
        .play()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_project_that_fills() {
    life(History { old: 0, ..History::new(Order::NewestFirst) }).play().await;
}
