//! `callwatch deliveries`: what became of them, and what a person decides about them. Works on the store of a
//! stopped service.

mod args;
mod view;

use std::{collections::BTreeSet, io, process::ExitCode};

pub use self::args::DeliveriesArgs;
use self::args::{Command, ConfigArg, Which};
pub(super) use self::view::{View, brief, in_short};
use super::{
    check, print, quoted,
    stopped::{self, NotOpen},
};
use crate::{
    call::CallId,
    config_file::Config,
    event::EventId,
    name::Name,
    store::{
        DeliveryFilter, DeliveryId, DeliveryRecord, DeliveryState, DeliveryStateKind, Pause, SledStore,
        Store, StoreError, Tally,
    },
    time::{Clock, Timestamp},
};

/// How many deliveries are read, or changed, at a time.
const PAGE: usize = 500;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotOpen(#[from] NotOpen),
    #[error("there is no destination `{name}`{}", .known.as_deref().map(|all| format!("; there is {all}")).unwrap_or_default())]
    NoDestination { name: Name, known: Option<String> },
    #[error("there is no delivery of {0}; `callwatch deliveries list` shows those there are")]
    NoDelivery(String),
    #[error("nothing to do: {0}")]
    Nothing(String),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Does what is asked: 0, or 1 with a message on stderr; 78 for a bad config.
pub async fn deliveries(args: DeliveriesArgs) -> ExitCode {
    let ConfigArg { config } = args.command.config();
    let config = match check::load_without_secrets(config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match run(args.command, config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("callwatch: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, config: Config) -> Result<(), Failure> {
    let desk = Desk { store: stopped::open(&config).await?, config, clock: Clock::system() };
    let done = desk.obey(command).await;
    let closed = desk.store.close().await;
    let text = done?;
    closed?;
    Ok(print(&text)?)
}

/// An open store and what is needed to answer for it.
struct Desk {
    store: SledStore,
    config: Config,
    clock: Clock,
}

impl Desk {
    /// Does it; what there is to print.
    async fn obey(&self, command: Command) -> Result<String, Failure> {
        match command {
            Command::List { destination, state, call, limit, json, .. } => {
                if let Some(destination) = &destination {
                    self.check_destination(destination).await?;
                }
                let call = call.as_deref().map(CallId::from);
                let filter = DeliveryFilter { destination, call, state: state.map(Into::into) };
                let (records, total) = self.newest(&filter, limit).await?;
                let view = self.view().await?;
                Ok(if json { view.json(&records, false) } else { view.table(&records, total) })
            }
            Command::Show { of, answers, json, .. } => {
                let records = self.find(&of.id, of.destination.as_ref()).await?;
                let view = self.view().await?;
                Ok(if json { view.json(&records, answers) } else { view.details(&records, answers) })
            }
            Command::Retry { which, .. } => self.retry(which).await,
            Command::Drop { which, .. } => self.discard(which).await,
            Command::Pause { destination, .. } => {
                self.check_destination(&destination).await?;
                self.store.pause(&destination, Pause::by_hand(self.clock.wall())).await?;
                Ok(format!("{destination} is paused: what is meant for it waits until it is resumed\n"))
            }
            Command::Resume { destination, .. } => {
                self.check_destination(&destination).await?;
                let waiting_for_it =
                    waiting(self.store.tally().await?.get(&destination).map_or(0, Tally::unfinished));
                Ok(match self.store.resume(&destination).await? {
                    Some(_) => format!("{destination} is resumed; {waiting_for_it} for it\n"),
                    None => format!("{destination} is not paused; {waiting_for_it} for it\n"),
                })
            }
        }
    }

    async fn retry(&self, which: Which) -> Result<String, Failure> {
        let picked = self.pick(&which, &[DeliveryStateKind::Dead]).await?;
        let mut due = 0;
        for page in picked.ids.chunks(PAGE) {
            due += self.store.retry(page.to_vec(), self.clock.wall()).await?;
        }
        match (due, picked.told_by) {
            (0, _) if which.all => Err(Failure::Nothing("no delivery of it is dead".to_owned())),
            (0, Some(into)) => Err(Failure::Nothing(format!("it was told as part of {into}; retry that"))),
            (0, None) => Err(Failure::Nothing("it has arrived".to_owned())),
            (due, _) => {
                let mut said = format!("{} due again; callwatch delivers when it runs\n", are(due));
                if picked.held > 0 {
                    said += &format!("{} no longer held: told alone, not with others\n", are(picked.held));
                }
                Ok(said)
            }
        }
    }

    async fn discard(&self, which: Which) -> Result<String, Failure> {
        let not_arrived = [DeliveryStateKind::Pending, DeliveryStateKind::Held, DeliveryStateKind::Dead];
        let picked = self.pick(&which, &not_arrived).await?;
        let mut gone = 0;
        for page in picked.ids.chunks(PAGE) {
            gone += self.store.discard(page.to_vec()).await?;
        }
        if gone == 0 {
            return Err(Failure::Nothing("all of its deliveries have arrived".to_owned()));
        }
        let mut said = format!("{} dropped\n", are(gone));
        if picked.held > 0 {
            said += "what was held is left out when its batch goes out\n";
        }
        if let Some(into) = picked.told_by {
            said += &format!("{into}, which told it, is left as it is\n");
        }
        Ok(said)
    }

    /// The deliveries that are meant: those of an event, or a destination's in one of these states.
    async fn pick(&self, which: &Which, states: &[DeliveryStateKind]) -> Result<Picked, Failure> {
        let mut picked = Picked::default();
        if let Some(id) = &which.id {
            self.find(id, which.only.as_ref()).await?.into_iter().for_each(|record| picked.add(record));
        } else if let Some(destination) = &which.destination {
            self.check_destination(destination).await?;
            for state in states {
                let filter = DeliveryFilter {
                    destination: Some(destination.clone()),
                    call: None,
                    state: Some(*state),
                };
                self.each(&filter, |record| picked.add(record)).await?;
            }
        }
        Ok(picked)
    }

    /// The deliveries of one event, or only the one to `destination`; at least one.
    async fn find(&self, event: &str, destination: Option<&Name>) -> Result<Vec<DeliveryRecord>, Failure> {
        let id = EventId::from(event);
        // No destination has an empty name, so all of the event's come after this.
        let before = DeliveryId { event: id.clone(), destination: "".into() };
        let page = self.store.deliveries(&DeliveryFilter::default(), Some(&before), PAGE).await?;
        let found: Vec<_> = page
            .into_iter()
            .take_while(|record| record.id.event == id)
            .filter(|record| destination.is_none_or(|destination| *destination == record.id.destination))
            .collect();
        if found.is_empty() {
            let to = destination.map(|destination| format!(" to {destination}")).unwrap_or_default();
            return Err(Failure::NoDelivery(format!("{}{to}", event.escape_debug())));
        }
        Ok(found)
    }

    /// The newest of those that match, newest first, and how many there are.
    async fn newest(
        &self,
        filter: &DeliveryFilter,
        limit: usize,
    ) -> Result<(Vec<DeliveryRecord>, usize), Failure> {
        let (mut newest, mut total) = (vec![], 0);
        let sort = |newest: &mut Vec<DeliveryRecord>| {
            newest.sort_by(|a, b| (b.created, b.sequence, &b.id).cmp(&(a.created, a.sequence, &a.id)));
            newest.truncate(limit);
        };
        self.each(filter, |record| {
            total += 1;
            newest.push(record);
            // They come in no order of time; no more are kept than a page beyond what is asked for.
            if newest.len() > limit.saturating_add(PAGE) {
                sort(&mut newest);
            }
        })
        .await?;
        sort(&mut newest);
        Ok((newest, total))
    }

    /// Goes over all that match.
    async fn each(
        &self,
        filter: &DeliveryFilter,
        mut look: impl FnMut(DeliveryRecord),
    ) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = self.store.deliveries(filter, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id.clone());
            page.into_iter().for_each(&mut look);
        }
    }

    /// That the config, or a delivery, or a pause knows the destination.
    async fn check_destination(&self, name: &Name) -> Result<(), Failure> {
        let mut known: BTreeSet<Name> = self.config.destinations.iter().map(|it| it.name.clone()).collect();
        known.extend(self.store.tally().await?.into_keys());
        known.extend(self.store.pauses().await?.into_keys());
        if known.contains(name) {
            return Ok(());
        }
        let known = (!known.is_empty()).then(|| quoted(&known));
        Err(Failure::NoDestination { name: name.clone(), known })
    }

    async fn view(&self) -> Result<View, StoreError> {
        view(&self.store, &self.config, self.clock.wall()).await
    }
}

/// What is needed to say how deliveries stand.
pub(super) async fn view(store: &SledStore, config: &Config, now: Timestamp) -> Result<View, StoreError> {
    let mut pauses = store.pauses().await?;
    pauses.retain(|_, pause| !pause.is_over(now));
    let configured = config.destinations.iter().map(|it| it.name.clone()).collect();
    Ok(View { now, pauses, configured, tallies: store.tally().await? })
}

/// Deliveries that something is done with, and what is to be said of it.
#[derive(Default)]
struct Picked {
    ids: Vec<DeliveryId>,
    /// How many of them are held.
    held: usize,
    /// The event one of them is told by.
    told_by: Option<EventId>,
}

impl Picked {
    fn add(&mut self, record: DeliveryRecord) {
        match record.state {
            DeliveryState::Held { .. } => self.held += 1,
            DeliveryState::Merged { into, .. } => self.told_by = Some(into),
            _ => {}
        }
        self.ids.push(record.id);
    }
}

fn are(count: usize) -> String {
    if count == 1 { "1 delivery is".to_owned() } else { format!("{count} deliveries are") }
}

fn waiting(count: u64) -> String {
    match count {
        0 => "nothing waits".to_owned(),
        1 => "1 delivery waits".to_owned(),
        count => format!("{count} deliveries wait"),
    }
}
