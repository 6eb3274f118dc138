//! HTTP as the house speaks it: one way to make a client, to read a body, and to say what went wrong.

use std::{error::Error, io, time::Duration};

use reqwest::{Client, Response};
use rustls::CertificateError;

/// Why no client can be made: the system offers no usable TLS.
#[derive(Debug, thiserror::Error)]
#[error("HTTPS cannot be used on this machine ({0}); install its CA certificates")]
pub struct ClientError(String);

/// Makes a client. Cloning it shares its connections.
///
/// It follows no redirects, repeats nothing by itself, ignores proxy variables and has no deadline: every caller
/// sets its own.
///
/// # Errors
/// [`ClientError`] when TLS cannot be set up.
pub fn client() -> Result<Client, ClientError> {
    install_tls();
    Client::builder()
        .user_agent(concat!("callwatch/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .gzip(true)
        .pool_idle_timeout(Duration::from_secs(60))
        .build()
        .map_err(|error| ClientError(root_cause(&error).to_string()))
}

/// Makes ring the process's TLS implementation. Doing so again changes nothing.
pub fn install_tls() {
    // An error means that one is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads a body, but not more than `limit` bytes of it, counted after decompression. The flag says whether
/// there was more.
///
/// # Errors
/// What broke the body off; [`in_words`] puts it into words.
pub async fn read_capped(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

/// What went wrong with a request, in a few words and never with its URL, which may hold a secret.
/// `deadline` is the one the caller had set.
pub fn in_words(error: &reqwest::Error, deadline: Duration) -> String {
    if error.is_timeout() {
        timed_out(deadline)
    } else if error.is_dns() {
        "name not found".to_owned()
    } else {
        cause_in_words(error)
    }
}

/// The words for a deadline that passed.
pub fn timed_out(deadline: Duration) -> String {
    format!("timed out after {}", humantime::format_duration(deadline))
}

/// The cause of a failed connection in a few words: `connection refused`, `TLS: certificate has expired`.
pub fn cause_in_words(error: &(dyn Error + 'static)) -> String {
    causes(error).find_map(known_cause).unwrap_or_else(|| root_cause(error).to_string())
}

fn known_cause(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls_in_words(error));
    }
    let words = match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            "connection reset"
        }
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::TimedOut => "timed out while connecting",
        io::ErrorKind::UnexpectedEof => "connection closed too early",
        _ => return None,
    };
    Some(words.to_owned())
}

fn tls_in_words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(why) = error else {
        return format!("TLS: {error}");
    };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "TLS: certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "TLS: certificate is not valid yet (is the clock right?)".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "TLS: certificate is not signed by an authority this machine trusts".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "TLS: certificate is for another name".to_owned()
        }
        CertificateError::Revoked => "TLS: certificate has been revoked".to_owned(),
        other => format!("TLS: certificate cannot be used ({other})"),
    }
}

fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// The error, what caused it, and so on. An [`io::Error`] does not call what it wraps its source.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_wherever_it_is_wrapped() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(cause_in_words(&io::Error::other(refused)), "connection refused");

        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, expired);
        assert_eq!(cause_in_words(&wrapped), "TLS: certificate has expired");

        assert_eq!(cause_in_words(&io::Error::other("something new")), "something new");
    }
}
