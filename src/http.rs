//! HTTP for the whole of callwatch: making a client, reading a body up to a limit, and putting errors into words; and TLS
//! for what is not HTTP.

use std::{error::Error, io, path::Path, sync::Arc, time::Duration};

use chrono::DateTime;
use reqwest::{
    Certificate, Client, ClientBuilder, Identity, Proxy, Response,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
};
use rustls::{
    CertificateError, ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use secrecy::ExposeSecret;

use crate::{
    config::{ClientIdentity, Connection, MAX_PEM, SecretError, read_regular},
    time::Timestamp,
};

/// Why an HTTP client cannot be made: the system offers no usable TLS, or certificate and key do not go together. Holds
/// the library's words.
#[derive(Debug, thiserror::Error)]
#[error(
    "TLS cannot be set up ({0}); check this machine's CA certificates, and `client_cert` and `client_key` where \
     they are set"
)]
pub struct ClientError(String);

/// Why no client can be made for a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The system offers no usable TLS, or certificate and key do not go together.
    #[error(transparent)]
    Tls(#[from] ClientError),
    /// A file with certificates or a private key cannot be used.
    #[error("the file {path} cannot be used: {why}")]
    File {
        /// The file.
        path: String,
        /// The fault in words.
        why: String,
    },
    /// The secret that holds the proxy's address cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The proxy's address is not a URL.
    #[error("`proxy` is not an http:// or https:// address")]
    Proxy,
}

/// Makes a client. Clones share its connections.
///
/// The client follows no redirects, does not retry, ignores `HTTP_PROXY` and the like, and has no deadline: every
/// caller must set one.
///
/// # Errors
/// [`ClientError`] when TLS cannot be set up.
pub fn client() -> Result<Client, ClientError> {
    finish(builder())
}

/// Makes the client that `builder` describes.
///
/// # Errors
/// [`ClientError`] when TLS cannot be set up.
pub(crate) fn finish(builder: ClientBuilder) -> Result<Client, ClientError> {
    builder.build().map_err(|error| ClientError(root_cause(&error).to_string()))
}

/// Makes a client that connects as `connection` says. Reads certificates and keys from disk, so it blocks.
///
/// # Errors
/// [`ConnectionError`] when one of the files, or TLS as a whole, cannot be used.
pub fn client_for(connection: &Connection) -> Result<Client, ConnectionError> {
    Ok(finish(builder_for(connection)?)?)
}

/// The builder of a client that connects as `connection` says, except for `public_only`.
///
/// # Errors
/// As [`client_for`].
pub(crate) fn builder_for(connection: &Connection) -> Result<ClientBuilder, ConnectionError> {
    let Connection { ca_file, identity, proxy, public_only: _ } = connection;
    let mut builder = builder();
    if let Some(path) = ca_file {
        let certificates = Certificate::from_pem_bundle(&read(path)?).map_err(|error| bad(path, &error))?;
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(identity) = identity {
        let mut pem = read(&identity.key)?;
        pem.push(b'\n');
        pem.extend(read(&identity.certificate)?);
        builder =
            builder.identity(Identity::from_pem(&pem).map_err(|error| bad(&identity.certificate, &error))?);
    }
    if let Some(proxy) = proxy {
        let address = proxy.read()?;
        // The library's error would quote the address, which may hold a password.
        builder = builder.proxy(Proxy::all(address.expose_secret()).map_err(|_| ConnectionError::Proxy)?);
    }
    Ok(builder)
}

/// TLS for a connection that is not HTTP: trusts and shows the certificates that `connection` names. Reads them from
/// disk, so it blocks.
///
/// # Errors
/// [`ConnectionError`] when one of the files, or TLS as a whole, cannot be used.
pub(crate) fn tls_for(connection: &Connection) -> Result<ClientConfig, ConnectionError> {
    install_tls();
    let failed = |error: rustls::Error| ClientError(root_cause(&error).to_string());
    let wrong = |path: &Path, why: String| ConnectionError::File { path: path.display().to_string(), why };
    let certificates = |path: &Path| -> Result<Vec<_>, ConnectionError> {
        let pem = read(path)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(wrong(path, "there is no certificate in it".to_owned())),
            Err(error) => Err(wrong(path, error.to_string())),
        }
    };
    let trusted = match &connection.ca_file {
        Some(path) => certificates(path)?,
        None => vec![],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        Verifier::new_with_extra_roots(trusted, Arc::clone(&provider)).map_err(|error| match &connection
            .ca_file
        {
            Some(path) => wrong(path, error.to_string()),
            None => failed(error).into(),
        })?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The verifier is the one that stands behind every other connection; only the roots are more.
    let builder = builder.map_err(failed)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let Some(ClientIdentity { certificate, key }) = &connection.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let private =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| wrong(key, error.to_string()))?;
    Ok(builder.with_client_auth_cert(certificates(certificate)?, private).map_err(failed)?)
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectionError> {
    read_regular(path, MAX_PEM)
        .map_err(|error| ConnectionError::File { path: path.display().to_string(), why: error.to_string() })
}

fn bad(path: &Path, error: &reqwest::Error) -> ConnectionError {
    ConnectionError::File { path: path.display().to_string(), why: root_cause(error).to_string() }
}

/// The builder of every client: see [`client`].
pub(crate) fn builder() -> ClientBuilder {
    install_tls();
    Client::builder()
        .user_agent(concat!("callwatch/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .gzip(true)
        .pool_idle_timeout(Duration::from_secs(60))
}

/// Makes ring the TLS implementation of the process. Calling it again does nothing.
pub fn install_tls() {
    // It fails only when an implementation is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads at most `limit` bytes of a body, counted after decompression. The flag says whether there was more.
///
/// # Errors
/// When the connection fails before the end; [`in_words`] describes it.
pub async fn read_capped(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = vec![];
    let more = read_more(&mut response, &mut body, limit).await?;
    body.truncate(limit);
    Ok((body, more))
}

/// Reads a body until it ends or is longer than `limit`, by one chunk at most; says whether it is.
///
/// # Errors
/// As [`read_capped`].
pub(crate) async fn read_more(
    response: &mut Response,
    body: &mut Vec<u8>,
    limit: usize,
) -> Result<bool, reqwest::Error> {
    while body.len() <= limit {
        let Some(chunk) = response.chunk().await? else { return Ok(false) };
        if body.capacity() - body.len() < chunk.len() {
            // Growing by a quarter keeps old and new buffer together below 2.5 times the body.
            body.reserve_exact(chunk.len() + body.len() / 4);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(true)
}

/// Describes a failed request in a few words, without its URL, which may hold a secret. `deadline` is the one the
/// request had.
pub fn in_words(error: &reqwest::Error, deadline: Duration) -> String {
    if error.is_timeout() {
        timed_out(deadline)
    } else if error.is_dns() {
        "name not found".to_owned()
    } else {
        cause_in_words(error)
    }
}

/// Describes a request that met its deadline.
pub fn timed_out(deadline: Duration) -> String {
    format!("timed out after {}", humantime::format_duration(deadline))
}

/// Describes the cause of a failed connection: `connection refused`, `TLS: certificate has expired`.
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

pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// An error, its cause, the cause's cause, and so on. [`io::Error::source`] skips the error it wraps, so that one is
/// asked for directly.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// Reads an HTTP date (RFC 9110, section 5.6.7).
pub fn date(value: &HeaderValue) -> Option<Timestamp> {
    let date = DateTime::parse_from_rfc2822(value.to_str().ok()?.trim()).ok()?;
    Some(Timestamp::from_millis(date.timestamp_millis()))
}

/// The wait that `Retry-After` asks for (RFC 9110, section 10.2.3). It is given in seconds or as a date; a date is
/// compared with `now`, and without `now` it is ignored.
pub fn retry_after(headers: &HeaderMap, now: Option<Timestamp>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    match value.to_str().ok()?.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(date(value)?.since(now?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse("2025-12-15T14:32:25.000Z");
        let asked = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]), now)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Mon, 15 Dec 2025 14:33:25 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(asked("Mon, 15 Dec 2025 14:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

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
