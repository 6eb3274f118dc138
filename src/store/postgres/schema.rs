//! The schema: made by numbered files, each applied once, under a lock.

use tokio_postgres::Row;

use super::{
    line::{Script, Session, Trouble, int, text},
    rows::column,
};
use crate::store::StoreError;

/// The files, the first one first. A file that was released is never edited.
const FILES: &[&str] = &[include_str!("schema.sql")];

/// Makes the schema what this version works on.
///
/// # Errors
/// [`StoreError::TooNew`] when a later version has made it so that this one must not work on it.
pub(super) async fn prepare(session: Session, server: &str) -> Result<((), Session), Trouble> {
    const IS_THERE: &str = "SELECT to_regclass('callwatch.schema') IS NOT NULL";
    let mut answers = session.run(Script::begin().then(IS_THERE, vec![]).commit()).await?;
    let is_there: bool = answers.next().first().map_or(Ok(false), |row| column(row, 0))?;
    let mut found = if is_there { read(&session, Script::begin(), server).await? } else { 0 };
    if is_there {
        session.run(Script::more().commit()).await?;
    }
    if found < FILES.len() {
        // Several processes may start at once. The lock is one of the transaction, so no pooler can lose it.
        const LOCK: &str = "SELECT pg_advisory_xact_lock(7018129004)";
        session.run(Script::begin().then(LOCK, vec![])).await?;
        session
            .run(Script::more().plain(
                "CREATE SCHEMA IF NOT EXISTS callwatch; CREATE TABLE IF NOT EXISTS callwatch.schema ( \
                     version integer PRIMARY KEY, works_from integer NOT NULL, at timestamptz NOT NULL DEFAULT now())",
            ))
            .await?;
        found = read(&session, Script::more(), server).await?;
        let mut script = Script::more();
        for (number, file) in (1i64..).zip(FILES).skip(found) {
            // The oldest schema whose versions of callwatch may still work on this one.
            script = script.plain(*file).then(
                "INSERT INTO callwatch.schema (version, works_from) VALUES ($1::bigint, 1)",
                vec![int(number)],
            );
        }
        session.run(script.commit()).await?;
    }
    Ok(((), session))
}

/// The version of the schema that is there; 0 for none.
async fn read(session: &Session, script: Script, server: &str) -> Result<usize, Trouble> {
    version(&session.run(script.then(VERSION, vec![])).await?.next(), server)
}

/// Asks for the version of the schema.
pub(super) const VERSION: &str =
    "SELECT coalesce(max(version), 0)::bigint, coalesce(max(works_from), 0)::bigint FROM callwatch.schema";

/// The answer to [`VERSION`].
///
/// # Errors
/// [`StoreError::TooNew`] when this version of callwatch must not work on that schema.
pub(super) fn version(rows: &[Row], server: &str) -> Result<usize, Trouble> {
    let at = |at| rows.first().map_or(Ok(0), |row| column::<i64>(row, at));
    let (version, works_from) = (at(0)?, at(1)?);
    if works_from > FILES.len() as i64 {
        let (found, known) = (u32::try_from(version).unwrap_or(u32::MAX), FILES.len() as u32);
        return Err(StoreError::TooNew { path: server.to_owned(), found, known }.into());
    }
    Ok(usize::try_from(version).unwrap_or(0))
}

/// Asks whether a store is being carried into the database.
pub(super) const FILLING: &str = "SELECT EXISTS (SELECT FROM callwatch.filling)";

/// The answer to [`FILLING`].
pub(super) fn is_being_filled(rows: &[Row]) -> Result<bool, Trouble> {
    rows.first().map_or(Ok(false), |row| column(row, 0))
}

/// Makes sure that the database holds a whole store.
///
/// # Errors
/// [`StoreError::BeingFilled`] when one is being carried into it.
pub(super) async fn is_whole(session: Session, server: &str) -> Result<((), Session), Trouble> {
    let mut answers = session.run(Script::begin().then(FILLING, vec![]).commit()).await?;
    if is_being_filled(&answers.next())? {
        session.finish();
        return Err(StoreError::BeingFilled { server: server.to_owned() }.into());
    }
    Ok(((), session))
}

/// Marks the database as being filled. What an earlier attempt has left is removed.
pub(super) async fn begin_filling(
    session: Session,
    owner: &str,
    lease: i64,
) -> Result<(Result<(), FillError>, Session), Trouble> {
    // Two that begin at once go one after the other, and nobody joins or claims before it is marked.
    const LOCK: &str =
        "LOCK TABLE callwatch.filling, callwatch.nodes, callwatch.duties IN ACCESS EXCLUSIVE MODE";
    const AT_WORK: &str = "SELECT name FROM callwatch.nodes \
         WHERE id <> $1 AND seen > clock_timestamp() - $2 * interval '1 millisecond' LIMIT 1";
    const CLAIMED: &str =
        "SELECT EXISTS (SELECT FROM callwatch.duties WHERE owner <> $1 AND until > clock_timestamp())";
    const CONTENT: &str = "SELECT (SELECT count(*) FROM callwatch.snapshots), (SELECT count(*) FROM callwatch.deliveries), \
         (SELECT count(*) FROM callwatch.checkpoints)";
    const EMPTY: &str = "TRUNCATE callwatch.duties, callwatch.nodes, callwatch.destinations, callwatch.events, \
         callwatch.deliveries, callwatch.open, callwatch.gone, callwatch.snapshots, callwatch.checkpoints, \
         callwatch.memos, callwatch.ledgers, callwatch.forgotten, callwatch.filling; \
         INSERT INTO callwatch.filling DEFAULT VALUES";
    let script = Script::begin()
        .plain(LOCK)
        .then(AT_WORK, vec![text(owner), int(lease)])
        .then(FILLING, vec![])
        .then(CLAIMED, vec![text(owner)])
        .then(CONTENT, vec![]);
    let mut answers = session.run(script).await?;
    let refused = match answers.next().first() {
        Some(row) => Some(FillError::AtWork(column(row, 0)?)),
        None => {
            let is_begun = is_being_filled(&answers.next())?;
            let is_claimed = answers.next().first().map_or(Ok(false), |row| column(row, 0))?;
            let content = answers.next();
            let count = |at| content.first().map_or(Ok(0), |row| column::<i64>(row, at));
            let (calls, deliveries, notes) = (count(0)?, count(1)?, count(2)?);
            match is_begun {
                true => is_claimed.then_some(FillError::BeingFilled),
                false if calls + deliveries + notes > 0 => Some(FillError::NotEmpty { calls, deliveries }),
                false => None,
            }
        }
    };
    match refused {
        Some(refused) => {
            session.run(Script::more().plain("ROLLBACK")).await?;
            Ok((Err(refused), session))
        }
        None => {
            session.run(Script::more().plain(EMPTY).commit()).await?;
            Ok((Ok(()), session))
        }
    }
}

/// Says that the database holds a whole store.
pub(super) async fn end_filling(session: Session) -> Result<((), Session), Trouble> {
    session.run(Script::begin().plain("DELETE FROM callwatch.filling").commit()).await?;
    Ok(((), session))
}

/// Why a database cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A callwatch works with it.
    #[error("{0} works with the database; stop every callwatch first")]
    AtWork(String),
    /// Another one fills it, or has begun to until a moment ago.
    #[error(
        "another `callwatch migrate` fills the database; if it was broken off, start this one again in two minutes"
    )]
    BeingFilled,
    /// There is something in it.
    #[error(
        "the database holds a store already, with {calls} calls and {deliveries} deliveries; name another one, or remove \
         that one with DROP SCHEMA callwatch CASCADE"
    )]
    NotEmpty {
        /// Calls in it.
        calls: i64,
        /// Deliveries in it, finished ones included.
        deliveries: i64,
    },
}
