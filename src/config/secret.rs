//! Values that must not be seen: given in place, in the environment or in a file, and read when needed.

use std::{fmt, path::PathBuf};

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

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// [`SecretError`] when the variable is missing or the file cannot be read.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Plain(secret) => Ok(secret.clone()),
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(value.into()),
                _ => Err(SecretError::NoVariable(name.clone())),
            },
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).into()),
                Err(error) => {
                    Err(SecretError::NoFile { path: path.display().to_string(), why: error.to_string() })
                }
            },
        }
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
