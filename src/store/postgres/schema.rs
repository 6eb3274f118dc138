//! The schema: made by numbered files, each applied once, under a lock.

use super::{
    line::{Script, Session, Trouble, int},
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
    const SQL: &str = "SELECT coalesce(max(version), 0)::bigint, coalesce(max(works_from), 0)::bigint FROM callwatch.schema";
    let rows = session.run(script.then(SQL, vec![])).await?.next();
    let at = |at| rows.first().map_or(Ok(0), |row| column::<i64>(row, at));
    let (version, works_from) = (at(0)?, at(1)?);
    if works_from > FILES.len() as i64 {
        let (found, known) = (u32::try_from(version).unwrap_or(u32::MAX), FILES.len() as u32);
        return Err(StoreError::TooNew { path: server.to_owned(), found, known }.into());
    }
    Ok(usize::try_from(version).unwrap_or(0))
}
