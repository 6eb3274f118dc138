//! How an HTTP receiver is reached: `ca_file`, `client_cert`, `client_key`, `proxy` and `allow_private`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Certificate, Client, Identity, Proxy,
    dns::{Addrs, Name, Resolve, Resolving},
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use secrecy::ExposeSecret;

use super::address::{NotPublic, is_public};
use crate::{
    config::{
        Key, Mistake, Secret, SecretError, Secrets, Table, Value, ValueType, parse_web_address, read_regular,
        secret,
    },
    http,
};

pub(super) const CA_FILE: Key =
    Key::new("ca_file", ValueType::Path, "certificates (PEM) to trust beside the machine's own");
pub(super) const CLIENT_CERT: Key = Key::new(
    "client_cert",
    ValueType::Path,
    "a certificate (PEM) for callwatch itself, for receivers that ask for one",
);
pub(super) const CLIENT_KEY: Key = Key::new("client_key", ValueType::Path, "its private key (PEM)");
pub(super) const PROXY: Key = Key::new(
    "proxy",
    ValueType::Secret,
    "the proxy that makes the connections, `\"http://proxy.example.com:3128\"`; may hold a user and a password",
);

/// How an HTTP receiver is reached.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Certificates (PEM) to trust beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// The certificate for receivers that ask who calls.
    pub identity: Option<ClientIdentity>,
    /// The proxy that makes the connections. May hold a password.
    pub proxy: Option<Secret>,
    /// Connect to public addresses only (`allow_private = false`).
    pub public_only: bool,
}

impl Connection {
    /// Reads the keys. `allow_private` is not among them, so private addresses are connected to as well.
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let ca_file = table.read(&CA_FILE, |value| file(value, "certificate", has_certificate));
        let certificate = table.read(&CLIENT_CERT, |value| file(value, "certificate", has_certificate));
        let key = table.read(&CLIENT_KEY, |value| file(value, "private key", has_key));
        for (one, other) in [(&CLIENT_CERT, &CLIENT_KEY), (&CLIENT_KEY, &CLIENT_CERT)] {
            if table.has(one) && !table.has(other) {
                table.cx.add_absence(
                    Mistake::error(table.span_of(one), format!("`{}` is missing", other.name))
                        .hint("a certificate and its private key go together"),
                );
            }
        }
        let identity = certificate.zip(key).map(|(certificate, key)| ClientIdentity { certificate, key });
        Self { ca_file, identity, proxy: table.read(&PROXY, proxy), public_only: false }
    }

    /// Whether the client that all destinations share will do.
    pub fn is_plain(&self) -> bool {
        let Self { ca_file, identity, proxy, public_only } = self;
        ca_file.is_none() && identity.is_none() && proxy.is_none() && !public_only
    }
}

/// A certificate for callwatch itself and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The longest file of certificates or keys, in bytes: several times the list of all public authorities.
const MAX_PEM: u64 = 1 << 20;

fn proxy(value: &Value<'_>) -> Result<Secret, Mistake> {
    let found = secret(value)?;
    match found.content().map(parse_web_address) {
        Some(Err(why)) => Err(value.error(why).hint("write \"http://proxy.example.com:3128\"")),
        Some(Ok(_)) | None => Ok(found.secret),
    }
}

/// The path of a PEM file that holds a `what`.
fn file(
    value: &Value<'_>,
    what: &str,
    look: impl Fn(&[u8]) -> Result<bool, pem::Error>,
) -> Result<PathBuf, Mistake> {
    let path = match value.text()? {
        "" => return Err(value.error("the path is empty")),
        path => value.cx.folder.join(path),
    };
    // A command that needs no secrets needs no certificates either.
    if value.cx.options.secrets == Secrets::Ignored {
        return Ok(path);
    }
    let content = read_regular(&path, MAX_PEM)
        .map_err(|error| value.error(format!("the file {} cannot be read: {error}", path.display())))?;
    match look(&content) {
        Ok(true) => Ok(path),
        Ok(false) | Err(_) => Err(value
            .error(format!("there is no {what} in the file {}", path.display()))
            .hint("a PEM file is expected, with lines such as -----BEGIN CERTIFICATE-----")),
    }
}

fn has_certificate(pem: &[u8]) -> Result<bool, pem::Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    Ok(!certificates?.is_empty())
}

fn has_key(pem: &[u8]) -> Result<bool, pem::Error> {
    PrivateKeyDer::from_pem_slice(pem).map(|_| true)
}

/// Why no client can be made for a connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The system offers no usable TLS, or certificate and key do not go together.
    #[error(transparent)]
    Tls(#[from] http::ClientError),
    /// A file with certificates or a private key cannot be used.
    #[error("the file {path} cannot be used: {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The secret that holds the proxy's address cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The proxy's address is not a URL.
    #[error("`proxy` is not an http:// or https:// address")]
    Proxy,
}

/// Makes a client like that of [`http::client`] which connects as `connection` says. Reads certificates and keys from
/// disk, so it blocks.
///
/// # Errors
/// [`ConnectionError`] when one of the files, or TLS as a whole, cannot be used.
pub fn client_for(connection: &Connection) -> Result<Client, ConnectionError> {
    let Connection { ca_file, identity, proxy, public_only } = connection;
    let mut builder = http::builder();
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
    if *public_only {
        builder = builder.dns_resolver(PublicOnly);
    }
    Ok(http::finish(builder)?)
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectionError> {
    read_regular(path, MAX_PEM)
        .map_err(|error| ConnectionError::File { path: path.display().to_string(), why: error.to_string() })
}

fn bad(path: &Path, error: &reqwest::Error) -> ConnectionError {
    ConnectionError::File { path: path.display().to_string(), why: http::root_cause(error).to_string() }
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
