//! Values that must not be seen: given in place, in the environment or in a file, and read when needed.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// Where a secret is. Reading it again picks up a rotated one.
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
        /// The system's words.
        why: String,
    },
}

/// A longer file is not a secret but a mistake. In bytes.
const MAX_FILE: u64 = 64 * 1024;

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// [`SecretError`] when the variable is missing or the file cannot be read.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        self.read_with(&|name| std::env::var(name).ok())
    }

    /// Reads it, with the environment looked up in `env`.
    pub(super) fn read_with(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<SecretString, SecretError> {
        match self {
            Self::Plain(secret) => Ok(secret.clone()),
            Self::Env(name) => match env(name) {
                // As in a file: a line break at the end is not part of it.
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

/// Says where a secret is, never what it is.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("[secret]"),
            Self::Env(name) => write!(f, "[secret in ${name}]"),
            Self::File(path) => write!(f, "[secret in {}]", path.display()),
        }
    }
}
