//! The page `GET /ui/`: static files, embedded in the program as they are written.
//!
//! The files hold no data, so they need no token; the page's scripts send one with each request
//! for data. The Content-Security-Policy lets the page load and reach nothing but this API.

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use siphasher::sip::SipHasher13;

use super::problem::Problem;

/// The path of the page.
pub(super) const PATH: &str = "/ui/";

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Declares files of `ui/` with their types.
macro_rules! assets {
    ($($name:literal: $content_type:expr,)*) => {
        &[$(Asset {
            name: $name,
            content_type: $content_type,
            content: include_bytes!(concat!("ui/", $name)),
        },)*]
    };
}

/// The first file is the page itself.
const ASSETS: &[Asset] = assets! {
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": IMAGE,
    "main.js": SCRIPT,
    "api.js": SCRIPT,
    "applications.js": SCRIPT,
    "chart.js": SCRIPT,
    "connections.js": SCRIPT,
    "dialers.js": SCRIPT,
    "dialogs.js": SCRIPT,
    "dom.js": SCRIPT,
    "draining.js": SCRIPT,
    "endings.js": SCRIPT,
    "events.js": SCRIPT,
    "formatting.js": SCRIPT,
    "overview.js": SCRIPT,
    "records.js": SCRIPT,
    "table.js": SCRIPT,
};

/// What the browser holds the page to.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // A browser asks each time whether the file is still this one, so an upgrade shows at once.
    (header::CACHE_CONTROL, "no-cache"),
];

/// Leads to the page.
pub(super) async fn redirect() -> Response {
    let place = [(header::LOCATION, HeaderValue::from_static(PATH))];
    (StatusCode::PERMANENT_REDIRECT, place).into_response()
}

/// Serves the page itself.
pub(super) async fn page(headers: HeaderMap) -> Response {
    serve(&ASSETS[0], &headers)
}

/// Serves a file of the page.
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => serve(asset, &headers),
        None => Problem::not_found(format!("there is no {PATH}{name}")).into_response(),
    }
}

/// Returns whether a path is one of the page's files, which hold no data.
pub(super) fn is_path(path: &str) -> bool {
    path == "/ui" || path.starts_with(PATH)
}

fn serve(asset: &Asset, asked: &HeaderMap) -> Response {
    let tag = tag(asset.content);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().any(|known| {
        let known = known.to_str().unwrap_or_default();
        known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
    });
    let mut response = Response::new(Body::from(if known { &[] } else { asset.content }));
    let headers = response.headers_mut();
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    }
    response
}

/// Returns the entity tag of a content.
fn tag(content: &[u8]) -> String {
    format!("\"{:016x}\"", SipHasher13::new().hash(content))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::vocabulary::{Cause, Kind};

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.content).unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_all_of_them_are_small() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/surfaces/control/ui");
        let written: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        assert_eq!(served, written);
        for asset in ASSETS {
            let source = fs::read(format!("{folder}/{}", asset.name)).unwrap();
            assert_eq!(asset.content, source, "{}", asset.name);
        }
        let size: usize = ASSETS.iter().map(|asset| asset.content.len()).sum();
        assert!(size <= 200 * 1024, "{size} bytes");
    }

    /// What is in quotes behind any of these words.
    fn quoted<'t>(text: &'t str, before: &[&str]) -> Vec<&'t str> {
        let mut found = Vec::new();
        for before in before {
            for rest in text.split(&format!("{before}\"")).skip(1) {
                found.extend(rest.split('"').next());
            }
        }
        found
    }

    #[test]
    fn what_the_files_refer_to_is_served() {
        let mut references = 0;
        for asset in ASSETS {
            for name in quoted(text(asset), &["src=", "href=", " from ", "import ", "import("]) {
                if let Some(fragment) = name.strip_prefix('#') {
                    let is_view = fragment.starts_with('/');
                    assert!(
                        is_view || text(asset).contains(&format!("id=\"{fragment}\"")),
                        "{name}"
                    );
                    continue;
                }
                let name = name.strip_prefix("./").unwrap_or(name);
                let known = ASSETS.iter().any(|asset| asset.name == name);
                assert!(known, "{} refers to {name}", asset.name);
                references += 1;
            }
        }
        assert!(references > 20, "{references}");
    }

    #[test]
    fn no_file_refers_to_another_host_or_holds_what_the_policy_forbids() {
        for asset in ASSETS {
            let name = asset.name;
            // A name of SVG's, which is never fetched.
            let text = text(asset).replace("http://www.w3.org/2000/svg", "");
            for forbidden in ["http://", "https://", "\"//", "'//", "url(", "@import"] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "localStorage",
                "sessionStorage",
                "indexedDB",
                "document.cookie",
                "<style",
                " style=",
                "javascript:",
            ] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
            for script in text.split("<script").skip(1) {
                assert!(script.contains("></script>"), "{name} has an inline script");
            }
            let handlers = [" onclick=", " onload=", " onerror=", " onsubmit="];
            assert!(handlers.iter().all(|on| !text.contains(on)), "{name} has an inline handler");
        }
    }

    #[test]
    fn the_words_to_filter_by_are_those_of_the_contract() {
        let endings = ASSETS.iter().find(|asset| asset.name == "endings.js").unwrap();
        let words = |list: &str| {
            let (_, rest) = text(endings).split_once(&format!("const {list} = [")).unwrap();
            let (listed, _) = rest.split_once(']').unwrap();
            listed.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words("KINDS"), Kind::words().collect::<Vec<_>>());
        let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(words("CAUSES"), causes);
    }

    #[test]
    fn files_stay_readable() {
        for asset in ASSETS {
            let lines = text(asset).lines().count();
            assert!(lines <= 480, "{} has {lines} lines", asset.name);
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let asset = &ASSETS[0];
        let ask = |tag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            serve(asset, &headers).status()
        };
        let tag = tag(asset.content);
        assert_eq!(ask(&tag), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&format!("\"x\", W/{tag}")), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("\"x\""), StatusCode::OK);
    }
}
