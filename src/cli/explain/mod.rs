//! `callwatch explain`: what is known of a call, what each rule made of it and why, and what became of each
//! delivery. Works on the store of a stopped service, and changes nothing in it.

mod standing;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;

use self::standing::Standing;
use super::{
    check, deliveries, print, quoted,
    stopped::{self, NotOpen},
};
use crate::{
    batch::BatchKey,
    call::CallId,
    config_file::Config,
    delivery::Sorter,
    event::EventId,
    name::Name,
    rule::{self, Rule, RuleSet, fire::Candidate},
    snapshot::Snapshot,
    store::{DeliveryFilter, DeliveryId, DeliveryRecord, DeliveryState, SledStore, Store, StoreError},
    style::Style,
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

/// How many deliveries are read at a time.
const PAGE: usize = 500;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The config file
    #[arg(short, long, value_name = "FILE", env = "CALLWATCH_CONFIG")]
    config: PathBuf,
    /// The call, by the API's id
    #[arg(value_name = "CALL_ID")]
    call: String,
    /// Of this source; needed only when several know a call of this id
    #[arg(long, value_name = "NAME")]
    source: Option<Name>,
    /// Print an object {call, source, known, rules, other_deliveries}
    #[arg(long)]
    json: bool,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    NotOpen(#[from] NotOpen),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no source `{name}`; there is {known}")]
    NoSource { name: Name, known: String },
    #[error("no call {call} is known of {sources}: callwatch has not seen it")]
    NoCall { call: CallId, sources: String },
    #[error("call {call} is known of {sources}; say which is meant with --source")]
    Ambiguous { call: CallId, sources: String },
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// All that is known of a call.
struct Explained {
    now: Timestamp,
    call: CallId,
    source: Name,
    snapshot: Snapshot,
    rules: Vec<Explanation>,
    /// Deliveries of rules that are no longer in the config.
    others: Vec<DeliveryRecord>,
    /// What became of the events that told others.
    told_by: BTreeMap<DeliveryId, DeliveryRecord>,
    /// When batches go out; `None` when more has to come in first.
    batches: BTreeMap<(Name, BatchKey), Option<Timestamp>>,
    view: deliveries::View,
}

/// What a rule made of the call.
struct Explanation {
    rule: Rule,
    standing: Standing,
    condition: Option<rule::condition::Explanation>,
    /// Oldest first.
    deliveries: Vec<DeliveryRecord>,
}

/// Explains: 0, or 1 with a message on stderr; 78 for a bad config.
pub async fn explain(args: ExplainArgs) -> ExitCode {
    let config = match check::load_without_secrets(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match run(&args, &config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("callwatch: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &ExplainArgs, config: &Config) -> Result<(), Failure> {
    let store = Arc::new(stopped::open(config).await?);
    let explained = find(args, config, &store).await;
    let closed = store.close().await;
    let explained = explained?;
    closed?;
    let text = if args.json { explained.json() } else { explained.text(Style::of(&io::stdout())) };
    Ok(print(&text)?)
}

async fn find(args: &ExplainArgs, config: &Config, store: &Arc<SledStore>) -> Result<Explained, Failure> {
    let now = Clock::system().wall();
    let call = CallId::from(args.call.as_str());
    let (source, snapshot) = find_call(args, config, store, &call).await?;
    let mut records = deliveries_of(store, &source, &call).await?;
    let mut told_by = BTreeMap::new();
    let mut waiting = BTreeSet::new();
    for record in &records {
        match &record.state {
            DeliveryState::Merged { into, .. } => {
                let id = DeliveryId { event: into.clone(), destination: record.id.destination.clone() };
                if let Some(teller) = delivery(store, &id).await? {
                    told_by.insert(id, teller);
                }
            }
            DeliveryState::Held { batch } => {
                waiting.insert((record.id.destination.clone(), batch.clone()));
            }
            _ => {}
        }
    }
    let batches = due(config, store, waiting).await?;
    let candidate = Candidate::again(&source, snapshot.kinds_now(), &snapshot, now);
    let rules = config
        .rules
        .iter()
        .map(|rule| {
            let of_rule = records.extract_if(.., |record| record.rule == rule.name).collect::<Vec<_>>();
            let standing = Standing::of(rule, &source, &snapshot, &of_rule);
            let condition = standing.is_concerned().then(|| candidate.explain(rule)).flatten();
            Explanation { rule: rule.clone(), standing, condition, deliveries: of_rule }
        })
        .collect();
    drop(candidate);
    let view = deliveries::view(store, config, now).await?;
    Ok(Explained { now, call, source, snapshot, rules, others: records, told_by, batches, view })
}

/// The call as it is remembered, and the source that knows it.
async fn find_call(
    args: &ExplainArgs,
    config: &Config,
    store: &SledStore,
    call: &CallId,
) -> Result<(Name, Snapshot), Failure> {
    let is_asked = |name: &&Name| args.source.as_ref().is_none_or(|asked| asked == *name);
    let all: Vec<_> = config.sources.iter().map(|source| &source.name).collect();
    let asked: Vec<_> = all.iter().copied().filter(is_asked).collect();
    if let Some(name) = args.source.as_ref().filter(|_| asked.is_empty()) {
        return Err(Failure::NoSource { name: name.clone(), known: quoted(all) });
    }
    let mut found = vec![];
    for source in &asked {
        let snapshots = store.snapshots(source, std::slice::from_ref(call)).await?;
        found.extend(snapshots.into_iter().flatten().map(|snapshot| (*source, snapshot)));
    }
    match found.len() {
        0 => Err(Failure::NoCall { call: call.clone(), sources: quoted(asked) }),
        1 => Ok(found.remove(0)).map(|(source, snapshot)| (source.clone(), snapshot)),
        _ => {
            let sources = quoted(found.iter().map(|(source, _)| *source));
            Err(Failure::Ambiguous { call: call.clone(), sources })
        }
    }
}

/// The deliveries about a call, oldest first.
async fn deliveries_of(
    store: &SledStore,
    source: &Name,
    call: &CallId,
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let filter = DeliveryFilter { call: Some(call.clone()), ..DeliveryFilter::default() };
    let mut all: Vec<DeliveryRecord> = vec![];
    let mut after: Option<DeliveryId> = None;
    loop {
        let page = store.deliveries(&filter, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        all.extend(page.into_iter().filter(|record| record.subject.source() == Some(source)));
    }
    all.sort_by(|a, b| (a.created, a.sequence, &a.id).cmp(&(b.created, b.sequence, &b.id)));
    Ok(all)
}

/// One delivery, if it is still kept.
async fn delivery(store: &SledStore, id: &DeliveryId) -> Result<Option<DeliveryRecord>, StoreError> {
    // No destination has an empty name, so all of the event's come after this.
    let before = DeliveryId { event: EventId::clone(&id.event), destination: "".into() };
    let page = store.deliveries(&DeliveryFilter::default(), Some(&before), PAGE).await?;
    Ok(page.into_iter().take_while(|record| record.id.event == id.event).find(|record| record.id == *id))
}

/// When what waits in these batches goes out.
async fn due(
    config: &Config,
    store: &Arc<SledStore>,
    waiting: BTreeSet<(Name, BatchKey)>,
) -> Result<BTreeMap<(Name, BatchKey), Option<Timestamp>>, StoreError> {
    let mut due = BTreeMap::new();
    for destination in &config.destinations {
        let of_it: Vec<_> = waiting.iter().filter(|(name, _)| *name == destination.name).collect();
        if of_it.is_empty() {
            continue;
        }
        let sorter = Sorter::load(
            destination.name.clone(),
            RuleSet::of(&config.rules),
            destination.quiet.clone(),
            Arc::clone(store) as Arc<dyn Store>,
            Telemetry::default(),
        );
        let sorter = sorter.await?;
        due.extend(of_it.into_iter().map(|key| (key.clone(), sorter.goes_out(&key.1))));
    }
    Ok(due)
}
