//! What becomes of a path.

mod deciding;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::actor::backend::Backend;
use crate::relay::Relay;
use crate::settings;
use crate::settings::{
    ConnectionSettings, InvalidValue, OriginPattern, PathPattern, TagTemplate, UnfitTag,
};
pub use deciding::{Accept, OpeningRequest, Refuse};
pub(crate) use deciding::{Decide, Destination, Facts, asked};

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
pub(crate) enum Target {
    /// To a backend of this process, whoever connects.
    Backend(Arc<dyn Fn() -> Backend + Send + Sync>),
    /// To an application, once it has agreed.
    Relay(Arc<Relay>),
    /// Where code of an embedder says.
    Decide(Decide),
}

impl Route {
    /// Makes a route whose code decides about each client: it sees the whole request, and lets the client
    /// in or turns it away.
    ///
    /// The path is exact, or a prefix that ends in `/*`, and may name segments (`/rooms/{room}`). The code
    /// is asked once the request has been checked to open a WebSocket, and an `Origin` to be among
    /// [`Route::origins`]. It has what is left of the opening handshake's time
    /// ([`Builder::handshake_timeout`]); one that takes longer turns the client away with 503. If it
    /// fails or panics, the client gets 500 and the record the reason; if the client leaves meanwhile, the
    /// future is dropped.
    ///
    /// ```
    /// use lastword::{Accept, Backend, OpeningRequest, Refuse, Route};
    ///
    /// # async fn user_of(token: &str) -> Result<Option<String>, std::io::Error> {
    /// #     Ok((token == "Bearer secret").then(|| "ann".to_owned()))
    /// # }
    /// let route = Route::new("/rooms/{room}", async |request: OpeningRequest| {
    ///     let token = request.headers().get("authorization").and_then(|token| token.to_str().ok());
    ///     let user = match token {
    ///         // An error becomes a 500.
    ///         Some(token) => user_of(token).await?,
    ///         None => None,
    ///     };
    ///     let user = user.ok_or_else(|| Refuse::unauthorized("Bearer", "send a valid token"))?;
    ///     Ok(Accept::new(Backend::echo()).subject(user))
    /// });
    /// # route?.with_tag("room", "{room}")?;
    /// # Ok::<(), lastword::settings::InvalidValue>(())
    /// ```
    ///
    /// [`Builder::handshake_timeout`]: crate::Builder::handshake_timeout
    ///
    /// # Errors
    /// What is no such path.
    pub fn new<F, Fut, A>(path: &str, decide: F) -> Result<Self, InvalidValue>
    where
        F: Fn(OpeningRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Refuse>> + Send + 'static,
        A: Into<Accept>,
    {
        Ok(Self::to(path.parse()?, Target::Decide(deciding::boxed(decide))))
    }

    /// Makes a route that lets in whoever comes, with a backend for each connection.
    ///
    /// # Errors
    /// As [`Route::new`].
    pub fn serve(
        path: &str,
        backend: impl Fn() -> Backend + Send + Sync + 'static,
    ) -> Result<Self, InvalidValue> {
        Ok(Self::serve_at(path.parse()?, backend))
    }

    /// Likewise, for paths that were parsed already.
    pub fn serve_at(
        path: PathPattern,
        backend: impl Fn() -> Backend + Send + Sync + 'static,
    ) -> Self {
        Self::to(path, Target::Backend(Arc::new(backend)))
    }

    /// Makes a route that passes connections on to an application, whatever the size of messages:
    /// none is held. [`Route::with_settings`] may limit it.
    #[cfg(feature = "relay")]
    pub fn relay(path: PathPattern, relay: Arc<Relay>) -> Self {
        let mut route = Self::to(path, Target::Relay(relay));
        let mut settings = ConnectionSettings::default();
        settings.limits.max_message_size = crate::settings::ByteSize::MAX;
        settings.limits.max_frame_size = crate::settings::ByteSize::MAX;
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
    pub fn echo(path: &str) -> Result<Self, InvalidValue> {
        Self::serve(path, Backend::echo)
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
    ) -> Result<Self, InvalidValue> {
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
    pub(crate) fn matches(&self, host: Option<&str>, path: &str) -> bool {
        crate::settings::host_matches(self.host.as_deref(), host) && self.path.matches(path)
    }

    /// Tells whether a page of this origin may connect.
    pub(crate) fn allows_origin(&self, origin: Option<&str>) -> bool {
        crate::settings::origin_allowed(&self.origins, origin)
    }

    /// Returns the labels of a connection to this path and query.
    pub(crate) fn tags_of(
        &self,
        path: &str,
        query: Option<&str>,
    ) -> Result<BTreeMap<String, String>, UnfitTag> {
        settings::tags_of(&self.tags, &self.path, path, query)
    }

    /// Returns where its connections go.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Passes its connections on to an application from now on.
    pub(crate) fn pass_on(&mut self, relay: Arc<Relay>) {
        self.target = Target::Relay(relay);
    }

    /// Returns the application that its connections are passed on to.
    pub(crate) fn application(&self) -> Option<&Arc<Relay>> {
        match &self.target {
            Target::Backend(_) | Target::Decide(_) => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Route {
        Route::echo("/echo").unwrap()
    }

    #[test]
    fn a_host_matches_whatever_its_port_and_case() {
        let route = Route { host: Some("example.org".to_owned()), ..echo() };
        assert!(route.matches(Some("example.org"), "/echo"));
        assert!(route.matches(Some("Example.ORG:8080"), "/echo"));
        assert!(!route.matches(Some("example.net"), "/echo"));
        assert!(!route.matches(None, "/echo"));
        assert!(!route.matches(Some("example.org"), "/other"));
        assert!(echo().matches(None, "/echo"));
        let route = Route { host: Some("[::1]".to_owned()), ..echo() };
        assert!(route.matches(Some("[::1]"), "/echo"));
        assert!(route.matches(Some("[::1]:8080"), "/echo"));
    }

    #[test]
    fn a_list_of_origins_stops_browsers_only() {
        let origins = vec!["https://example.org".parse().unwrap()];
        let route = Route { origins, ..echo() };
        assert!(route.allows_origin(None));
        assert!(route.allows_origin(Some("https://example.org")));
        assert!(!route.allows_origin(Some("null")));
        assert!(echo().allows_origin(Some("https://example.net")));
    }
}
