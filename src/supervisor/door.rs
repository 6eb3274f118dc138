//! A way in for people, such as an address to listen on. Implemented by the server, on which this module must not
//! depend.

use async_trait::async_trait;

use super::ApplyError;
use crate::config_file::Config;

/// Opens what was prepared. It cannot fail; when it is dropped instead, everything stays as it was.
pub type Opening = Box<dyn FnOnce() + Send>;

/// A way in for people that follows the config, such as an address to listen on.
#[async_trait]
pub trait Door: Send {
    /// Does everything for `config` that can fail, and changes nothing of what is open.
    ///
    /// # Errors
    /// [`ApplyError::Door`] says why `config` cannot be put to work.
    async fn prepare(&mut self, config: &Config) -> Result<Opening, ApplyError>;
}
