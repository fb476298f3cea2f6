//! Routes: which requests they match, and what serves the connections.

mod deciding;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::actor::backend::Backend;
use crate::auth::Auth;
use crate::node::slots::RouteSlots;
use crate::relay::Relay;
use crate::settings;
use crate::settings::{
    ConnectionSettings, InvalidValue, OriginPattern, PathPattern, Replace, RouteCapacity,
    TagTemplate, UnfitTag,
};
pub use deciding::{Accept, OpeningRequest, Refuse};
pub(crate) use deciding::{Decide, Destination, Facts, asked};

/// A rule that maps a path (and host) to a backend, with the settings of its connections.
///
/// A listener tries its routes in order and uses the first that matches.
#[derive(Clone)]
pub struct Route {
    /// The name, recorded as the ending's `route`.
    pub name: String,
    /// The host that requests must name; `None` matches any host.
    pub host: Option<String>,
    /// The paths that match.
    pub path: PathPattern,
    /// The web pages that may connect; by default [`OriginPattern::Same`]: those of the host that
    /// the request is for, if it carries a cookie. With [`OriginPattern::Any`], or if the list is
    /// empty, all may.
    pub origins: Vec<OriginPattern>,
    /// The supported subprotocols in order of preference.
    pub subprotocols: Vec<String>,
    /// The settings of its connections.
    pub settings: Arc<ConnectionSettings>,
    /// The tags of its connections, filled in from the path and the query.
    pub tags: BTreeMap<String, TagTemplate>,
    /// Whether messages may be injected into its relayed connections, beside those that the client
    /// and the application exchange.
    pub inject: bool,
    auth: Option<Arc<Auth>>,
    /// Counts its connections, if their number may be limited.
    slots: Option<RouteSlots>,
    /// What a second connection of one subject does; by default both stay.
    pub replace: Replace,
    target: Target,
}

/// Where the connections of a route go.
#[derive(Clone)]
pub(crate) enum Target {
    /// To a backend of this process, for every client.
    Backend(Arc<dyn Fn() -> Backend + Send + Sync>),
    /// To an application, once it has answered 101.
    Relay(Arc<Relay>),
    /// To the destination that code of an embedder chooses for each client.
    Decide(Decide),
}

impl Route {
    /// Makes a route that calls `decide` for each client, which accepts or refuses it.
    ///
    /// The path is exact, or a prefix that ends in `/*`, and may name segments (`/rooms/{room}`).
    /// `decide` gets the whole request. It is called once the request is known to be a valid
    /// WebSocket handshake, with an `Origin` among [`Route::origins`] if it has one.
    ///
    /// `decide` has what is left of [`Builder::handshake_timeout`]; then the client gets 503. If it
    /// fails or panics, the client gets 500, and the reason is recorded. If the client
    /// disconnects first, the future is dropped.
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
    /// `path` is not a valid pattern.
    pub fn new<F, Fut, A>(path: &str, decide: F) -> Result<Self, InvalidValue>
    where
        F: Fn(OpeningRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Refuse>> + Send + 'static,
        A: Into<Accept>,
    {
        Ok(Self::to(path.parse()?, Target::Decide(deciding::boxed(decide))))
    }

    /// Makes a route that accepts every client and calls `backend` for each connection.
    ///
    /// # Errors
    /// As [`Route::new`].
    pub fn serve(
        path: &str,
        backend: impl Fn() -> Backend + Send + Sync + 'static,
    ) -> Result<Self, InvalidValue> {
        Ok(Self::serve_at(path.parse()?, backend))
    }

    /// Does the same as [`Route::serve`] for a path that is parsed already.
    pub fn serve_at(
        path: PathPattern,
        backend: impl Fn() -> Backend + Send + Sync + 'static,
    ) -> Self {
        Self::to(path, Target::Backend(Arc::new(backend)))
    }

    /// Makes a route that relays connections to an application.
    ///
    /// A relay does not hold whole messages, so their size is unlimited by default;
    /// [`Route::with_settings`] can limit it.
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
            origins: settings::default_origins(),
            subprotocols: Vec::new(),
            settings: Arc::default(),
            tags: BTreeMap::new(),
            inject: false,
            auth: None,
            slots: None,
            replace: Replace::None,
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

    /// Adds a tag to each of its connections.
    ///
    /// In `template`, `{name}` stands for a named segment of the path, as in `/rooms/{name}`, and
    /// `{query.name}` for a parameter of the query.
    ///
    /// # Errors
    /// `template` is not a valid template.
    pub fn with_tag(
        mut self,
        name: impl Into<String>,
        template: &str,
    ) -> Result<Self, InvalidValue> {
        self.tags.insert(name.into(), template.parse()?);
        Ok(self)
    }

    /// Sets the settings of its connections.
    #[must_use]
    pub fn with_settings(mut self, settings: ConnectionSettings) -> Self {
        self.settings = Arc::new(settings.bounded());
        self
    }

    /// Lets only those clients connect that `auth` admits. It is asked before the code of the route, and
    /// about the plain HTTP of a relay, too.
    #[cfg(feature = "auth")]
    #[must_use]
    pub fn with_auth(mut self, auth: Arc<Auth>) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Limits how many connections it may have. The clones made behind this share the limits.
    #[must_use]
    pub fn with_capacity(mut self, capacity: RouteCapacity) -> Self {
        self.slots = Some(RouteSlots::new(capacity));
        self
    }

    /// Takes the place of another route of this name: its connections count here, and applications
    /// that both have keep their state.
    pub(crate) fn succeed(&mut self, other: &Self) {
        if let (Some(own), Some(slots)) = (&self.slots, &other.slots) {
            self.slots = Some(slots.with_capacity(own.capacity()));
        }
        if let (Target::Relay(own), Target::Relay(relay)) = (&self.target, &other.target)
            && !Arc::ptr_eq(own, relay)
        {
            self.target = Target::Relay(own.succeeding(relay));
        }
    }

    /// Returns the slots for its connections, if their number may be limited.
    pub(crate) fn slots(&self) -> Option<&RouteSlots> {
        self.slots.as_ref()
    }

    /// Returns who decides whether clients may connect, if they have to be admitted.
    pub(crate) fn auth(&self) -> Option<&Arc<Auth>> {
        self.auth.as_ref()
    }

    /// Sets what a second connection of one subject does: the one that goes gets a Close with 4409.
    ///
    /// ```
    /// use lastword::settings::Replace;
    /// use lastword::{Accept, Backend, OpeningRequest, Route};
    ///
    /// let route = Route::new("/chat", async |_: OpeningRequest| {
    ///     Ok(Accept::new(Backend::echo()).subject("ann"))
    /// });
    /// let route = route?.with_replace(Replace::Oldest);
    /// # Ok::<(), lastword::settings::InvalidValue>(())
    /// ```
    #[must_use]
    pub fn with_replace(mut self, replace: Replace) -> Self {
        self.replace = replace;
        self
    }

    /// Returns whether the route matches a request.
    pub(crate) fn matches(&self, host: Option<&str>, path: &str) -> bool {
        crate::settings::host_matches(self.host.as_deref(), host) && self.path.matches(path)
    }

    /// Returns the tags of a connection to this path and query.
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

    /// Relays its connections to an application from now on.
    pub(crate) fn pass_on(&mut self, relay: Arc<Relay>) {
        self.target = Target::Relay(relay);
    }

    /// Returns the relay, if the route has one.
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
}
