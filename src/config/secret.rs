//! Secrets: written in the file itself, or kept in the environment or in a file of their own and read when needed.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    Secrets,
    file::read_regular,
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

/// How long a file may take to be read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

impl Secret {
    /// Reads the secret away from the runtime's workers, and waits no longer than [`READ_TIMEOUT`] for a disk or a
    /// network that hangs.
    ///
    /// # Errors
    /// As [`Secret::read`], and when there is no answer in time.
    pub async fn load(&self) -> Result<SecretString, SecretError> {
        let Self::File(path) = self else { return self.read() };
        let secret = self.clone();
        let failed = |why: String| Err(SecretError::NoFile { path: path.display().to_string(), why });
        match timeout(READ_TIMEOUT, spawn_blocking(move || secret.read())).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(format!("no answer within {}", humantime::format_duration(READ_TIMEOUT))),
        }
    }

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
                why: match error.kind() {
                    io::ErrorKind::NotFound => "it does not exist".to_owned(),
                    _ => error.to_string(),
                },
            }),
        }
    }
}

fn read_file(path: &Path) -> io::Result<SecretString> {
    let content = read_regular(path, MAX_FILE)?;
    let text = String::from_utf8(content).map_err(|_| io::Error::other("it is not UTF-8 text"))?;
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
        if let Some((name, whole)) = variable_in(text) {
            let message = "variables are not filled in, so this is taken as it is written";
            let hint = match whole {
                true => format!("write {{ env = \"{name}\" }} in place of the quotes"),
                false => "put the whole value into one variable, and write { env = \"NAME\" }".to_owned(),
            };
            return Err(value.error(message).hint(hint));
        }
        if looks_like_key(text) || text.contains("hooks.slack.com/") || text.contains('@') {
            value.cx.note_literal_secret(value.span.clone());
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
                mistake(error.to_string()).hint(match value.cx.env_file() {
                    // As `callwatch init` writes it.
                    Some(file) => format!("if it is in {file}, read that first: set -a; . {file}; set +a"),
                    None => format!("set it first: export {name}=…"),
                })
            }
            SecretError::NoFile { .. } if is_secret(value, &secret) => {
                value.hide();
                mistake("there is no such file, and this looks like the secret itself".to_owned())
                    .hint("write it to a file of its own, and the path of that here")
            }
            SecretError::NoFile { path, why } => mistake(format!("the file {path} cannot be read: {why}")),
        }
    })?;
    if let Some(inside) = within_quotes(content.expose_secret()) {
        let holder = match &secret {
            Secret::Plain(_) => "this secret".to_owned(),
            Secret::Env(name) => format!("the value of {name}"),
            Secret::File(path) => format!("the secret in the file {}", path.display()),
        };
        let message = format!("{holder} has quotes around it, which are taken as a part of it");
        let hint = "leave them out where it is set";
        if looks_like_key(inside) {
            return Err(Mistake::error(place, message).hint(hint));
        }
        value.cx.add(Mistake::warning(place.clone(), message).hint(hint));
    }
    if let Secret::File(path) = &secret {
        value.cx.note_secret_file(place, path);
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
                env.hide();
                Err(env.error("this cannot be the name of a variable"))
            }
            name if looks_like_secret(name) => {
                env.hide();
                Err(env
                    .error("this looks like the secret itself, not like the name of a variable")
                    .hint("set a variable to it, as in export NAME=…, and write { env = \"NAME\" }"))
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

/// Whether the path that was written in place of `secret` looks like the secret.
fn is_secret(value: &Value<'_>, secret: &Secret) -> bool {
    let Secret::File(path) = secret else { return false };
    let written = path.strip_prefix(value.cx.folder).unwrap_or(path);
    written.iter().any(|part| looks_like_secret(&part.to_string_lossy()))
}

/// A secret that is one whatever it looks like: a password.
pub(crate) fn password(value: &Value<'_>) -> Result<Found, Mistake> {
    let found = secret(value)?;
    if value.is_text() {
        value.cx.note_literal_secret(value.span.clone());
    }
    Ok(found)
}

/// Whether a text looks like a secret rather than like a name: it begins as keys and tokens do, or it is long and mixes
/// letters and digits.
fn looks_like_secret(text: &str) -> bool {
    looks_like_key(text) || text.contains("://")
}

/// Whether a text looks like a key or a token.
fn looks_like_key(text: &str) -> bool {
    const BEGINNINGS: [&str; 9] =
        ["ck_live_", "ck_test_", "sk_live_", "whsec_", "xoxb-", "xoxp-", "xapp-", "eyJ", "Bearer "];
    let is_random = text.len() >= 24
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains(['.', '/']);
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) || is_random
}

/// The name in `${NAME}`, `$NAME` or `%NAME%`, as shells write a variable, and whether it is the whole text.
fn variable_in(text: &str) -> Option<(&str, bool)> {
    let is_name = |name: &str| {
        let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
        name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(is_part)
    };
    // A password may begin with these signs; the names of variables are in capitals, as a rule.
    let is_constant =
        |name: &&str| is_name(name) && name.len() > 2 && !name.contains(|c: char| c.is_ascii_lowercase());
    let percent = || text.strip_prefix('%')?.strip_suffix('%');
    if let Some(name) = text.strip_prefix('$').or_else(percent).filter(is_constant) {
        return Some((name, true));
    }
    let (name, _) = text.split_once("${")?.1.split_once('}')?;
    is_name(name).then_some((name, text.len() == name.len() + "${}".len()))
}

/// A secret without the quotes around it, if it has some: a `.env` file and the shell of Windows keep them.
fn within_quotes(secret: &str) -> Option<&str> {
    let within = |quote: char| secret.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).filter(|inside| !inside.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_from_passwords() {
        for (text, found) in [
            ("${KEY}", Some(("KEY", true))),
            ("whsec_${key}", Some(("key", false))),
            ("$CALLEM_API_KEY", Some(("CALLEM_API_KEY", true))),
            ("%CALLEM_API_KEY%", Some(("CALLEM_API_KEY", true))),
            ("$ecret", None),
            ("$2a$10$abc", None),
            ("$A", None),
            ("100%", None),
            ("%", None),
            ("$", None),
        ] {
            assert_eq!(variable_in(text), found, "{text}");
        }
    }

    #[test]
    fn names_and_paths_are_not_taken_for_secrets() {
        for name in ["CALLEM_API_KEY", "SMTP_PASSWORD_2", "callem_key", "smtp", "callem-api-key.txt"] {
            assert!(!looks_like_secret(name), "{name}");
        }
        for secret in
            ["ck_live_1", "whsec_x", "4f9d0c2b7a6e4c1db1b2c3d4e5f60718", "https://hooks.slack.com/x"]
        {
            assert!(looks_like_secret(secret), "{secret}");
        }
    }
}
