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
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
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
    // The group is that of this process.
    assert_eq!(load_with_file(KEY, 0o640).unwrap().warnings.to_string(), "");
    for (mode, message) in [(0o604, "read"), (0o602, "change"), (0o606, "read and change")] {
        let report = load_with_file(KEY, mode).unwrap().warnings;
        let [mistake] = report.mistakes() else { panic!("{report}") };
        assert_eq!(mistake.message, format!("other users of this machine can {message} this file"));
        assert!(mistake.hint.as_deref().unwrap().starts_with("chmod 600 "));
    }
}

#[test]
fn an_empty_or_endless_secret_file_is_an_error() {
    let messages = |content: &str| {
        let report = load_with_file(content, 0o600).unwrap_err();
        report.mistakes().iter().map(|mistake| mistake.message.clone()).collect::<Vec<_>>()
    };
    let [empty] = &messages("\n")[..] else { panic!("one mistake") };
    assert!(
        empty.starts_with("the file /") && empty.ends_with("/key cannot be read: it is empty"),
        "{empty}"
    );
    let [long] = &messages(&"x".repeat(65_537))[..] else { panic!("one mistake") };
    assert!(long.ends_with("/key cannot be read: it is longer than 64 KiB"), "{long}");
}

/// Loads a config in `folder`, whose mode decides whether others can get at what is in it.
fn load_in(folder: &Path, text: &str) -> Vec<String> {
    let path = folder.join("config.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let report = match Config::load(&path, OPTIONS) {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    };
    report.mistakes().iter().map(|mistake| mistake.message.clone()).collect()
}

#[test]
fn a_file_that_is_none_is_refused_without_waiting_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    for file in ["fifo", "folder", "socket", "/dev/zero"] {
        for text in [
            format!("[sources.clinic]\napi_key = {{ file = \"{file}\" }}\n"),
            format!(
                "[destinations.crm]\ntype = \"webhook\"\nurl = \"https://crm.example.com/\"\nca_file = \"{file}\"\n"
            ),
        ] {
            let messages = load_in(folder.path(), &completed(&text));
            let [message] = &messages[..] else { panic!("{file}: {messages:?}") };
            assert!(message.ends_with("cannot be read: it is not a regular file"), "{message}");
        }
        let report = Config::load(&folder.path().join(file), OPTIONS).unwrap_err();
        assert_eq!(report.mistakes()[0].message, "the config file cannot be read: it is not a regular file");
    }
}

#[test]
fn what_others_can_get_at_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let set =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let literal = completed(&format!("[sources.clinic]\napi_key = \"{KEY}\"\n"));
    set(folder.path(), 0o700);
    // The folder is closed, whatever the file's own mode.
    assert_eq!(load_in(folder.path(), &literal), [""; 0]);
    set(folder.path(), 0o755);
    assert_eq!(
        load_in(folder.path(), &literal),
        ["other users of this machine can read this file, and the secret in it"]
    );
    assert_eq!(load_in(folder.path(), &completed("")), [""; 0]);

    let store = folder.path().join("callwatch.db");
    std::fs::create_dir(&store).unwrap();
    set(&store, 0o755);
    let [message] = &load_in(folder.path(), &completed(""))[..] else { panic!("one mistake") };
    assert!(message.starts_with("other users of this machine can read the store /"), "{message}");
    set(&store, 0o777);
    let path = folder.path().join("config.toml");
    let report = Config::load(&path, OPTIONS).unwrap_err();
    assert!(report.to_string().contains("can change the store"), "{report}");
    set(&store, 0o700);
    assert_eq!(load_in(folder.path(), &completed("")), [""; 0]);

    // A user who may change the folder can put other files in the place of those in it.
    set(folder.path(), 0o777);
    let messages = load_in(folder.path(), &completed(""));
    let [own, place] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(own, "other users of this machine can replace this file, and so where calls are sent");
    assert!(
        place.starts_with("other users of this machine can put another folder in the place of"),
        "{place}"
    );
    set(folder.path(), 0o1777);
    assert_eq!(load_in(folder.path(), &completed("")), [""; 0], "only the owner can, in a folder like /tmp");
    set(&path, 0o666);
    let report = Config::load(&path, OPTIONS).unwrap().warnings;
    assert!(report.to_string().contains("can change this file, and so where calls are sent"), "{report}");
}

#[test]
fn a_file_that_must_not_be_read_says_who_may() {
    // Root may read everything, so another user has to ask.
    let folder = tempfile::tempdir().unwrap();
    let open = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder.path(), open(0o755)).unwrap();
    let binary = folder.path().join("callwatch");
    std::fs::copy(env!("CARGO_BIN_EXE_callwatch"), &binary).unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, completed("")).unwrap();
    std::fs::set_permissions(&path, open(0o000)).unwrap();
    let mut check = std::process::Command::new(&binary);
    check.arg("check").arg(&path);
    let is_root = std::fs::read(&path).is_ok();
    if is_root {
        std::os::unix::process::CommandExt::uid(&mut check, 65_534);
    }
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let owner = if is_root {
        "only root may read it (mode 0), and callwatch runs as nobody"
    } else {
        "may read it (mode 0)"
    };
    assert!(said.contains(owner), "{said}");
    assert_eq!(output.status.code(), Some(78));
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
