//! How an HTTP receiver is reached where its config says more than [`Connection`]: `allow_private`.

use std::{net::SocketAddr, time::Duration};

use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::address::{NotPublic, is_public};
use crate::{
    config::Connection,
    http::{self, ConnectionError},
};

/// Makes a client like that of [`http::client_for`] which, where `public_only` says so, connects to public addresses
/// only.
///
/// # Errors
/// As [`http::client_for`].
pub fn client_for(connection: &Connection) -> Result<Client, ConnectionError> {
    let mut builder = http::builder_for(connection)?;
    if connection.public_only {
        builder = builder.dns_resolver(PublicOnly);
    }
    Ok(http::finish(builder)?)
}

/// Resolves names to their public addresses only. The check is part of the look-up, so a name cannot change its address
/// between check and connection. IP addresses in a URL never get here; [`super::address::vet`] checks those.
#[derive(Clone, Copy, Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The client replaces the port.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<_> = found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            let public: Addrs = Box::new(public.into_iter());
            Ok(public)
        })
    }
}

/// Says why a request failed, as [`http::in_words`] does, or that the receiver has no public address.
pub(super) fn in_words(error: &reqwest::Error, deadline: Duration) -> String {
    match http::causes(error).find_map(|cause| cause.downcast_ref::<NotPublic>()) {
        Some(error) => error.to_string(),
        _ => http::in_words(error, deadline),
    }
}
