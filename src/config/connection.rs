//! How an HTTP receiver is reached: `ca_file`, `client_cert`, `client_key`, `proxy`.

use std::path::PathBuf;

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::{
    ClientIdentity, Connection, Secret, Secrets,
    reader::Table,
    report::Mistake,
    value::Value,
    values::{parse_web_address, secret},
};

/// Reads the keys. Connects to private addresses as well.
pub(super) fn connection(table: &mut Table<'_>) -> Connection {
    let ca_file = table.optional("ca_file", |value| file(value, "certificate", has_certificate));
    let certificate = table.optional("client_cert", |value| file(value, "certificate", has_certificate));
    let key = table.optional("client_key", |value| file(value, "private key", has_key));
    for (one, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if table.has(one) && !table.has(other) {
            table.cx.add_absence(
                Mistake::error(table.span_of(one), format!("`{other}` is missing"))
                    .hint("a certificate and its private key go together"),
            );
        }
    }
    let identity = certificate.zip(key).map(|(certificate, key)| ClientIdentity { certificate, key });
    Connection { ca_file, identity, proxy: table.optional("proxy", proxy), public_only: false }
}

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
    // Where secrets need not be there, these need not either.
    if value.cx.options.secrets == Secrets::Ignored {
        return Ok(path);
    }
    let content = std::fs::read(&path)
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
