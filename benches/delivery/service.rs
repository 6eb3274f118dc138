//! The half of the service that delivers: a store with deliveries in it, and a dispatcher for every destination.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use callwatch::{
    config::{LoadOptions, StoreConfig},
    config_file::Config,
    delivery::{self, DestinationTask},
    demo::receivers::DEMO_SECRET,
    destination, http,
    name::Name,
    rule::RuleSet,
    store::{Claim, Duty, SledStore, Store, StoreError},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{observed, timed::Timed};

/// The argument that makes this program fill a store.
pub const FILL: &str = "--fill";

/// A config of signed webhooks, with these names and addresses.
pub fn config_text(destinations: &[(Name, String)], concurrency: usize) -> String {
    let mut text = format!(
        "[store]\npath = \"db\"\n[sources.clinic]\napi_key = \"ck_live_{}\"\nbase_url = \"http://127.0.0.1:9\"\n",
        "0".repeat(60)
    );
    for (name, url) in destinations {
        text.push_str(&format!(
            "[destinations.{name}]\ntype = \"webhook\"\nurl = \"{url}\"\nsecret = \"{DEMO_SECRET}\"\n\
             concurrency = {concurrency}\n"
        ));
    }
    let names: Vec<_> = destinations.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    text.push_str(&format!("[rules.call-completed]\non = [\"ended\"]\nto = [{}]\n", names.join(", ")));
    text
}

/// `crm0`, `crm1`, …, all at `url`.
pub fn destinations(count: usize, url: &str) -> Vec<(Name, String)> {
    (0..count).map(|number| (Name::from(format!("crm{number}")), url.to_owned())).collect()
}

pub fn store_config(folder: &Path) -> StoreConfig {
    StoreConfig {
        path: folder.join("db"),
        database: None,
        retain: Duration::from_secs(86_400),
        cache: 64_000_000,
    }
}

/// Puts calls numbered from `from` into the store, each with a delivery to each destination. It runs in a process of
/// its own, so that it leaves no trace in the memory of this one.
pub fn fill(folder: &Path, from: usize, calls: usize, bytes: usize, names: &[Name]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(FILL).arg(folder).args([from, calls, bytes].map(|number| number.to_string()));
    let status = command.args(names.iter().map(Name::as_str)).status().unwrap();
    assert!(status.success());
}

/// Runs in the process that [`fill`] starts.
pub async fn fill_here(args: &[String]) {
    let folder = PathBuf::from(&args[0]);
    let [from, calls, bytes] = [1, 2, 3].map(|n| args[n].parse::<usize>().unwrap());
    let names: Vec<Name> = args[4..].iter().map(|name| Name::from(name.as_str())).collect();
    let store = Arc::new(SledStore::open(&store_config(&folder)).await.unwrap());
    let claim = source_claim(&*store).await;
    // Long ago, so that all are due at once. Several commits at a time share a sync.
    let now = Timestamp::from_millis(1_765_809_145_000);
    let step = (200 / names.len()).clamp(1, 1 + 400_000 / bytes);
    let mut commits = JoinSet::new();
    for first in (from..from + calls).step_by(step) {
        if commits.len() == 16 {
            commits.join_next().await.unwrap().unwrap();
        }
        let commit = observed::commit(first, step.min(from + calls - first), bytes, &names, now);
        let (store, claim) = (Arc::clone(&store), claim.clone());
        commits.spawn(async move { store.commit(&claim, commit).await.unwrap() });
    }
    commits.join_all().await;
    store.close().await.unwrap();
}

/// The claim that commits carry.
pub async fn source_claim(store: &dyn Store) -> Claim {
    store.claim(&Duty::Source("clinic".into())).await.unwrap().unwrap()
}

/// Running dispatchers.
pub struct Service {
    pub store: Arc<Timed>,
    telemetry: Telemetry,
    tasks: JoinSet<Result<(), StoreError>>,
    stop: CancellationToken,
}

impl Service {
    pub async fn open(folder: &Path) -> Self {
        let store = SledStore::open(&store_config(folder)).await.unwrap();
        Self {
            store: Arc::new(Timed::new(store)),
            telemetry: Telemetry::default(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Starts the dispatchers of these destinations.
    pub fn serve(&mut self, destinations: &[(Name, String)], concurrency: usize) {
        let text = config_text(destinations, concurrency);
        let config = Config::parse(&text, Path::new("config.toml"), LoadOptions::default()).unwrap().config;
        let http = http::client().unwrap();
        for destination in &config.destinations {
            let task = DestinationTask {
                config: destination.clone(),
                destination: destination::build(destination, &http, &self.telemetry).unwrap(),
                rules: watch::channel(RuleSet::of(&config.rules)).1,
                store: Arc::clone(&self.store) as Arc<dyn Store>,
                telemetry: self.telemetry.clone(),
                clock: Clock::system(),
                grace: Duration::ZERO,
            };
            self.tasks.spawn(delivery::run(task, self.stop.clone()));
        }
    }

    /// How many deliveries to these destinations callwatch has counted as delivered.
    pub fn delivered(&self, destinations: &[(Name, String)]) -> usize {
        let counts = self.telemetry.counts();
        let count = |(name, _): &(Name, String)| counts.get(&("delivered", name.to_string()));
        destinations.iter().filter_map(count).sum::<u64>() as usize
    }

    /// Waits until this many have been delivered.
    pub async fn until_delivered(&self, destinations: &[(Name, String)], wanted: usize) {
        while self.delivered(destinations) < wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
        self.store.close().await.unwrap();
    }
}
