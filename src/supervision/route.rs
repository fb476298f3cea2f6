//! What becomes of a path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::backend::Backend;
use super::relay::Relay;
use crate::config::{
    self, ByteSize, ConnectionSettings, OriginPattern, PathPattern, TagTemplate, UnfitTag,
};
use crate::transport::opening_handshake::RequestFacts;

/// A path, who may connect to it, and where its messages go. The first that matches wins.
#[derive(Clone)]
pub struct Route {
    /// Recorded as the ending's `route`.
    pub name: String,
    /// The host it is for; any, if there is none.
    pub host: Option<String>,
    /// The paths it is for.
    pub path: PathPattern,
    /// The web origins that may connect; any, if there are none.
    pub origins: Vec<OriginPattern>,
    /// The subprotocols it speaks, the best first.
    pub subprotocols: Vec<String>,
    /// What holds for its connections.
    pub settings: Arc<ConnectionSettings>,
    /// Labels its connections with what their paths and queries say.
    pub tags: BTreeMap<String, TagTemplate>,
    /// Lets others than the two ends of a relayed connection send messages there.
    pub inject: bool,
    target: Target,
}

/// Where the connections of a route go.
#[derive(Clone)]
enum Target {
    /// To a backend of this process.
    Backend(Arc<dyn Fn(&RequestFacts) -> Backend + Send + Sync>),
    /// To an application, once it has agreed.
    Relay(Arc<Relay>),
}

impl Route {
    /// Makes a route for a path, exact or a prefix that ends in `/*`, with a backend for each
    /// connection.
    ///
    /// # Errors
    /// A path that is neither.
    pub fn new(
        path: &str,
        backend: impl Fn(&RequestFacts) -> Backend + Send + Sync + 'static,
    ) -> Result<Self, crate::config::InvalidValue> {
        Ok(Self::at(path.parse()?, backend))
    }

    /// Makes a route for paths that were parsed already.
    pub fn at(
        path: PathPattern,
        backend: impl Fn(&RequestFacts) -> Backend + Send + Sync + 'static,
    ) -> Self {
        Self::to(path, Target::Backend(Arc::new(backend)))
    }

    /// Makes a route that passes connections on to an application, whatever the size of messages:
    /// none is held. [`Route::with_settings`] may limit it.
    pub fn relay(path: PathPattern, relay: Arc<Relay>) -> Self {
        let mut route = Self::to(path, Target::Relay(relay));
        let mut settings = ConnectionSettings::default();
        settings.limits.max_message_size = ByteSize::MAX;
        settings.limits.max_frame_size = ByteSize::MAX;
        route.settings = Arc::new(settings);
        route
    }

    fn to(path: PathPattern, target: Target) -> Self {
        Self {
            name: path.to_string(),
            host: None,
            path,
            origins: Vec::new(),
            subprotocols: Vec::new(),
            settings: Arc::default(),
            tags: BTreeMap::new(),
            inject: false,
            target,
        }
    }

    /// Makes a route that sends every message back.
    ///
    /// # Errors
    /// As [`Route::new`].
    pub fn echo(path: &str) -> Result<Self, crate::config::InvalidValue> {
        Self::new(path, |_| Backend::echo())
    }

    /// Labels its connections: text with `{name}` for a segment of the path, as in
    /// `/rooms/{name}`, and `{query.name}` for a parameter of the query.
    ///
    /// # Errors
    /// A text that is no such template.
    pub fn with_tag(
        mut self,
        name: impl Into<String>,
        template: &str,
    ) -> Result<Self, crate::config::InvalidValue> {
        self.tags.insert(name.into(), template.parse()?);
        Ok(self)
    }

    /// Sets what holds for its connections.
    #[must_use]
    pub fn with_settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = Arc::new(settings.bounded());
        self
    }

    /// Tells whether it is for this request.
    pub(super) fn matches(&self, host: Option<&str>, path: &str) -> bool {
        crate::config::host_matches(self.host.as_deref(), host) && self.path.matches(path)
    }

    /// Tells whether a page of this origin may connect.
    pub(super) fn allows_origin(&self, origin: Option<&str>) -> bool {
        crate::config::origin_allowed(&self.origins, origin)
    }

    /// Returns the labels of a connection to this path and query.
    pub(super) fn tags_of(
        &self,
        path: &str,
        query: Option<&str>,
    ) -> Result<BTreeMap<String, String>, UnfitTag> {
        config::tags_of(&self.tags, &self.path, path, query)
    }

    /// Returns the backend of a connection; none, where an application is to be asked first.
    pub(super) fn backend(&self, request: &RequestFacts) -> Backend {
        match &self.target {
            Target::Backend(backend) => backend(request),
            Target::Relay(_) => Backend::none(),
        }
    }

    /// Returns the application that its connections are passed on to.
    pub(super) fn application(&self) -> Option<&Arc<Relay>> {
        match &self.target {
            Target::Backend(_) => None,
            Target::Relay(relay) => Some(relay),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("name", &self.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
