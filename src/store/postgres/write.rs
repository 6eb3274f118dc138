//! What is written. Each is one transaction, which first makes sure of its claim, then of the destinations it changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use tokio_postgres::{Row, types::Type};

use super::{
    line::{Script, Session, Trouble, Value, all_bytes, bytes, int, ints, smalls, text, texts, value},
    read::NOTIFY,
    rows::{
        Shift, call_id, column, duty_key, finished, from_json, is_open, name, record, state_number, to_json,
        to_known, tokens_of,
    },
};
use crate::{
    call::CallId,
    event::{Event, EventId, Subject},
    name::Name,
    snapshot::Snapshot,
    store::{
        Action, Claim, Commit, DeliveryId, DeliveryRecord, DeliveryStateKind, Duty, KnownCall, NewDelivery,
        Pause, PauseChange, Settlement, StoreError, Token, forgotten::Forgotten,
    },
    time::Timestamp,
};

/// Destinations with new entries in their feeds, each with the number of the latest.
pub(super) type Woken = Vec<(Name, i64)>;

type Written<T> = Result<(T, Session), Trouble>;

const HOLD: &str = "SELECT callwatch.hold($1, $2, $3)";
const MAKE_DESTINATIONS: &str =
    "INSERT INTO callwatch.destinations (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING";
const LOCK_DESTINATIONS: &str =
    "SELECT name, pause FROM callwatch.destinations WHERE name = ANY($1) ORDER BY name FOR UPDATE";
const SHIFT: &str = "UPDATE callwatch.destinations d SET pending = d.pending + u.pending, held = d.held + u.held, \
     delivered = d.delivered + u.delivered, merged = d.merged + u.merged, dead = d.dead + u.dead \
     FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
     AS u(name, pending, held, delivered, merged, dead) WHERE d.name = u.name";
const CHANGE_DELIVERIES: &str = "UPDATE callwatch.deliveries d SET state = u.state, finished = u.finished, record = u.record \
     FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bytea[]) AS u(token, state, finished, record) \
     WHERE d.token = u.token";
const CHANGE_OPEN: &str = "UPDATE callwatch.open o SET state = u.state, \
     position = CASE WHEN u.state = 4 THEN NULL ELSE o.position END \
     FROM unnest($1::bigint[], $2::smallint[]) AS u(token, state) WHERE o.token = u.token AND o.state <> u.state";
const CLOSE: &str = "DELETE FROM callwatch.open WHERE token = ANY($1)";
const FORGET: &str =
    "DELETE FROM callwatch.deliveries WHERE token = ANY($1) RETURNING token, destination, state, event";
const FORGET_EVENTS: &str = "DELETE FROM callwatch.events e WHERE e.id = ANY($1) \
     AND NOT EXISTS (SELECT FROM callwatch.deliveries d WHERE d.event = e.id)";
const READ: &str = "SELECT token, record FROM callwatch.deliveries WHERE token = ANY($1) ORDER BY token";
/// Moves these deliveries to the end of their feeds, so that their owners read them again.
const FEED_LAST: &str = "WITH changed AS ( \
         INSERT INTO callwatch.open (token, destination, state, position) \
         SELECT token, destination, 0, nextval('callwatch.numbers') \
         FROM (SELECT * FROM unnest($1::bigint[], $2::text[]) AS u(token, destination) ORDER BY token) u \
         ON CONFLICT (token) DO UPDATE SET state = 0, position = excluded.position \
         RETURNING destination, position) \
     UPDATE callwatch.destinations d SET changed = c.last \
     FROM (SELECT destination, max(position) AS last FROM changed GROUP BY destination) c WHERE d.name = c.destination \
     RETURNING d.name, d.changed";
/// Makes deliveries, in the order given. A delivery that exists is left as it is, unless the caller asks for another one.
const MAKE_DELIVERIES: &str = "WITH given AS ( \
         SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::smallint[], $7::bigint[], \
         $8::bytea[]) WITH ORDINALITY AS u(event, destination, source, call, rules, state, created, record, ord) \
     ), made AS ( \
         INSERT INTO callwatch.deliveries (token, event, destination, source, call, rules, state, created, record) \
         SELECT nextval('callwatch.numbers'), event, destination, source, call, string_to_array(rules, ' '), state, created, \
         record FROM ( \
             SELECT * FROM given g WHERE $9 OR NOT EXISTS ( \
                 SELECT FROM callwatch.deliveries d WHERE d.event = g.event AND d.destination = g.destination) \
             ORDER BY ord) ordered \
         RETURNING token, destination, state \
     ), opened AS ( \
         INSERT INTO callwatch.open (token, destination, state, position) SELECT token, destination, state, token FROM made \
     ) \
     UPDATE callwatch.destinations d SET changed = c.last, pending = d.pending + c.pending, held = d.held + c.held \
     FROM (SELECT destination, max(token) AS last, count(*) FILTER (WHERE state = 0) AS pending, \
           count(*) FILTER (WHERE state = 1) AS held FROM made GROUP BY destination) c \
     WHERE d.name = c.destination RETURNING d.name, d.changed";
const MAKE_EVENTS: &str = "INSERT INTO callwatch.events (id, body) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING";
const DESTINATIONS: &str = "SELECT DISTINCT destination FROM callwatch.deliveries WHERE token = ANY($1)";
const PAUSE: &str = "UPDATE callwatch.destinations SET pause = $2 WHERE name = $1";

/// The values of [`HOLD`].
fn hold(owner: &str, claim: &Claim) -> Vec<Value> {
    vec![text(duty_key(&claim.duty)), text(owner), int(claim.epoch.cast_signed())]
}

fn names(destinations: &BTreeSet<Name>) -> Value {
    texts(destinations.iter().map(|name| name.as_str().to_owned()).collect())
}

/// Adds statements that make the rows of these destinations where they are missing, and lock them.
fn lock(script: Script, destinations: &BTreeSet<Name>) -> Script {
    if destinations.is_empty() {
        return script;
    }
    script
        .then(MAKE_DESTINATIONS, vec![names(destinations)])
        .then(LOCK_DESTINATIONS, vec![names(destinations)])
}

fn woken(rows: &[Row]) -> Result<Woken, Trouble> {
    rows.iter().map(|row| Ok((name(row, 0)?, column(row, 1)?))).collect()
}

/// Deliveries to be made, column by column.
#[derive(Default)]
struct Made {
    events: Vec<Vec<u8>>,
    destinations: Vec<String>,
    sources: Vec<Option<String>>,
    calls: Vec<Option<Vec<u8>>>,
    rules: Vec<String>,
    states: Vec<i16>,
    created: Vec<i64>,
    records: Vec<Vec<u8>>,
}

impl Made {
    fn add(&mut self, record: &DeliveryRecord) -> Result<(), StoreError> {
        self.events.push(record.id.event.as_str().as_bytes().to_vec());
        self.destinations.push(record.id.destination.as_str().to_owned());
        self.sources.push(record.subject.source().map(|source| source.as_str().to_owned()));
        self.calls.push(record.subject.call().map(|call| call.as_str().as_bytes().to_vec()));
        let rules = std::iter::once(&record.rule).chain(&record.also).map(Name::as_str);
        // No name has a space in it.
        self.rules.push(rules.collect::<Vec<_>>().join(" "));
        self.states.push(state_number(record.state.kind()));
        self.created.push(record.created.as_millis());
        self.records.push(to_json(record)?);
        Ok(())
    }

    fn values(self, again: bool) -> Vec<Value> {
        vec![
            all_bytes(self.events),
            texts(self.destinations),
            value(Type::TEXT_ARRAY, self.sources),
            value(Type::BYTEA_ARRAY, self.calls),
            texts(self.rules),
            smalls(self.states),
            ints(self.created),
            all_bytes(self.records),
            value(Type::BOOL, again),
        ]
    }
}

/// Snapshots to be written, column by column.
#[derive(Default)]
struct Snapshots {
    calls: Vec<Vec<u8>>,
    known: Vec<Vec<u8>>,
    snapshots: Vec<Vec<u8>>,
    settles: Vec<Option<i64>>,
}

impl Snapshots {
    fn add(&mut self, id: &crate::call::CallId, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.calls.push(id.as_str().as_bytes().to_vec());
        self.known.push(to_known(&KnownCall::of(id.clone(), snapshot))?);
        self.snapshots.push(to_json(snapshot)?);
        self.settles.push(settles(snapshot));
        Ok(())
    }

    fn values(self, source: &Name) -> Vec<Value> {
        vec![
            text(source.as_str()),
            all_bytes(self.calls),
            all_bytes(self.known),
            all_bytes(self.snapshots),
            value(Type::INT8_ARRAY, self.settles),
        ]
    }
}

/// When a call whose snapshot is not shrunk settled, in milliseconds: see [`Snapshot::is_settled`].
fn settles(snapshot: &Snapshot) -> Option<i64> {
    let ended = snapshot.completed_seen.max(snapshot.deleted.then_some(snapshot.first_seen));
    let ended = ended.filter(|_| snapshot.shrunk.is_none())?;
    Some(snapshot.updated_at().map_or(ended, |updated| updated.max(ended)).as_millis())
}

const WRITE_SNAPSHOTS: &str = "INSERT INTO callwatch.snapshots (source, call, known, snapshot, settles) \
     SELECT $1, u.* FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[]) AS u(call, known, snapshot, settles) \
     ORDER BY u.call \
     ON CONFLICT (source, call) DO UPDATE SET known = excluded.known, snapshot = excluded.snapshot, \
     settles = excluded.settles";

/// Writes a commit. The first attempt writes it unchanged, and fails when it tells of a forgotten call. It then sets `careful`,
/// and the next attempt leaves out what would bring the call back.
pub(super) async fn commit(
    session: Session,
    owner: &str,
    claim: &Claim,
    commit: &Commit,
    careful: &AtomicBool,
) -> Written<Woken> {
    if !careful.load(Ordering::Relaxed) {
        let written = commit_guarded(session, owner, claim, commit, Script::begin()).await;
        return written.map_err(|trouble| match trouble {
            Trouble::Forgotten => {
                careful.store(true, Ordering::Relaxed);
                Trouble::Clash("a call was forgotten".to_owned())
            }
            other => other,
        });
    }
    // The claim's row is locked from here on, and a transaction that forgets calls waits for it.
    let script = Script::begin().then(HOLD, hold(owner, claim)).then(FORGOTTEN, vec![]);
    let mut answers = session.run(script).await?;
    answers.next();
    let (forgotten, mut commit) = (forgotten_calls(&answers.next())?, commit.clone());
    if let Duty::Source(source) = &claim.duty {
        forgotten.keep_out_of_commit(source, &mut commit);
    }
    commit_guarded(session, owner, claim, &commit, Script::more()).await
}

const FORGOTTEN: &str = "SELECT source, call FROM callwatch.forgotten";

/// The calls in these rows.
fn forgotten_calls(rows: &[Row]) -> Result<Forgotten, Trouble> {
    let mut forgotten = Forgotten::default();
    for row in rows {
        forgotten.add(&name(row, 0)?, &call_id(column(row, 1)?)?);
    }
    Ok(forgotten)
}

async fn commit_guarded(
    session: Session,
    owner: &str,
    claim: &Claim,
    commit: &Commit,
    script: Script,
) -> Written<Woken> {
    const GUARD: &str = "SELECT callwatch.guard($1, $2)";
    const CHECKPOINT: &str = "INSERT INTO callwatch.checkpoints (duty, checkpoint) VALUES ($1, $2) \
         ON CONFLICT (duty) DO UPDATE SET checkpoint = excluded.checkpoint";
    let mut made = Made::default();
    let mut bodies: BTreeMap<&EventId, &Event> = BTreeMap::new();
    let (mut destinations, mut seen) = (BTreeSet::new(), HashSet::new());
    for new in &commit.events {
        for delivery in &new.deliveries {
            bodies.entry(&new.event.id).or_insert(&new.event);
            if seen.insert((&new.event.id, &delivery.destination)) {
                destinations.insert(delivery.destination.clone());
                made.add(&DeliveryRecord::new(Token(0), delivery, &new.event))?;
            }
        }
    }
    // Of several snapshots of one call the last one counts.
    let latest: BTreeMap<_, _> = commit.snapshots.iter().map(|(call, snapshot)| (call, snapshot)).collect();
    let mut snapshots = Snapshots::default();
    for (call, snapshot) in latest {
        snapshots.add(call, snapshot)?;
    }
    let source = match &claim.duty {
        Duty::Source(source) => Some(source),
        _ if commit.snapshots.is_empty() => None,
        _ => return Err(StoreError::Mistake("only a source has snapshots").into()),
    };
    let (mut sources, mut calls) = (vec![], vec![]);
    if let Some(source) = source {
        let told = commit.events.iter().filter_map(|new| new.event.subject.call());
        let remembered = commit.snapshots.iter().filter(|(_, snapshot)| !snapshot.is_forgotten());
        for call in told.chain(remembered.map(|(call, _)| call)) {
            sources.push(source.as_str().to_owned());
            calls.push(call.as_str().as_bytes().to_vec());
        }
    }
    let script = script.then(HOLD, hold(owner, claim)).then(GUARD, vec![texts(sources), all_bytes(calls)]);
    let mut script = lock(script, &destinations);
    if !destinations.is_empty() {
        let (ids, events): (Vec<_>, Vec<_>) = bodies.into_iter().unzip();
        let ids = ids.into_iter().map(|id| id.as_str().as_bytes().to_vec()).collect();
        let events = events.into_iter().map(to_json).collect::<Result<_, _>>()?;
        script = script
            .then(MAKE_EVENTS, vec![all_bytes(ids), all_bytes(events)])
            .then(MAKE_DELIVERIES, made.values(false));
    }
    if let Some(source) = source.filter(|_| !commit.snapshots.is_empty()) {
        script = script.then(WRITE_SNAPSHOTS, snapshots.values(source));
    }
    if let Some(checkpoint) = &commit.checkpoint {
        script = script.then(CHECKPOINT, vec![text(duty_key(&claim.duty)), bytes(to_json(checkpoint)?)]);
    }
    let mut answers = session.run(script.commit()).await?;
    answers.next();
    answers.next();
    let mut told = vec![];
    if !destinations.is_empty() {
        for _ in 0..3 {
            answers.next();
        }
        told = woken(&answers.next())?;
    }
    Ok((told, session))
}

/// A delivery that is being changed.
struct Changing {
    record: DeliveryRecord,
    before: DeliveryStateKind,
    is_changed: bool,
}

/// The deliveries that a transaction has locked, by the locks of their destinations.
struct Locked(BTreeMap<Token, Changing>);

impl Locked {
    fn read(rows: &[Row]) -> Result<Self, Trouble> {
        let mut all = BTreeMap::new();
        for row in rows {
            let record = record(row, 0)?;
            all.insert(record.token, Changing { before: record.state.kind(), record, is_changed: false });
        }
        Ok(Self(all))
    }

    /// Changes a delivery if it is there; returns whether it did.
    fn change(&mut self, token: Token, change: impl FnOnce(&mut DeliveryRecord) -> bool) -> bool {
        let Some(changing) = self.0.get_mut(&token) else { return false };
        let is_changed = change(&mut changing.record);
        changing.is_changed |= is_changed;
        is_changed
    }

    /// Adds statements that write all changed deliveries and the counts, but not the feeds.
    fn write(&self, mut script: Script, mut shifts: BTreeMap<Name, Shift>) -> Result<Script, StoreError> {
        let changed: Vec<_> = self.0.values().filter(|it| it.is_changed).collect();
        let (mut closed, mut moved, mut states) = (vec![], vec![], vec![]);
        for Changing { record, before, .. } in &changed {
            let after = record.state.kind();
            let shift = shifts.entry(record.id.destination.clone()).or_default();
            shift[state_number(*before) as usize] -= 1;
            shift[state_number(after) as usize] += 1;
            if is_open(*before) && !is_open(after) {
                closed.push(record.token);
            } else if is_open(after) && after != *before {
                moved.push(record.token);
                states.push(state_number(after));
            }
        }
        if !changed.is_empty() {
            let records = changed.iter().map(|it| to_json(&it.record)).collect::<Result<_, _>>()?;
            script = script.then(
                CHANGE_DELIVERIES,
                vec![
                    ints(tokens_of(changed.iter().map(|it| it.record.token))),
                    smalls(changed.iter().map(|it| state_number(it.record.state.kind())).collect()),
                    value(
                        Type::INT8_ARRAY,
                        changed.iter().map(|it| finished(&it.record.state)).collect::<Vec<_>>(),
                    ),
                    all_bytes(records),
                ],
            );
        }
        script = script.then_if(!closed.is_empty(), CLOSE, || vec![ints(tokens_of(closed))]).then_if(
            !moved.is_empty(),
            CHANGE_OPEN,
            || vec![ints(tokens_of(moved)), smalls(states)],
        );
        shifts.retain(|_, shift| *shift != Shift::default());
        Ok(script.then_if(!shifts.is_empty(), SHIFT, || {
            let mut values = vec![texts(shifts.keys().map(|name| name.as_str().to_owned()).collect())];
            values.extend((0..5).map(|state| ints(shifts.values().map(|shift| shift[state]).collect())));
            values
        }))
    }
}

/// Adds statements that delete deliveries.
fn forget(script: Script, tokens: &[Token]) -> Script {
    let tokens = tokens_of(tokens.iter().copied());
    script.then(CLOSE, vec![ints(tokens.clone())]).then(FORGET, vec![ints(tokens)])
}

/// Consequences of deleting deliveries: the changes of the counts, and the events that may have no delivery left.
type Left = (BTreeMap<Name, Shift>, Vec<Vec<u8>>);

fn forgotten(rows: &[Row]) -> Result<Left, Trouble> {
    let mut shifts: BTreeMap<Name, Shift> = BTreeMap::new();
    let mut events = BTreeSet::new();
    for row in rows {
        let state: i16 = column(row, 2)?;
        if let Some(count) =
            shifts.entry(name(row, 1)?).or_default().get_mut(usize::try_from(state).unwrap_or(5))
        {
            *count -= 1;
        }
        events.insert(column::<Vec<u8>>(row, 3)?);
    }
    Ok((shifts, events.into_iter().collect()))
}

pub(super) async fn settle(
    session: Session,
    owner: &str,
    claim: &Claim,
    destination: &Name,
    settlement: &Settlement,
) -> Written<Woken> {
    const IS_THERE: &str =
        "SELECT EXISTS (SELECT FROM callwatch.deliveries WHERE event = $1 AND destination = $2)";
    const LEDGER: &str = "INSERT INTO callwatch.ledgers (destination, batch, ledger) \
         SELECT $1, * FROM unnest($2::text[], $3::bytea[]) \
         ON CONFLICT (destination, batch) DO UPDATE SET ledger = excluded.ledger";
    const NO_LEDGER: &str = "DELETE FROM callwatch.ledgers WHERE destination = $1 AND batch = ANY($2)";
    const MEMO: &str = "INSERT INTO callwatch.memos (destination, written, lane, memo) \
         SELECT $1, $2, * FROM unnest($3::bytea[], $4::bytea[]) \
         ON CONFLICT (destination, lane) DO UPDATE SET written = excluded.written, memo = excluded.memo";
    const NO_MEMO: &str = "DELETE FROM callwatch.memos WHERE destination = $1 AND lane = ANY($2)";
    settlement.check()?;
    let Settlement { at, outcomes, holds, releases, forgets, merge, ledgers, memos, pause, lazy: _ } =
        settlement;
    let at = *at;
    let of = || text(destination.as_str());
    let merged = merge.iter().flat_map(|merge| &merge.tokens);
    let all: BTreeSet<Token> = (outcomes.iter().map(|outcome| &outcome.token))
        .chain(holds.iter().map(|(token, _)| token))
        .chain(releases)
        .chain(forgets)
        .chain(merged)
        .copied()
        .collect();
    let just_this = BTreeSet::from([destination.clone()]);
    let mut script = lock(Script::begin().then(HOLD, hold(owner, claim)), &just_this)
        .then(READ, vec![ints(tokens_of(all))]);
    if let Some(merge) = merge {
        script = script.then(IS_THERE, vec![bytes(merge.event.id.as_str().as_bytes().to_vec()), of()]);
    }
    // A memo or a summary that was prepared before must not bring a forgotten call back.
    let may_recall = merge.is_some() || memos.iter().any(|(_, memo)| memo.is_some());
    script = script.then_if(may_recall, FORGOTTEN, Vec::new);
    let mut answers = session.run(script).await?;
    answers.next();
    answers.next();
    let row = answers.next();
    let mut locked = Locked::read(&answers.next())?;
    locked.0.retain(|_, it| it.record.id.destination == *destination);
    let mut is_merged = false;
    if merge.is_some() {
        is_merged = answers.next().first().map_or(Ok(false), |row| column(row, 0))?;
    }
    let mut kept = Settlement { merge: merge.clone(), memos: memos.clone(), ..Settlement::new(at) };
    if may_recall {
        forgotten_calls(&answers.next())?.keep_out_of_settlement(&mut kept);
    }
    let (merge, memos) = (&kept.merge, &kept.memos);

    for outcome in outcomes {
        let (attempt, verdict) = (outcome.attempt.clone(), outcome.verdict.clone());
        locked.change(outcome.token, |record| record.settle(outcome.number, attempt, verdict));
    }
    for (token, batch) in holds {
        locked.change(*token, |record| record.hold(batch.clone()));
    }
    for token in releases {
        locked.change(*token, |record| record.release(at));
    }
    let mut forgets_now = vec![];
    for token in forgets {
        if locked.0.get(token).is_some_and(|it| it.record.waits_in().is_some()) {
            locked.0.remove(token);
            forgets_now.push(*token);
        }
    }
    let merge = merge.as_ref().filter(|_| !is_merged);
    let mut script = Script::more();
    if let Some(merge) = merge {
        for token in &merge.tokens {
            locked.change(*token, |record| record.merge(at, merge.event.id.clone()));
        }
    }
    let mut shifts = BTreeMap::new();
    if !forgets_now.is_empty() {
        // The counts and events to be corrected are known only after the deletion.
        let mut answers = session.run(forget(Script::more(), &forgets_now)).await?;
        answers.next();
        let events;
        (shifts, events) = forgotten(&answers.next())?;
        script = script.then(FORGET_EVENTS, vec![all_bytes(events)]);
    }
    script = locked.write(script, shifts)?;
    if !ledgers.is_empty() {
        let (keep, drop): (Vec<_>, Vec<_>) = ledgers.iter().partition(|(_, ledger)| ledger.is_some());
        let batches = |of: &[&(crate::batch::BatchKey, Option<serde_json::Value>)]| {
            texts(of.iter().map(|(batch, _)| batch.to_string()).collect())
        };
        if !keep.is_empty() {
            // Of several ledgers of one batch the last one counts.
            let last: BTreeMap<_, _> =
                keep.iter().map(|(batch, ledger)| (batch.to_string(), ledger)).collect();
            let values = last.values().map(to_json).collect::<Result<_, _>>()?;
            script = script.then(LEDGER, vec![of(), texts(last.into_keys().collect()), all_bytes(values)]);
        }
        script = script.then_if(!drop.is_empty(), NO_LEDGER, || vec![of(), batches(&drop)]);
    }
    if !memos.is_empty() {
        let last: BTreeMap<_, _> = memos.iter().map(|(lane, memo)| (lane, memo)).collect();
        let (mut lanes, mut values, mut drop) = (vec![], vec![], vec![]);
        for (lane, memo) in last {
            match memo {
                Some(memo) => {
                    lanes.push(to_json(lane)?);
                    values.push(to_json(memo)?);
                }
                None => drop.push(to_json(lane)?),
            }
        }
        script = script
            .then_if(!lanes.is_empty(), MEMO, || {
                vec![of(), int(at.as_millis()), all_bytes(lanes), all_bytes(values)]
            })
            .then_if(!drop.is_empty(), NO_MEMO, || vec![of(), all_bytes(drop)]);
    }
    match pause {
        Some(PauseChange::Begin(pause)) if outlasts(pause, &row)? => {
            script = script.then(PAUSE, vec![of(), bytes(to_json(pause)?)]);
        }
        Some(PauseChange::End) => {
            script = script.then(PAUSE, vec![of(), value(Type::BYTEA, None::<Vec<u8>>)])
        }
        _ => {}
    }
    let mut told = vec![];
    if let Some(merge) = merge {
        let new = NewDelivery {
            destination: destination.clone(),
            sequence: merge.sequence,
            created: at,
            hold: None,
        };
        let mut made = Made::default();
        made.add(&DeliveryRecord::new(Token(0), &new, &merge.event))?;
        let event = vec![merge.event.id.as_str().as_bytes().to_vec()];
        // Made before the rest, so that its answer is the second one.
        let first = Script::more()
            .then(MAKE_EVENTS, vec![all_bytes(event), all_bytes(vec![to_json(&merge.event)?])])
            .then(MAKE_DELIVERIES, made.values(false));
        let mut answers = session.run(first).await?;
        answers.next();
        told = woken(&answers.next())?;
    }
    session.run(script.commit()).await?;
    Ok((told, session))
}

/// Whether a pause outlasts the one in the row of its destination, and so replaces it.
fn outlasts(pause: &Pause, rows: &[Row]) -> Result<bool, Trouble> {
    let now: Option<&[u8]> = rows.first().map_or(Ok(None), |row| column(row, 1))?;
    let now: Option<Pause> = now.map(from_json).transpose()?;
    Ok(now.is_none_or(|now| pause.outlasts(&now)))
}

pub(super) async fn act(session: Session, action: &Action) -> Written<(usize, Woken)> {
    match action {
        Action::Retry { tokens, at } => retry(session, tokens, *at).await,
        Action::Resend { tokens, to, at } => resend(session, tokens, to.as_ref(), *at).await,
        Action::Drop { tokens } => drop_all(session, tokens).await,
        Action::Forget { calls, tokens, events } => forget_calls(session, calls, tokens, events).await,
        Action::Pause { destination, pause } => set_pause(session, destination, Some(pause)).await,
        Action::Resume { destination } => set_pause(session, destination, None).await,
    }
}

/// The destinations of these deliveries.
async fn destinations_of(session: &Session, tokens: &[Token]) -> Result<BTreeSet<Name>, Trouble> {
    let script = Script::begin().then(DESTINATIONS, vec![ints(tokens_of(tokens.iter().copied()))]);
    session.run(script).await?.next().iter().map(|row| name(row, 0)).collect()
}

/// Locks the destinations of these deliveries, and those in `more`, and reads the deliveries.
async fn lock_all(session: &Session, tokens: &[Token], more: Option<&Name>) -> Result<Locked, Trouble> {
    let mut destinations = destinations_of(session, tokens).await?;
    destinations.extend(more.cloned());
    let script = lock(Script::more(), &destinations);
    let script = script.then(READ, vec![ints(tokens_of(tokens.iter().copied()))]);
    let mut answers = session.run(script).await?;
    if !destinations.is_empty() {
        answers.next();
        answers.next();
    }
    Locked::read(&answers.next())
}

async fn retry(session: Session, tokens: &[Token], at: Timestamp) -> Written<(usize, Woken)> {
    let mut locked = lock_all(&session, tokens, None).await?;
    let all: Vec<_> = locked.0.keys().copied().collect();
    for token in all {
        locked.change(token, |record| record.retry(at));
    }
    let changed: Vec<_> = locked.0.values().filter(|it| it.is_changed).map(|it| &it.record).collect();
    let count = changed.len();
    let fed = vec![
        ints(tokens_of(changed.iter().map(|record| record.token))),
        texts(changed.iter().map(|record| record.id.destination.as_str().to_owned()).collect()),
    ];
    let script = locked.write(Script::more().then(FEED_LAST, fed), BTreeMap::new())?;
    let told = woken(&session.run(script.commit()).await?.next())?;
    Ok(((count, told), session))
}

async fn resend(
    session: Session,
    tokens: &[Token],
    to: Option<&Name>,
    at: Timestamp,
) -> Written<(usize, Woken)> {
    const OF_EVENTS: &str =
        "SELECT token, record FROM callwatch.deliveries WHERE event = ANY($1) ORDER BY token";
    const BODIES: &str = "SELECT id, body FROM callwatch.events WHERE id = ANY($1)";
    let locked = lock_all(&session, tokens, to).await?;
    let ids: BTreeSet<_> = locked.0.values().map(|it| it.record.id.event.clone()).collect();
    let ids: Vec<_> = ids.iter().map(|id| id.as_str().as_bytes().to_vec()).collect();
    let script =
        Script::more().then(OF_EVENTS, vec![all_bytes(ids.clone())]).then(BODIES, vec![all_bytes(ids)]);
    let mut answers = session.run(script).await?;
    let mut latest: BTreeMap<DeliveryId, (bool, u64)> = BTreeMap::new();
    for row in answers.next() {
        let record = record(&row, 0)?;
        let (waits, sequence) = latest.entry(record.id.clone()).or_default();
        *waits |= record.finished().is_none();
        *sequence = record.sequence;
    }
    let mut events: BTreeMap<EventId, Event> = BTreeMap::new();
    for row in answers.next() {
        let event: Event = from_json(column(&row, 1)?)?;
        events.insert(event.id.clone(), event);
    }
    let mut made = Made::default();
    for Changing { record, before, .. } in locked.0.values() {
        let own = &record.id.destination;
        let destination = to.unwrap_or(own);
        if destination == own && *before != DeliveryStateKind::Delivered {
            continue;
        }
        let id = DeliveryId { event: record.id.event.clone(), destination: destination.clone() };
        let (waits, sequence) = latest.entry(id).or_default();
        let Some(event) = events.get(&record.id.event).filter(|_| !*waits) else { continue };
        *waits = true;
        let new =
            NewDelivery { destination: destination.clone(), sequence: *sequence, created: at, hold: None };
        made.add(&DeliveryRecord::new(Token(0), &new, event))?;
    }
    let count = made.events.len();
    let script = Script::more().then(MAKE_DELIVERIES, made.values(true)).commit();
    let told = woken(&session.run(script).await?.next())?;
    Ok(((count, told), session))
}

async fn drop_all(session: Session, tokens: &[Token]) -> Written<(usize, Woken)> {
    lock_all(&session, tokens, None).await?;
    drop_locked(session, tokens, Script::more()).await
}

/// Drops deliveries whose destinations are locked, after what the script does.
async fn drop_locked(session: Session, tokens: &[Token], script: Script) -> Written<(usize, Woken)> {
    const GONE: &str = "WITH told AS ( \
             INSERT INTO callwatch.gone (destination, position, token) \
             SELECT destination, nextval('callwatch.numbers'), token \
             FROM unnest($1::text[], $2::bigint[]) AS u(destination, token) RETURNING destination, position) \
         UPDATE callwatch.destinations d SET changed = t.last \
         FROM (SELECT destination, max(position) AS last FROM told GROUP BY destination) t WHERE d.name = t.destination \
         RETURNING d.name, d.changed";
    let mut answers = session.run(forget(Script::more(), tokens)).await?;
    answers.next();
    let rows = answers.next();
    let (shifts, events) = forgotten(&rows)?;
    let (mut of, mut gone) = (vec![], vec![]);
    for row in &rows {
        gone.push(column::<i64>(row, 0)?);
        of.push(name(row, 1)?.as_str().to_owned());
    }
    session.run(script).await?;
    let script =
        Script::more().then(GONE, vec![texts(of), ints(gone)]).then(FORGET_EVENTS, vec![all_bytes(events)]);
    let script = Locked(BTreeMap::new()).write(script, shifts)?;
    let told = woken(&session.run(script.commit()).await?.next())?;
    Ok(((rows.len(), told), session))
}

async fn forget_calls(
    session: Session,
    calls: &[(Name, CallId)],
    tokens: &[Token],
    events: &[Event],
) -> Written<(usize, Woken)> {
    // Wait for writes under way, which hold the rows of their claims. Later writes see the list of forgotten calls.
    const WAIT: &str = "SELECT duty FROM callwatch.duties ORDER BY duty FOR UPDATE";
    const NOTE: &str = "INSERT INTO callwatch.forgotten (source, call) SELECT * FROM unnest($1::text[], $2::bytea[]) \
         ON CONFLICT DO NOTHING";
    const KNOWN: &str = "SELECT s.source, s.call, s.snapshot FROM callwatch.snapshots s \
         JOIN unnest($1::text[], $2::bytea[]) AS u(source, call) USING (source, call) ORDER BY 1, 2 FOR UPDATE OF s";
    const MEMOS: &str = "DELETE FROM callwatch.memos WHERE lane = ANY($1)";
    const REPLACE: &str = "UPDATE callwatch.events e SET body = u.body \
         FROM unnest($1::bytea[], $2::bytea[]) AS u(id, body) WHERE e.id = u.id";
    let named = || {
        let sources = calls.iter().map(|(source, _)| source.as_str().to_owned()).collect();
        let ids = calls.iter().map(|(_, call)| call.as_str().as_bytes().to_vec()).collect();
        vec![texts(sources), all_bytes(ids)]
    };
    let script = Script::begin()
        .then(WAIT, vec![])
        .then(NOTE, named())
        .then(DESTINATIONS, vec![ints(tokens_of(tokens.iter().copied()))])
        .then(KNOWN, named());
    let mut answers = session.run(script).await?;
    answers.next();
    answers.next();
    let destinations: BTreeSet<Name> =
        answers.next().iter().map(|row| name(row, 0)).collect::<Result<_, _>>()?;
    let mut snapshots: BTreeMap<Name, Snapshots> = BTreeMap::new();
    for row in answers.next() {
        let mut snapshot: Snapshot = from_json(column(&row, 2)?)?;
        snapshot.forget();
        snapshots.entry(name(&row, 0)?).or_default().add(&call_id(column(&row, 1)?)?, &snapshot)?;
    }
    session.run(lock(Script::more(), &destinations)).await?;
    let mut lanes = vec![];
    for (source, call) in calls {
        lanes.push(to_json(&Subject::Call { source: source.clone(), call: call.clone() })?);
    }
    let ids = events.iter().map(|event| event.id.as_str().as_bytes().to_vec()).collect();
    let bodies = events.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
    let mut script = Script::more()
        .then(MEMOS, vec![all_bytes(lanes)])
        .then(REPLACE, vec![all_bytes(ids), all_bytes(bodies)]);
    for (source, snapshots) in snapshots {
        script = script.then(WRITE_SNAPSHOTS, snapshots.values(&source));
    }
    drop_locked(session, tokens, script).await
}

/// Begins a pause, or ends it.
async fn set_pause(session: Session, destination: &Name, pause: Option<&Pause>) -> Written<(usize, Woken)> {
    const CHANGED: &str = "UPDATE callwatch.destinations SET changed = nextval('callwatch.numbers') WHERE name = $1 RETURNING name, changed";
    let of = || text(destination.as_str());
    let just_this = BTreeSet::from([destination.clone()]);
    let mut answers = session.run(lock(Script::begin(), &just_this)).await?;
    answers.next();
    let row = answers.next();
    let is_paused = row.first().map_or(Ok(None), |row| column::<Option<&[u8]>>(row, 1))?.is_some();
    let changes = match pause {
        Some(pause) => outlasts(pause, &row)?,
        None => is_paused,
    };
    let mut script = Script::more().then(CHANGED, vec![of()]);
    if changes {
        let pause = pause.map(to_json).transpose()?;
        script = script.then(PAUSE, vec![of(), value(Type::BYTEA, pause)]);
    }
    let told = woken(&session.run(script.commit()).await?.next())?;
    Ok(((usize::from(changes), told), session))
}

pub(super) async fn purge(
    session: Session,
    owner: &str,
    claim: &Claim,
    before: Timestamp,
    limit: usize,
) -> Written<usize> {
    const OLD: &str =
        "SELECT token, destination FROM callwatch.deliveries WHERE created < $1 AND finished < $1 LIMIT $2";
    const MEMOS: &str = "DELETE FROM callwatch.memos WHERE written < $1";
    const GONE: &str = "DELETE FROM callwatch.gone WHERE at < now() - interval '1 hour'";
    const NODES: &str = "DELETE FROM callwatch.nodes WHERE seen < now() - interval '1 hour'";
    let before = before.as_millis();
    let script = Script::begin()
        .then(HOLD, hold(owner, claim))
        .then(OLD, vec![int(before), int(i64::try_from(limit).unwrap_or(i64::MAX))]);
    let mut answers = session.run(script).await?;
    answers.next();
    let (mut tokens, mut destinations) = (vec![], BTreeSet::new());
    for row in answers.next() {
        tokens.push(Token(column::<i64>(&row, 0)?.cast_unsigned()));
        destinations.insert(name(&row, 1)?);
    }
    let (mut count, mut shifts) = (0, BTreeMap::new());
    let mut script = Script::more();
    if !tokens.is_empty() {
        // A person may have retried one of them since it was looked for; it stays then.
        let still_old = Script::more().then(
            "SELECT token FROM callwatch.deliveries WHERE token = ANY($1) AND finished < $2",
            vec![ints(tokens_of(tokens.iter().copied())), int(before)],
        );
        session.run(lock(Script::more(), &destinations)).await?;
        let rows = session.run(still_old).await?.next();
        let tokens: Vec<_> = rows
            .iter()
            .map(|row| Ok(Token(column::<i64>(row, 0)?.cast_unsigned())))
            .collect::<Result<_, Trouble>>()?;
        let mut answers = session.run(forget(Script::more(), &tokens)).await?;
        answers.next();
        let rows = answers.next();
        count = rows.len();
        let events;
        (shifts, events) = forgotten(&rows)?;
        script = script.then(FORGET_EVENTS, vec![all_bytes(events)]);
    }
    script = script.then(MEMOS, vec![int(before)]).then(GONE, vec![]).then(NODES, vec![]);
    let script = Locked(BTreeMap::new()).write(script, shifts)?;
    session.run(script.commit()).await?;
    Ok((count, session))
}

/// Shrinks a few snapshots; where the next ones begin, if there may be more.
pub(super) async fn shrink(
    session: Session,
    owner: &str,
    claim: &Claim,
    source: &Name,
    before: Timestamp,
    after: &[u8],
) -> Written<Option<Vec<u8>>> {
    /// How many snapshots at a time: commits of the source wait while these are locked.
    const STEP: usize = 100;
    const SETTLED: &str = "SELECT call, snapshot FROM callwatch.snapshots \
         WHERE source = $1 AND call > $2 AND settles < $3 ORDER BY call LIMIT $4 FOR UPDATE SKIP LOCKED";
    let values =
        vec![text(source.as_str()), bytes(after.to_vec()), int(before.as_millis()), int(STEP as i64)];
    let script = Script::begin().then(HOLD, hold(owner, claim)).then(SETTLED, values);
    let mut answers = session.run(script).await?;
    answers.next();
    let rows = answers.next();
    let mut shrunk = Snapshots::default();
    for row in &rows {
        let mut snapshot: Snapshot = from_json(column(row, 1)?)?;
        if snapshot.is_settled(before) {
            snapshot.shrink();
        }
        shrunk.add(&super::rows::call_id(column(row, 0)?)?, &snapshot)?;
    }
    let next = shrunk.calls.last().cloned().filter(|_| rows.len() == STEP);
    let script = Script::more().then_if(!rows.is_empty(), WRITE_SNAPSHOTS, || shrunk.values(source)).commit();
    session.run(script).await?;
    Ok((next, session))
}

/// Takes a duty that is free or, as the database says, the process's own; its epoch.
pub(super) async fn claim(session: Session, owner: &str, duty: &Duty, lease: i64) -> Written<Option<u64>> {
    const SQL: &str = "INSERT INTO callwatch.duties AS d (duty, epoch, owner, since, until) \
         VALUES ($1, 1, $2, clock_timestamp(), clock_timestamp() + $3 * interval '1 millisecond') \
         ON CONFLICT (duty) DO UPDATE SET \
             epoch = d.epoch + CASE WHEN d.owner = $2 THEN 0 ELSE 1 END, owner = $2, \
             since = CASE WHEN d.owner = $2 THEN d.since ELSE clock_timestamp() END, \
             until = clock_timestamp() + $3 * interval '1 millisecond' \
         WHERE d.owner IS NULL OR d.owner = $2 OR d.until <= clock_timestamp() \
         RETURNING epoch";
    let script = Script::begin().then(SQL, vec![text(duty_key(duty)), text(owner), int(lease)]).commit();
    let rows = session.run(script).await?.next();
    let epoch: Option<i64> = rows.first().map(|row| column(row, 0)).transpose()?;
    Ok((epoch.map(i64::cast_unsigned), session))
}

/// Renews the claim that the process has on a duty; its epoch, `None` when it has none any more.
pub(super) async fn renew(session: Session, owner: &str, duty: &Duty, lease: i64) -> Written<Option<u64>> {
    const SQL: &str = "UPDATE callwatch.duties SET until = clock_timestamp() + $3 * interval '1 millisecond' \
         WHERE duty = $1 AND owner = $2 RETURNING epoch";
    let script = Script::begin().then(SQL, vec![text(duty_key(duty)), text(owner), int(lease)]).commit();
    let rows = session.run(script).await?.next();
    let epoch: Option<i64> = rows.first().map(|row| column(row, 0)).transpose()?;
    Ok((epoch.map(i64::cast_unsigned), session))
}

/// Gives a duty back, if the claim on it is not lost.
pub(super) async fn give_up(session: Session, owner: &str, claim: &Claim) -> Written<()> {
    const SQL: &str = "UPDATE callwatch.duties SET owner = NULL, since = clock_timestamp() \
         WHERE duty = $1 AND owner = $2 AND epoch = $3";
    session
        .run(Script::begin().then(SQL, hold(owner, claim)).then(NOTIFY, vec![text(owner)]).commit())
        .await?;
    Ok(((), session))
}

/// Gives every duty of the process back.
pub(super) async fn give_up_all(session: Session, owner: &str) -> Written<()> {
    const SQL: &str = "UPDATE callwatch.duties SET owner = NULL, since = clock_timestamp() WHERE owner = $1";
    const NODE: &str = "DELETE FROM callwatch.nodes WHERE id = $1";
    let me = || vec![text(owner)];
    session.run(Script::begin().then(SQL, me()).then(NODE, me()).then(NOTIFY, me()).commit()).await?;
    Ok(((), session))
}
