//! The frame around every page, and the things that every page is made from.

use std::sync::Arc;

use axum::{
    Extension,
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use super::{
    assets::{ASSETS, Assets},
    verdict::Verdict,
    words::Words,
};
use crate::{
    config::ShownFields,
    config_file::Config,
    ops::{Ops, Status},
    server::{Service, guard::Entrance, problem::Problem},
};

/// A page of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Calls,
    Deliveries,
    Rules,
    Config,
}

impl Place {
    const ALL: [Self; 5] = [Self::Overview, Self::Calls, Self::Deliveries, Self::Rules, Self::Config];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Calls => "Calls",
            Self::Deliveries => "Deliveries",
            Self::Rules => "Rules",
            Self::Config => "Config",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Calls => "/calls",
            Self::Deliveries => "/deliveries",
            Self::Rules => "/rules",
            Self::Config => "/config",
        }
    }
}

/// Head and navigation of a page.
pub(super) struct Frame {
    /// Where in the navigation the page is; `None` leaves the navigation out.
    pub(super) place: Option<Place>,
    /// Whether something is wrong: title and icon show it on every page.
    pub(super) is_trouble: bool,
    /// Whether whoever reads it can sign out.
    pub(super) can_sign_out: bool,
    /// The time of the page and its zone.
    pub(super) time: Option<(Words, String)>,
}

impl Frame {
    /// Without a navigation, for those who may not know anything and for problems.
    pub(super) fn bare() -> Self {
        Self { place: None, is_trouble: false, can_sign_out: false, time: None }
    }

    pub(super) fn places(&self) -> &'static [Place] {
        &Place::ALL
    }

    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.place == Some(*place)
    }

    pub(super) fn assets(&self) -> &'static Assets {
        &ASSETS
    }

    pub(super) fn icon(&self) -> &'static str {
        if self.is_trouble { &ASSETS.trouble.path } else { &ASSETS.well.path }
    }

    /// The sign before the title of a page in the list of a browser's tabs.
    pub(super) fn mark(&self) -> &'static str {
        if self.is_trouble { "✗ " } else { "" }
    }
}

/// Everything a page is made from.
pub(super) struct Visit {
    pub(super) ops: Ops,
    pub(super) config: Arc<Config>,
    pub(super) status: Status,
    pub(super) verdict: Verdict,
    pub(super) words: Words,
    can_sign_out: bool,
}

impl FromRequestParts<Service> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        let Extension(entrance) =
            Extension::<Arc<Entrance>>::from_request_parts(parts, service).await.map_err(|error| {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_entrance", error.to_string())
            })?;
        let config = service.config()?;
        let ops = service.ops()?;
        let status = ops.status().await?;
        let words = Words { now: status.at, zone: config.timezone };
        let verdict = Verdict::of(&status, words);
        Ok(Self { ops, config, status, verdict, words, can_sign_out: entrance.token().is_some() })
    }
}

impl Visit {
    pub(super) fn frame(&self, place: Place) -> Frame {
        Frame {
            place: Some(place),
            is_trouble: self.verdict.is_trouble(),
            can_sign_out: self.can_sign_out,
            time: Some((self.words, self.words.zone.name().to_owned())),
        }
    }

    /// The fields of calls that may be shown.
    pub(super) fn show(&self) -> ShownFields {
        self.config.server.as_ref().map(|server| server.show).unwrap_or_default()
    }
}
