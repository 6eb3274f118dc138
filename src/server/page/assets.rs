//! The stylesheet, the script and the icons. Their addresses contain a hash of their content, so browsers keep them for good
//! and ask anew after an update.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::server::{Service, problem::Problem};

/// Everything under this can be read without signing in: the page to sign in at needs it.
const FOLDER: &str = "/assets/";

/// The address to sign in at.
pub(super) const SIGN_IN: &str = "/sign-in";

/// A file that pages load.
pub(super) struct Asset {
    /// Where it is.
    pub(super) path: String,
    kind: &'static str,
    content: &'static str,
}

/// All assets.
pub(super) struct Assets {
    pub(super) style: Asset,
    pub(super) script: Asset,
    /// The icon when all is well.
    pub(super) well: Asset,
    /// The icon when something is wrong.
    pub(super) trouble: Asset,
}

pub(super) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new("page.css", "text/css; charset=utf-8", include_str!("page.css")),
    script: Asset::new("page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    well: Asset::new("well.svg", "image/svg+xml", include_str!("well.svg")),
    trouble: Asset::new("trouble.svg", "image/svg+xml", include_str!("trouble.svg")),
});

impl Asset {
    fn new(name: &str, kind: &'static str, content: &'static str) -> Self {
        let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
        let hash = xxh3_64(content.as_bytes());
        Self { path: format!("{FOLDER}{stem}-{hash:016x}.{extension}"), kind, content }
    }
}

/// Whether this address may be asked without signing in.
pub(in crate::server) fn is_for_all(path: &str) -> bool {
    path == SIGN_IN || path.starts_with(FOLDER)
}

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/assets/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let Assets { style, script, well, trouble } = &*ASSETS;
    let mut all = [style, script, well, trouble].into_iter();
    let found = all.find(|asset| asset.path.strip_prefix(FOLDER) == Some(&*name));
    let found = found.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no_route",
            "this belongs to another version; load the page again",
        )
    })?;
    let headers =
        [(header::CONTENT_TYPE, found.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, found.content).into_response())
}
