//! The tasks to start and to stop to get from one config to the next. Pure but for [`Job::note_content`].

use std::{collections::BTreeSet, time::Duration};

use secrecy::ExposeSecret;

use crate::{
    calendar::Zone,
    config::{Fingerprint, SourceConfig},
    config_file::Config,
    destination::{DestinationConfig, Links},
    language::Language,
    name::Name,
    privacy::HashKey,
    store,
};

/// A piece of work that has one task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    /// Polling a source.
    Source(Name),
    /// Serving a destination.
    Destination(Name),
    /// Keeping the store small and backed up.
    Upkeep,
}

impl Duty {
    /// The name of the source or destination.
    pub(super) fn name(&self) -> Option<&Name> {
        match self {
            Self::Source(name) | Self::Destination(name) => Some(name),
            Self::Upkeep => None,
        }
    }
}

impl From<&store::Duty> for Duty {
    fn from(duty: &store::Duty) -> Self {
        match duty {
            store::Duty::Source(name) => Self::Source(name.clone()),
            store::Duty::Destination(name) => Self::Destination(name.clone()),
            store::Duty::Upkeep => Self::Upkeep,
        }
    }
}

impl From<&Duty> for store::Duty {
    fn from(duty: &Duty) -> Self {
        match duty {
            Duty::Source(name) => Self::Source(name.clone()),
            Duty::Destination(name) => Self::Destination(name.clone()),
            Duty::Upkeep => Self::Upkeep,
        }
    }
}

/// Everything a config says that a task reads only when it starts. Two that are equal need no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Source {
        table: Fingerprint,
        /// The API key, and the certificates and the proxy, which are read from files when the task starts.
        content: Fingerprint,
    },
    Destination {
        table: Fingerprint,
        /// The certificates and the proxy, which are read from files when the task starts.
        content: Fingerprint,
        /// The time zone; it may come from the top of the file.
        timezone: Zone,
        /// The key of its hashes, as it was read with the config.
        hash_key: Option<HashKey>,
        /// The language; it may come from the top of the file as well.
        language: Language,
        /// Where the pages of calls are; that comes from the sources.
        links: Links,
        /// The grace period; it comes from `[delivery]`.
        grace: Duration,
    },
    /// Upkeep follows another config by itself.
    Upkeep,
}

/// A duty, with the config for it.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each source and destination, and only for a moment"
)]
#[derive(Clone, Debug)]
pub(super) enum Job {
    Source { config: SourceConfig, content: Fingerprint },
    Destination { config: DestinationConfig, content: Fingerprint, grace: Duration },
    Upkeep,
}

impl Job {
    /// Everything `config` wants to run. The content of the files that it names is not noted yet.
    pub(super) fn all_of(config: &Config) -> Vec<Self> {
        let grace = config.delivery.shutdown_grace;
        let content = Fingerprint::default;
        let sources = config.sources.iter().cloned();
        let sources = sources.map(|config| Self::Source { config, content: content() });
        let destinations = config.destinations.iter().cloned();
        let destinations = destinations.map(|config| Self::Destination { config, content: content(), grace });
        sources.chain(destinations).chain([Self::Upkeep]).collect()
    }

    /// Notes what the files hold that are read only when a task starts: without it, a certificate that was renewed would
    /// need a restart. Reads files, so it blocks.
    pub(super) fn note_content(&mut self) {
        match self {
            Self::Source { config, content } => {
                // A source whose key was refused waits for minutes, which a new key ends.
                let key = config.api_key.read().ok();
                let key = key.as_ref().map(|key| key.expose_secret().as_bytes()).unwrap_or_default();
                let connection = config.connection.content();
                *content = Fingerprint::of_parts([connection.as_str().as_bytes(), key]);
            }
            Self::Destination { config, content, .. } => {
                // Its secrets are read for every attempt.
                *content = config.kind.connection().content();
            }
            Self::Upkeep => {}
        }
    }

    pub(super) fn duty(&self) -> Duty {
        match self {
            Self::Source { config, .. } => Duty::Source(config.name.clone()),
            Self::Destination { config, .. } => Duty::Destination(config.name.clone()),
            Self::Upkeep => Duty::Upkeep,
        }
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Self::Source { config, content } => {
                Version::Source { table: config.fingerprint.clone(), content: content.clone() }
            }
            Self::Destination { config, content, grace } => Version::Destination {
                table: config.fingerprint.clone(),
                content: content.clone(),
                timezone: config.timezone,
                hash_key: config.fields.hash_key.clone(),
                language: config.language,
                links: config.links.clone(),
                grace: *grace,
            },
            Self::Upkeep => Version::Upkeep,
        }
    }
}

/// The tasks to start and to stop.
#[derive(Debug)]
pub(super) struct Plan {
    /// Jobs that are new or changed. When one has changed, the present task has to end first.
    pub(super) start: Vec<Job>,
    /// Duties that are gone.
    pub(super) stop: BTreeSet<Duty>,
}

impl Plan {
    /// The way from the tasks that run to those that are wanted.
    pub(super) fn between<'a>(
        running: impl IntoIterator<Item = (&'a Duty, &'a Version)>,
        mut wanted: Vec<Job>,
    ) -> Self {
        let mut stop = BTreeSet::new();
        for (duty, version) in running {
            match wanted.iter().position(|job| job.duty() == *duty) {
                Some(same) if wanted[same].version() == *version => drop(wanted.remove(same)),
                Some(_) => {}
                None => drop(stop.insert(duty.clone())),
            }
        }
        Self { start: wanted, stop }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::LoadOptions;

    fn config(text: &str) -> Config {
        let key = "0".repeat(60);
        let text = text
            .replace("KEY", &format!("api_key = \"ck_live_{key}\""))
            .replace("HOOK", "type = \"webhook\"");
        Config::parse(&text, Path::new("config.toml"), LoadOptions::default()).unwrap().config
    }

    const BEFORE: &str = "
        [sources.clinic]
        KEY
        [sources.garage]
        KEY
        [destinations.crm]
        HOOK
        url = 'https://crm.example.com/'
        [destinations.lake]
        HOOK
        url = 'https://lake.example.com/'
        [rules.ended]
        on = ['ended']
        to = ['crm', 'lake']
        ";

    /// The names of the tasks to start and to stop when `BEFORE` is edited.
    fn edited(edit: impl Fn(&str) -> String) -> (Vec<String>, Vec<String>) {
        let before: Vec<_> =
            Job::all_of(&config(BEFORE)).iter().map(|job| (job.duty(), job.version())).collect();
        let running = before.iter().map(|(duty, version)| (duty, version));
        let plan = Plan::between(running, Job::all_of(&config(&edit(BEFORE))));
        let names = |duties: Vec<Duty>| duties.iter().filter_map(Duty::name).map(Name::to_string).collect();
        (names(plan.start.iter().map(Job::duty).collect()), names(plan.stop.into_iter().collect()))
    }

    fn all(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_changed_is_touched() {
        for (what, from, to, start, stop) in [
            ("nothing", "", "", &[][..], &[][..]),
            ("a rule", "on = ['ended']", "on = ['started']", &[], &[]),
            ("layout", "[destinations.crm]", "# our CRM\n\n[destinations.crm]", &[], &[]),
            ("one URL", "crm.example.com/'", "crm.example.com/v2'", &["crm"], &[]),
            ("one source", "[sources.garage]", "[sources.garage]\ninterval = '20s'", &["garage"], &[]),
            ("a name", "[sources.garage]", "[sources.shop]", &["shop"], &["garage"]),
            (
                "the time zone",
                "\n        [sources.clinic]",
                "timezone = 'Europe/Berlin'\n[sources.clinic]",
                &["crm", "lake"],
                &[],
            ),
            (
                "the language",
                "\n        [sources.clinic]",
                "language = 'de'\n[sources.clinic]",
                &["crm", "lake"],
                &[],
            ),
            (
                "the address of the page",
                "[rules.ended]",
                "[server]\nlisten = '127.0.0.1:0'\npublic_url = 'https://calls.example.com'\n[rules.ended]",
                &["crm", "lake"],
                &[],
            ),
            (
                "the grace",
                "[rules.ended]",
                "[delivery]\nshutdown_grace = '1s'\n[rules.ended]",
                &["crm", "lake"],
                &[],
            ),
        ] {
            assert!(BEFORE.contains(from));
            assert_eq!(edited(|text| text.replacen(from, to, 1)), (all(start), all(stop)), "{what}");
        }
    }

    #[test]
    fn messages_link_to_the_page_where_people_reach_it() {
        let server = "[server]\nlisten = '127.0.0.1:0'\npublic_url = 'https://calls.example.com'\n";
        let config = config(&format!("{server}{BEFORE}"));
        let page = url::Url::parse("https://calls.example.com").unwrap();
        let links = crate::destination::Links::of(&config.sources, Some(&page));
        assert!(config.destinations.iter().all(|destination| destination.links == links));
        assert!(links != crate::destination::Links::of(&config.sources, None));
    }

    #[test]
    fn at_first_everything_is_started() {
        let plan = Plan::between([], Job::all_of(&config(BEFORE)));
        assert_eq!((plan.start.len(), plan.stop.len()), (5, 0));
    }
}
