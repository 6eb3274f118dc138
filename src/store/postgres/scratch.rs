//! Databases of their own for trials, beside whatever else a server has.

use super::line::{Connector, Trouble};
use crate::{
    config::{Connection, Secret},
    store::StoreError,
};
use secrecy::ExposeSecret;

/// An empty database that a trial works in, on a server that is used for other things too. [`ScratchDatabase::remove`] removes it;
/// it stays when the process ends before.
#[derive(Clone)]
pub struct ScratchDatabase {
    connector: Connector,
    name: String,
    server: String,
}

impl ScratchDatabase {
    /// Makes a database named `callwatch_demo_…` on the server of `url`, whose user needs the right to make databases. The database
    /// that `url` names is only used to connect.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the server cannot be reached or refuses.
    pub async fn make(url: Secret) -> Result<Self, StoreError> {
        let connector = Connector { url, connection: Connection::default() };
        let server =
            connector.address().await.map_err(|trouble| failed("that --store names", trouble))?.shown;
        let name = format!("callwatch_demo_{:016x}", fastrand::u64(..));
        let made = connector.execute(&format!("CREATE DATABASE {name}")).await;
        made.map_err(|trouble| failed(&server, trouble))?;
        Ok(Self { connector, name, server })
    }

    /// Its address, with the user and password of the server's.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the address of the server cannot be read any more.
    pub async fn url(&self) -> Result<Secret, StoreError> {
        let url = self.connector.url.load().await;
        let url = url.map_err(|error| failed(&self.server, Trouble::Passing(error.to_string())))?;
        Ok(Secret::from(with_database(url.expose_secret(), &self.name).as_str()))
    }

    /// The server, as people are told of it: without user and password.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Removes it, and ends whatever is still connected to it.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the server cannot be reached or refuses.
    pub async fn remove(self) -> Result<(), StoreError> {
        let removed = self.connector.execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        removed.map_err(|trouble| failed(&self.server, trouble))
    }
}

fn failed(server: &str, trouble: Trouble) -> StoreError {
    let why = match trouble {
        Trouble::Final(error) => return error,
        Trouble::Passing(why) | Trouble::Clash(why) | Trouble::Refused(why) => why,
        Trouble::Lost | Trouble::Forgotten => return StoreError::Mistake("nothing was claimed"),
    };
    StoreError::Database { server: server.to_owned(), why }
}

/// The same address with another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let host = base.find("://").map_or(0, |at| at + 3);
    let path = base[host..].find('/').map_or(base.len(), |at| host + at);
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("{}/{name}{query}", &base[..path])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_an_address_is_replaced() {
        for (url, expected) in [
            ("postgres://u:p@h:5432/db", "postgres://u:p@h:5432/x"),
            ("postgres://u@h", "postgres://u@h/x"),
            ("postgres:///db?host=/run&user=u", "postgres:///x?host=/run&user=u"),
            ("postgresql://a,b:1/db?sslmode=disable", "postgresql://a,b:1/x?sslmode=disable"),
        ] {
            assert_eq!(with_database(url, "x"), expected);
        }
    }
}
