//! How a server is reached: `ca_file`, `client_cert` and `client_key`, and `proxy` where HTTP is spoken, for sources and
//! destinations alike.

use std::path::PathBuf;

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use secrecy::ExposeSecret;

use super::{
    context::Secrets,
    file::read_regular,
    fingerprint::Fingerprint,
    key::{Key, ValueType},
    report::Mistake,
    secret::{Secret, secret},
    table::Table,
    value::Value,
    values::parse_web_address,
};

pub(crate) const CA_FILE: Key =
    Key::new("ca_file", ValueType::Path, "certificates (PEM) to trust beside the machine's own");
pub(crate) const CLIENT_CERT: Key = Key::new(
    "client_cert",
    ValueType::Path,
    "a certificate (PEM) for callwatch itself, for servers that ask for one",
);
pub(crate) const CLIENT_KEY: Key = Key::new("client_key", ValueType::Path, "its private key (PEM)");
pub(crate) const PROXY: Key = Key::new(
    "proxy",
    ValueType::Secret,
    "the proxy that makes the connections, `\"http://proxy.example.com:3128\"`; may hold a user and a password",
);

/// How a server is reached: the API, or a receiver.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Certificates (PEM) to trust beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// The certificate for servers that ask who calls.
    pub identity: Option<ClientIdentity>,
    /// The proxy that makes the connections. May hold a password.
    pub proxy: Option<Secret>,
    /// Connect to public addresses only (`allow_private = false` of a webhook).
    pub public_only: bool,
}

impl Connection {
    /// Reads the keys. `allow_private` is not among them, so private addresses are connected to as well.
    pub(crate) fn read(table: &mut Table<'_>) -> Self {
        let connection = Self::read_direct(table);
        Self { proxy: table.read(&PROXY, proxy), ..connection }
    }

    /// Reads the keys but `proxy`, for a server that does not speak HTTP.
    pub(crate) fn read_direct(table: &mut Table<'_>) -> Self {
        let ca_file = table.read(&CA_FILE, certificates);
        let certificate = table.read(&CLIENT_CERT, certificates);
        let key = table.read(&CLIENT_KEY, |value| {
            let path = file(value, "private key", has_key)?;
            if value.cx.options.secrets == Secrets::Required {
                value.cx.note_secret_file(value.span.clone(), &path);
            }
            Ok(path)
        });
        for (one, other) in [(&CLIENT_CERT, &CLIENT_KEY), (&CLIENT_KEY, &CLIENT_CERT)] {
            if table.has(one) && !table.has(other) {
                table.cx.add_absence(
                    Mistake::error(table.span_of(one), format!("`{}` is missing", other.name))
                        .hint("a certificate and its private key go together"),
                );
            }
        }
        let identity = certificate.zip(key).map(|(certificate, key)| ClientIdentity { certificate, key });
        Self { ca_file, identity, proxy: None, public_only: false }
    }

    /// A fingerprint of what the client is made of beside the config: the content of the certificate and key files, and the
    /// proxy's address. A file or secret that cannot be read counts as empty.
    pub fn content(&self) -> Fingerprint {
        let Self { ca_file, identity, proxy, public_only: _ } = self;
        let identity = identity.as_ref().map(|ClientIdentity { certificate, key }| [certificate, key]);
        let files = ca_file.iter().chain(identity.into_iter().flatten());
        let mut contents: Vec<_> = files.map(|path| read_regular(path, MAX_PEM).ok()).collect();
        let proxy = proxy.iter().map(|proxy| proxy.read().ok());
        contents.extend(proxy.map(|read| Some(read?.expose_secret().as_bytes().to_vec())));
        Fingerprint::of_parts(contents.iter().map(|content| content.as_deref().unwrap_or_default()))
    }

    /// Whether the client that is shared by all will do.
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
pub(crate) const MAX_PEM: u64 = 1 << 20;

fn proxy(value: &Value<'_>) -> Result<Secret, Mistake> {
    let found = secret(value)?;
    match found.content().map(parse_web_address) {
        Some(Err(why)) => Err(value.error(why).hint("write \"http://proxy.example.com:3128\"")),
        Some(Ok(_)) | None => Ok(found.secret),
    }
}

/// The path of a PEM file with certificates to trust.
pub(super) fn certificates(value: &Value<'_>) -> Result<PathBuf, Mistake> {
    file(value, "certificate", has_certificate)
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
