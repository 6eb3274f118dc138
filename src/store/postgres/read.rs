//! What is read, each in a transaction of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio_postgres::types::Type;

use super::{
    line::{Script, Session, Trouble, all_bytes, channel, int, ints, text, texts, value},
    rows::{
        call_id, column, duty, duty_key, from_json, from_known, is_open, name, record, state_number, to_json,
        tokens_of,
    },
    schema,
};
use crate::{
    batch::BatchKey,
    call::CallId,
    event::{Event, Subject},
    name::Name,
    snapshot::Snapshot,
    store::{
        Attendance, Claim, Cluster, DeliveryRecord, DestinationStanding, Duty, Entry, Feed, Held, KnownCall,
        Node, Page, Position, Query, StoreError, Tally, Token,
    },
    time::Timestamp,
};

type Read<T> = Result<(T, Session), Trouble>;

/// How many deliveries are looked at at a time when only a few of them may match.
const LOOK: usize = 500;

pub(super) async fn snapshots(
    session: Session,
    source: &Name,
    calls: &[CallId],
) -> Read<Vec<Option<Snapshot>>> {
    const SQL: &str = "SELECT call, snapshot FROM callwatch.snapshots WHERE source = $1 AND call = ANY($2)";
    let ids = calls.iter().map(|call| call.as_str().as_bytes().to_vec()).collect();
    let script = Script::begin().then(SQL, vec![text(source.as_str()), all_bytes(ids)]).commit();
    let rows = session.run(script).await?.next();
    let mut found: HashMap<&[u8], Snapshot> = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(column(row, 0)?, from_json(column(row, 1)?)?);
    }
    let found = calls.iter().map(|call| found.get(call.as_str().as_bytes()).cloned()).collect();
    Ok((found, session))
}

pub(super) async fn known(
    session: Session,
    source: &Name,
    after: Option<&CallId>,
    limit: usize,
) -> Read<Vec<KnownCall>> {
    const SQL: &str = "SELECT call, known FROM callwatch.snapshots \
         WHERE source = $1 AND ($2::bytea IS NULL OR call > $2) ORDER BY call LIMIT $3";
    let after = after.map(|call| call.as_str().as_bytes().to_vec());
    let values = vec![text(source.as_str()), value(Type::BYTEA, after), int(at_most(limit))];
    let rows = session.run(Script::begin().then(SQL, values).commit()).await?.next();
    let known = |row| from_known(call_id(column(row, 0)?)?, column(row, 1)?);
    Ok((rows.iter().map(known).collect::<Result<_, _>>()?, session))
}

/// A limit as SQL has it.
fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) async fn checkpoint(session: Session, duty: &Duty) -> Read<Option<Value>> {
    const SQL: &str = "SELECT checkpoint FROM callwatch.checkpoints WHERE duty = $1";
    let script = Script::begin().then(SQL, vec![text(duty_key(duty))]).commit();
    let rows = session.run(script).await?.next();
    let found = rows.first().map(|row| from_json(column(row, 0)?)).transpose()?;
    Ok((found, session))
}

pub(super) async fn pending(
    session: Session,
    owner: &str,
    claim: &Claim,
    destination: &Name,
    after: Position,
    limit: usize,
) -> Read<Feed> {
    const OWNED: &str =
        "SELECT EXISTS (SELECT FROM callwatch.duties WHERE duty = $1 AND owner = $2 AND epoch = $3)";
    const PAUSE: &str = "SELECT pause FROM callwatch.destinations WHERE name = $1";
    // A reader that begins knows of no deliveries yet, so it need not hear which are gone.
    const FEED: &str = "SELECT position, token, record FROM ( \
         (SELECT o.position, o.token, d.record FROM callwatch.open o JOIN callwatch.deliveries d USING (token) \
          WHERE o.destination = $1 AND o.position > $2 ORDER BY o.position LIMIT $3) \
         UNION ALL \
         (SELECT position, token, NULL FROM callwatch.gone \
          WHERE destination = $1 AND position > $2 AND $2 > 0 ORDER BY position LIMIT $3)) feed \
         ORDER BY position LIMIT $3";
    let of = || text(destination.as_str());
    let script = Script::begin()
        .then(OWNED, vec![text(duty_key(&claim.duty)), text(owner), int(claim.epoch.cast_signed())])
        .then(FEED, vec![of(), int(after.0.cast_signed()), int(at_most(limit))])
        .then(PAUSE, vec![of()])
        .commit();
    let mut answers = session.run(script).await?;
    let owned = answers.next();
    if !owned.first().map_or(Ok(false), |row| column(row, 0))? {
        session.finish();
        return Err(Trouble::Lost);
    }
    let mut feed = Feed { entries: vec![], next: after, pause: None };
    for row in answers.next() {
        let position: i64 = column(&row, 0)?;
        feed.next = Position(position.cast_unsigned(), 0);
        let entry = match column::<Option<&[u8]>>(&row, 2)? {
            Some(_) => record(&row, 1)?.pending(),
            None => None,
        };
        let token: i64 = column(&row, 1)?;
        feed.entries.push(entry.map_or(Entry::Gone(Token(token.cast_unsigned())), Entry::Unfinished));
    }
    let pause = answers.next();
    let pause: Option<&[u8]> = pause.first().map_or(Ok(None), |row| column(row, 0))?;
    feed.pause = pause.map(from_json).transpose()?;
    Ok((feed, session))
}

pub(super) async fn bodies(session: Session, tokens: &[Token]) -> Read<Vec<Option<Arc<Event>>>> {
    const SQL: &str = "SELECT d.token, e.body FROM callwatch.deliveries d JOIN callwatch.events e ON e.id = d.event \
         WHERE d.token = ANY($1)";
    let script = Script::begin().then(SQL, vec![ints(tokens_of(tokens.iter().copied()))]).commit();
    let mut found: HashMap<i64, Arc<Event>> = HashMap::new();
    for row in session.run(script).await?.next() {
        found.insert(column(&row, 0)?, Arc::new(from_json(column(&row, 1)?)?));
    }
    let bodies = tokens.iter().map(|token| found.get(&token.0.cast_signed()).cloned()).collect();
    Ok((bodies, session))
}

pub(super) async fn memos(
    session: Session,
    destination: &Name,
    lanes: &[Subject],
) -> Read<Vec<Option<Value>>> {
    const SQL: &str = "SELECT lane, memo FROM callwatch.memos WHERE destination = $1 AND lane = ANY($2)";
    let lanes = lanes.iter().map(to_json).collect::<Result<Vec<_>, StoreError>>()?;
    let script =
        Script::begin().then(SQL, vec![text(destination.as_str()), all_bytes(lanes.clone())]).commit();
    let rows = session.run(script).await?.next();
    let mut found: HashMap<&[u8], Value> = HashMap::new();
    for row in &rows {
        found.insert(column(row, 0)?, from_json(column(row, 1)?)?);
    }
    Ok((lanes.iter().map(|lane| found.get(&lane[..]).cloned()).collect(), session))
}

pub(super) async fn ledgers(session: Session, destination: &Name) -> Read<BTreeMap<BatchKey, Value>> {
    const SQL: &str = "SELECT batch, ledger FROM callwatch.ledgers WHERE destination = $1";
    let script = Script::begin().then(SQL, vec![text(destination.as_str())]).commit();
    let mut found = BTreeMap::new();
    for row in session.run(script).await?.next() {
        // A batch that a later version made is not understood here, and is left alone.
        if let Ok(batch) = column::<&str>(&row, 0)?.parse() {
            found.insert(batch, from_json(column(&row, 1)?)?);
        }
    }
    Ok((found, session))
}

pub(super) async fn destinations(session: Session) -> Read<BTreeMap<Name, DestinationStanding>> {
    const SQL: &str = "SELECT name, pause, pending, held, merged, delivered, dead FROM callwatch.destinations \
         WHERE pause IS NOT NULL OR pending + held + merged + delivered + dead > 0";
    let mut all = BTreeMap::new();
    for row in session.run(Script::begin().then(SQL, vec![]).commit()).await?.next() {
        let count = |at| Ok::<_, Trouble>(column::<i64>(&row, at)?.max(0).cast_unsigned());
        let tally = Tally {
            pending: count(2)?,
            held: count(3)?,
            merged: count(4)?,
            delivered: count(5)?,
            dead: count(6)?,
        };
        let pause = column::<Option<&[u8]>>(&row, 1)?.map(from_json).transpose()?;
        all.insert(name(&row, 0)?, DestinationStanding { tally, pause });
    }
    Ok((all, session))
}

macro_rules! listing {
    ($from:literal) => {
        concat!(
            "SELECT d.token, d.record FROM ",
            $from,
            " WHERE d.token < $1 AND ($2::bytea IS NULL OR d.event = $2) AND ($3::text IS NULL OR d.destination = $3) \
             AND ($4::text IS NULL OR $4 = ANY(d.rules)) AND ($5::text IS NULL OR d.source = $5) \
             AND ($6::bytea IS NULL OR d.call = $6) AND ($7::smallint IS NULL OR d.state = $7) \
             ORDER BY d.token DESC LIMIT $8"
        )
    };
}

pub(super) async fn query(session: Session, query: &Query) -> Read<Page<DeliveryRecord>> {
    const ALL: &str = listing!("callwatch.deliveries d");
    // Those that did not arrive are few beside all others.
    const OPEN: &str =
        listing!("callwatch.open o JOIN callwatch.deliveries d ON d.token = o.token AND d.state = o.state");
    let filter = &query.filter;
    let sql = if filter.state.is_some_and(is_open) { OPEN } else { ALL };
    // One more than asked for tells whether there is a next page.
    let wanted = query.limit.saturating_add(1);
    let step = if filter.error.is_some() { wanted.max(LOOK) } else { wanted };
    let mut before = query.after.map_or(i64::MAX, |cursor| cursor.0.0.cast_signed());
    let mut items = vec![];
    while items.len() < wanted {
        let words = |of: Option<&Name>| value(Type::TEXT, of.map(|name| name.as_str().to_owned()));
        let ids = |of: Option<&str>| value(Type::BYTEA, of.map(|id| id.as_bytes().to_vec()));
        let values = vec![
            int(before),
            ids(filter.event.as_ref().map(|event| event.as_str())),
            words(filter.destination.as_ref()),
            words(filter.rule.as_ref()),
            words(filter.source.as_ref()),
            ids(filter.call.as_ref().map(CallId::as_str)),
            value(Type::INT2, filter.state.map(state_number)),
            int(at_most(step)),
        ];
        let rows = session.run(Script::begin().then(sql, values).commit()).await?.next();
        let is_last = rows.len() < step;
        for row in &rows {
            let record = record(row, 0)?;
            before = record.token.0.cast_signed();
            if filter.matches(&record) && items.len() < wanted {
                items.push(record);
            }
        }
        if is_last {
            break;
        }
    }
    let is_more = items.len() > query.limit;
    items.truncate(query.limit);
    let next = items.last().filter(|_| is_more).map(DeliveryRecord::cursor);
    Ok((Page { items, next }, session))
}

/// What a process sees when it looks around.
pub(super) struct Sight {
    pub(super) cluster: Cluster,
    /// For each destination that was asked about, the number of its latest change.
    pub(super) changes: Vec<(Name, i64)>,
}

/// What a process says of itself.
pub(super) struct Says<'a> {
    pub(super) attendance: &'a Attendance,
    /// Whether it is about to end.
    pub(super) leaving: bool,
    /// How its duties go.
    pub(super) work: Option<Value>,
}

/// Says that the process is there, if it takes part, and looks around. How the duties of all processes go is read only if
/// `with_work`: it is much, and seldom asked for.
///
/// # Errors
/// [`StoreError::TooNew`] and [`StoreError::BeingFilled`] when the process must not work with the database any more.
pub(super) async fn look(
    session: Session,
    server: &str,
    me: &str,
    says: Option<&Says<'_>>,
    lease: i64,
    destinations: Vec<String>,
    with_work: bool,
) -> Read<Sight> {
    const HERE: &str = "INSERT INTO callwatch.nodes (id, name, version, serves, leaving, config, work, since, seen) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp(), clock_timestamp()) \
         ON CONFLICT (id) DO UPDATE SET serves = excluded.serves, leaving = excluded.leaving, config = excluded.config, \
         work = excluded.work, seen = excluded.seen";
    const NODES: &str = "SELECT id, name, version, serves, leaving, \
         (extract(epoch FROM since) * 1000)::bigint, (extract(epoch FROM clock_timestamp() - seen) * 1000)::bigint, \
         config, CASE WHEN $1 THEN work END FROM callwatch.nodes ORDER BY id";
    const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    const DUTIES: &str = "SELECT duty, CASE WHEN until > clock_timestamp() THEN owner END, \
         (extract(epoch FROM CASE WHEN owner IS NOT NULL AND until <= clock_timestamp() THEN until ELSE since END) \
         * 1000)::bigint FROM callwatch.duties";
    const CHANGES: &str = "SELECT name, changed FROM callwatch.destinations WHERE name = ANY($1)";
    let mut script = Script::begin().then(schema::VERSION, vec![]).then(schema::FILLING, vec![]);
    if let Some(Says { attendance, leaving, work }) = says {
        let serves = attendance.serves.iter().map(duty_key).collect();
        let work = work.as_ref().map(to_json).transpose()?;
        script = script.then(
            HERE,
            vec![
                text(me),
                text(attendance.name.as_str()),
                text(attendance.version.as_str()),
                texts(serves),
                value(Type::BOOL, *leaving),
                text(attendance.config.as_str()),
                value(Type::BYTEA, work),
            ],
        );
    }
    let script = script
        .then(NOW, vec![])
        .then(NODES, vec![value(Type::BOOL, with_work)])
        .then(DUTIES, vec![])
        .then_if(!destinations.is_empty(), CHANGES, || vec![texts(destinations)])
        .commit();
    let mut answers = session.run(script).await?;
    schema::version(&answers.next(), server)?;
    if schema::is_being_filled(&answers.next())? {
        return Err(StoreError::BeingFilled { server: server.to_owned() }.into());
    }
    if says.is_some() {
        answers.next();
    }
    let at = answers.next().first().map_or(Ok(0), |row| column(row, 0))?;
    let mut cluster =
        Cluster { me: Some(me.to_owned()), at: Timestamp::from_millis(at), ..Cluster::default() };
    for row in answers.next() {
        let silent = column::<i64>(&row, 6)?.max(0);
        cluster.nodes.push(Node {
            id: column(&row, 0)?,
            says: Attendance {
                name: column(&row, 1)?,
                version: column(&row, 2)?,
                serves: column::<Vec<&str>>(&row, 3)?.into_iter().filter_map(duty).collect(),
                config: column(&row, 7)?,
            },
            leaving: column(&row, 4)?,
            live: silent < lease,
            since: Timestamp::from_millis(column(&row, 5)?),
            silent: Duration::from_millis(silent.cast_unsigned()),
            work: column::<Option<&[u8]>>(&row, 8)?.map(from_json).transpose()?,
        });
    }
    for row in answers.next() {
        // A duty that a later version made is none of this one.
        if let Some(duty) = duty(column(&row, 0)?) {
            let (owner, since) = (column(&row, 1)?, Timestamp::from_millis(column(&row, 2)?));
            cluster.duties.push(Held { duty, owner, since });
        }
    }
    cluster.duties.sort_by(|a, b| a.duty.cmp(&b.duty));
    let change = |row| Ok((name(row, 0)?, column(row, 1)?));
    let changes = answers.next().iter().map(change).collect::<Result<_, Trouble>>()?;
    Ok((Sight { cluster, changes }, session))
}

/// Tells other processes that something has changed.
pub(super) async fn notify(session: Session, me: &str) -> Read<()> {
    session.run(Script::begin().then(NOTIFY, vec![text(me)]).commit()).await?;
    Ok(((), session))
}

pub(super) const NOTIFY: &str = concat!("SELECT pg_notify('", channel!(), "', $1)");
