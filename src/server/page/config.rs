//! The config at work, and how the file on disk stands to it.

use askama::Template;
use axum::{
    Router,
    extract::State,
    http::Uri,
    response::{Redirect, Response},
    routing::{get, post},
};

use super::{
    html,
    shell::{Frame, Place, Visit},
    words::Words,
};
use crate::{
    ops::Mishap,
    privacy::escaped,
    server::{Service, api, problem::Problem, query::Parts},
    time::Timestamp,
};

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/config", get(config)).route("/config/reload", post(reload))
}

#[derive(Template)]
#[template(path = "config.html")]
struct ConfigPage {
    frame: Frame,
    words: Words,
    was_reloaded: bool,
    file: String,
    since: Option<Timestamp>,
    differs: Option<Timestamp>,
    rejected: Option<Mishap>,
    watches: bool,
    /// Whether there is a file that can be reloaded.
    can_reload: bool,
    text: String,
}

async fn config(visit: Visit, State(service): State<Service>, uri: Uri) -> Result<Response, Problem> {
    let mut parts = Parts::of(&uri);
    let done = parts.take("done", |text| (text == "reloaded").then_some(()))?;
    parts.rest::<super::Nothing>()?;
    let frame = visit.frame(Place::Config);
    let status = visit.status.service.map(|service| service.config);
    let (since, rejected, differs) =
        status.map(|status| (status.since, status.rejected, status.differs)).unwrap_or_default();
    let shown = &*visit.config.shown;
    // A value that TOML cannot express is shown as JSON.
    let text = toml::to_string_pretty(shown).unwrap_or_else(|_| format!("{shown:#}"));
    html(&ConfigPage {
        frame,
        words: visit.words,
        was_reloaded: done.is_some() && rejected.is_none(),
        file: visit.config.path.display().to_string(),
        since,
        differs,
        rejected,
        watches: visit.config.reload.watch,
        can_reload: service.has_file(),
        text: escaped(&text).into_owned(),
    })
}

async fn reload(State(service): State<Service>) -> Result<Redirect, Problem> {
    // Mistakes stand on the board by now, and so on the page.
    let result = api::reload_config(service).await?;
    Ok(Redirect::to(if result.is_ok() { "/config?done=reloaded" } else { "/config" }))
}
