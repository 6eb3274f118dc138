//! Secrets: written in the file itself, or kept in the environment or in a file of their own and read when needed.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use super::{
    Secrets,
    key::{Key, ValueType},
    report::Mistake,
    table::Table,
    value::Value,
};

const ENV: Key = Key::new("env", ValueType::Text, "the name of an environment variable");
const FILE: Key = Key::new("file", ValueType::Path, "a file that holds nothing else");

/// The place of a secret. It is read again whenever it is used, so that a rotated secret works without a restart.
#[derive(Clone)]
pub enum Secret {
    /// In the config itself.
    Plain(SecretString),
    /// `{ env = "NAME" }`
    Env(String),
    /// `{ file = "path" }`; trailing line breaks do not belong to it.
    File(PathBuf),
}

/// Why a secret cannot be read. Never holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no such variable, or it is empty.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("the secret file {path} cannot be read: {why}")]
    NoFile {
        /// Which file.
        path: String,
        /// The system's message.
        why: String,
    },
}

/// The longest secret file in bytes; a longer one was named by mistake.
const MAX_FILE: u64 = 64 * 1024;

impl Secret {
    /// Reads the secret.
    ///
    /// # Errors
    /// [`SecretError`] when the variable is missing or the file cannot be read.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        self.read_with(&|name| std::env::var(name).ok())
    }

    /// Reads the secret; `env` looks variables up.
    pub(super) fn read_with(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SecretString, SecretError> {
        match self {
            Self::Plain(secret) => Ok(secret.clone()),
            Self::Env(name) => match env(name) {
                // As in a file, a line break at the end is not part of the secret.
                Some(value) if !value.trim().is_empty() => Ok(value.trim_end_matches(['\r', '\n']).into()),
                _ => Err(SecretError::NoVariable(name.clone())),
            },
            Self::File(path) => read_file(path).map_err(|error| SecretError::NoFile {
                path: path.display().to_string(),
                why: error.to_string(),
            }),
        }
    }
}

fn read_file(path: &Path) -> io::Result<SecretString> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is longer than 64 KiB"));
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(io::Error::other("it is empty")),
        secret => Ok(secret.into()),
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::Plain(value.into())
    }
}

/// Shows the place of a secret, never its content.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("[secret]"),
            Self::Env(name) => write!(f, "[secret in ${name}]"),
            Self::File(path) => write!(f, "[secret in {}]", path.display()),
        }
    }
}

/// A secret of the config and its present content.
pub(crate) struct Found {
    pub secret: Secret,
    /// `None` when secrets are ignored and it is kept elsewhere.
    pub content: Option<SecretString>,
}

impl Found {
    /// The present content.
    pub fn content(&self) -> Option<&str> {
        self.content.as_ref().map(ExposeSecret::expose_secret)
    }
}

/// A secret: a plain text, `{ env = "NAME" }` or `{ file = "path" }`.
pub(crate) fn secret(value: &Value<'_>) -> Result<Found, Mistake> {
    let (secret, place) = if value.is_text() {
        value.hide();
        let text = value.text()?;
        if text.is_empty() {
            return Err(value.error("the secret is empty"));
        }
        (Secret::from(text), value.span.clone())
    } else if value.is_table() {
        secret_elsewhere(value)?
    } else {
        value.hide();
        return Err(value.wrong_type("a text, { env = \"NAME\" } or { file = \"path\" }"));
    };
    if value.cx.options.secrets == Secrets::Ignored && !matches!(secret, Secret::Plain(_)) {
        return Ok(Found { secret, content: None });
    }
    let content = secret.read_with(value.cx.options.env).map_err(|error| {
        let mistake = |message| Mistake::error(place.clone(), message);
        match error {
            SecretError::NoVariable(ref name) => {
                mistake(error.to_string()).hint(format!("set it first: export {name}=…"))
            }
            SecretError::NoFile { why, .. } => mistake(format!("this file cannot be read: {why}")),
        }
    })?;
    if let Secret::File(path) = &secret
        && is_open_to_others(path)
    {
        let hint = format!("chmod 600 {}", path.display());
        value.cx.add(Mistake::warning(place, "other users of this machine can read this file").hint(hint));
    }
    Ok(Found { secret, content: Some(content) })
}

/// A secret in a variable or a file, and the place where that is named.
fn secret_elsewhere(value: &Value<'_>) -> Result<(Secret, Range<usize>), Mistake> {
    const HINT: &str = "write { env = \"NAME\" } or { file = \"path\" }";
    let mut table = Table::of(value)?;
    let places = (table.value(&ENV), table.value(&FILE));
    table.finish();
    match places {
        (Some(env), None) => match env.text()? {
            name if name.is_empty() || name.contains(['=', '\0']) => {
                Err(env.error("this cannot be the name of a variable"))
            }
            name => Ok((Secret::Env(name.to_owned()), env.span)),
        },
        (None, Some(file)) => match file.text()? {
            "" => Err(file.error("the path is empty")),
            path => Ok((Secret::File(value.cx.folder.join(path)), file.span)),
        },
        (Some(_), Some(_)) => Err(value.error("a secret can only be in one place").hint(HINT)),
        (None, None) => Err(value.error("this does not say where the secret is").hint(HINT)),
    }
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_path: &Path) -> bool {
    false
}
