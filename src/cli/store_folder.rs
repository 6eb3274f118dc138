//! Where the store is, for commands that look into it.

use std::path::{Path, PathBuf};

use crate::{config::STORE_FOLDER, config_file::Config};

/// Why it is not known which store is meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoStore {
    #[error("there is no store at {path}: `callwatch run` makes it. {}", elsewhere(.of_service.as_deref()))]
    Missing { path: String, of_service: Option<PathBuf> },
    #[error(
        "the config does not say where the store is, and there are two: {path} and the service's, {of_service}. Say \
         which with STATE_DIRECTORY={of_service} or with [store] path",
        of_service = of_service.display()
    )]
    Ambiguous { path: String, of_service: PathBuf },
}

/// Where systemd keeps the stores of services whose units ask for one, as ours does.
const SERVICES: &str = "/var/lib";

fn elsewhere(of_service: Option<&Path>) -> String {
    match of_service.map(Path::display) {
        Some(path) => format!("The service has one at {path}: ask again with STATE_DIRECTORY={path}"),
        None => "If the service has another, set [store] path, or STATE_DIRECTORY as the service has it"
            .to_owned(),
    }
}

/// Looks whether the store is where the config says, and whether the service's may be meant.
///
/// A service finds its store by STATE_DIRECTORY, which systemd sets and a shell does not have.
pub(super) fn look(config: &Config) -> Result<(), NoStore> {
    look_at(config, Path::new(SERVICES), std::env::var_os("STATE_DIRECTORY").is_some())
}

fn look_at(config: &Config, services: &Path, is_told: bool) -> Result<(), NoStore> {
    let path = config.store.path.display().to_string();
    let is_default = !is_told && config.store.path == config.path.with_file_name(STORE_FOLDER);
    // A folder that this user cannot look into is there.
    let is_store = |path: &Path| path.join("sled").try_exists().unwrap_or(true);
    let of_service = Some(services.join("callwatch")).filter(|it| is_default && is_store(it));
    match (config.store.path.exists(), of_service) {
        (true, None) => Ok(()),
        (true, Some(of_service)) => Err(NoStore::Ambiguous { path, of_service }),
        (false, of_service) => Err(NoStore::Missing { path, of_service }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadOptions;

    #[test]
    fn the_store_of_the_service_is_found_without_state_directory() {
        let folder = tempfile::tempdir().unwrap();
        let (etc, services) = (folder.path().join("etc"), folder.path().join("var"));
        std::fs::create_dir(&etc).unwrap();
        let text = format!("[sources.clinic]\napi_key = \"ck_live_{}\"\n", "0".repeat(60));
        let config = |text: &str| {
            let options = LoadOptions { env: &|_| None, ..LoadOptions::default() };
            Config::parse(text, &etc.join("config.toml"), options).unwrap().config
        };
        let why = |config: &Config, is_told| {
            look_at(config, &services, is_told).err().map(|error| error.to_string())
        };
        let found = config(&text);
        let said = why(&found, false).unwrap();
        assert!(said.ends_with("set [store] path, or STATE_DIRECTORY as the service has it"), "{said}");

        std::fs::create_dir_all(services.join("callwatch/sled")).unwrap();
        let theirs = services.join("callwatch").display().to_string();
        let said = why(&found, false).unwrap();
        assert!(said.ends_with(&format!("at {theirs}: ask again with STATE_DIRECTORY={theirs}")), "{said}");
        // Somebody ran it by hand once.
        std::fs::create_dir(etc.join("callwatch.db")).unwrap();
        let said = why(&found, false).unwrap();
        assert!(said.contains("there are two") && said.contains(&theirs), "{said}");
        assert_eq!(why(&found, true), None);
        std::fs::create_dir(etc.join("other.db")).unwrap();
        assert_eq!(why(&config(&format!("[store]\npath = \"other.db\"\n{text}")), false), None);
    }
}
