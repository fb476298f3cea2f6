//! Applications that have left the configuration: their clients are closed, one application after the
//! other, as a drain does.

use std::time::Duration;

use tracing::info;

use super::routes::InUse;
use super::stopping;
use crate::config::{BackendChoice, Config};
use crate::manager::{DrainOptions, Supervisor};
use crate::settings::Drain;
use crate::vocabulary::{DrainPhase, Requester, Selector};

/// How often to look whether another drain has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The clients of applications that have left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Leaving(Vec<Selector>);

/// Returns the applications that a relay route had and has no more. What becomes of the connections of a
/// route that goes, or that goes elsewhere, is up to their two ends.
pub(super) fn between(before: &InUse, config: &Config) -> Leaving {
    let mut leaving = Vec::new();
    for (old, built) in before.config.routes.iter().zip(&before.routes) {
        let now = config.routes.iter().find(|route| route.name == old.name);
        let (BackendChoice::Relay(had), Some(BackendChoice::Relay(has))) =
            (&old.backend, now.map(|route| &route.backend))
        else {
            continue;
        };
        let recorded = |url: &str| built.settings.records.recorded_url(url);
        let kept: Vec<String> = has.urls.iter().map(|url| recorded(url.as_str())).collect();
        let mut left: Vec<_> = has.urls.iter().map(Some).collect();
        for (number, url) in had.urls.iter().enumerate() {
            if let Some(same) = left.iter_mut().find(|other| other.as_ref() == Some(&url)) {
                *same = None;
                continue;
            }
            let upstream = recorded(url.as_str());
            leaving.push(Selector {
                route: Some(old.name.clone()),
                // The number tells applications apart whose recorded URLs are the same.
                upstream_number: kept.contains(&upstream).then_some(number),
                upstream: Some(upstream),
                ..Selector::default()
            });
        }
    }
    Leaving(leaving)
}

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drains them one after the other, each once no other drain is under way.
    pub(super) async fn drain(self, supervisor: Supervisor, drain: Drain, by: Requester) {
        let by = match by {
            // A drain that a signal began could not be cancelled.
            Requester::Signal(_) => None,
            Requester::Api(_) | Requester::Drain(_) => Some(by),
        };
        for select in self.0 {
            let upstream = select.upstream.clone();
            let options = DrainOptions {
                select,
                stay: false,
                by: by.clone(),
                ..stopping::options(&drain, "HUP")
            };
            while supervisor.start_drain(options.clone()).is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            info!(
                upstream,
                "an application has left the configuration, and its clients are closed"
            );
            let is_running = || {
                supervisor.drain_progress().is_some_and(|drain| {
                    drain.phase == DrainPhase::Running && drain.select == options.select
                })
            };
            while is_running() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}
