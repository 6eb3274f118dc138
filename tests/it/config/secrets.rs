//! Secrets are looked at, and never shown.

use std::{os::unix::fs::PermissionsExt, path::Path};

use callwatch::config::{LoadOptions, Secrets};
use callwatch::config_file::Config;
use secrecy::ExposeSecret;

use super::{KEY, OPTIONS, completed};

/// Loads a config whose API key is in a file with this content and these permissions.
fn load_with_file(
    content: &str,
    mode: u32,
) -> Result<callwatch::config_file::Loaded, callwatch::config::Report> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, content).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let text = completed("[sources.clinic]\napi_key = { file = \"key\" }\n");
    let loaded = Config::parse(&text, &folder.path().join("config.toml"), OPTIONS)?;
    let key = loaded.config.sources[0].api_key.read().unwrap();
    assert_eq!(key.expose_secret(), KEY);
    Ok(loaded)
}

#[test]
fn a_secret_file_is_found_beside_the_config_and_read_without_its_line_break() {
    let loaded = load_with_file(&format!("{KEY}\r\n"), 0o600).unwrap();
    assert_eq!(loaded.warnings.to_string(), "");
}

#[test]
fn a_secret_file_that_others_can_read_is_a_warning() {
    for mode in [0o640, 0o604] {
        let report = load_with_file(KEY, mode).unwrap().warnings;
        let [mistake] = report.mistakes() else { panic!("{report}") };
        assert_eq!(mistake.message, "other users of this machine can read this file");
        assert!(mistake.hint.as_deref().unwrap().starts_with("chmod 600 "));
    }
}

#[test]
fn an_empty_or_endless_secret_file_is_an_error() {
    let messages = |content: &str| {
        let report = load_with_file(content, 0o600).unwrap_err();
        report.mistakes().iter().map(|mistake| mistake.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(messages("\n"), ["this file cannot be read: it is empty"]);
    assert_eq!(messages(&"x".repeat(65_537)), ["this file cannot be read: it is longer than 64 KiB"]);
}

#[test]
fn ignored_secrets_need_not_be_there() {
    let text = completed(
        "[sources.clinic]\napi_key = { env = \"NOT_SET\" }\n\n\
         [destinations.crm]\ntype = \"webhook\"\nurl = \"https://crm.example.com/\"\n\
         secret = { file = \"/not/there\" }\n",
    );
    let options = |secrets| LoadOptions { secrets, env: &|_| None };
    let load = |secrets| Config::parse(&text, Path::new("config.toml"), options(secrets));
    assert_eq!(load(Secrets::Ignored).unwrap().warnings.to_string(), "");
    assert_eq!(load(Secrets::Required).unwrap_err().mistakes().len(), 2);
}

#[test]
fn the_state_directory_is_the_default_of_the_store() {
    let path = |state: Option<&str>| {
        let env = |name: &str| match name {
            "STATE_DIRECTORY" => state.map(str::to_owned),
            name => super::env(name),
        };
        let options = LoadOptions { secrets: Secrets::Required, env: &env };
        let loaded = Config::parse(&completed(""), Path::new("etc/config.toml"), options).unwrap();
        loaded.config.store.path
    };
    assert_eq!(path(None), Path::new("etc/callwatch.db"));
    assert_eq!(path(Some("")), Path::new("etc/callwatch.db"));
    assert_eq!(path(Some("/var/lib/callwatch:/var/lib/other")), Path::new("/var/lib/callwatch"));
}

#[test]
fn debug_output_shows_no_secret() {
    let text = completed(
        "[sources.clinic]\napi_key = \"ck_live_hush\"\n\n\
         [destinations.a]\ntype = \"webhook\"\nurl = \"https://u:hush@crm.example.com/hooks/hush?k=hush\"\n\
         secret = \"whsec_aHVzaGh1c2g=\"\nheaders = { authorization = \"Bearer hush\" }\n\n\
         [destinations.b]\ntype = \"slack\"\nwebhook_url = \"https://hooks.slack.com/services/hush\"\n\n\
         [destinations.c]\ntype = \"email\"\nsmtp = \"smtps://me:hush@smtp.example.com\"\n\
         from = \"me@example.com\"\nto = [\"me@example.com\"]\n\n\
         [rules.r]\non = [\"ended\"]\nto = [\"a\", \"b\", \"c\"]\n",
    );
    let loaded = super::parse(&text).unwrap();
    let shown = format!("{loaded:?} {:#?} {}", loaded.config, loaded.warnings.render(true));
    assert!(shown.contains("crm.example.com"), "{shown}");
    for secret in ["hush", "aHVzaGh1c2g"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
