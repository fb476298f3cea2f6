//! Lays the layers over each other and reads the schema from what comes out.

use std::io;
use std::path::{Path, PathBuf};

use ::config::Value;
use serde_path_to_error::Segment;

use super::error::{ConfigError, Place, Remedy};
use super::layers::{BUILT_IN, Layer, PREFIX, Shown, Step, descend, steps};
use super::limits::Limits;
use super::patterns::PathPattern;
use super::refusals::refused;
use super::relay::{InvalidUpstream, PlainHttp, RelayBackend};
use super::routing::{Backend, Route};
use super::schema::Config;
use super::tree::{Misfit, keys_of, read};
use super::validation::find_contradiction;

/// The name and the paths of the route of `--relay`.
const RELAY_THE_REST: (&str, &str) = ("relay", "/");

/// What a configuration is loaded from; later fields win over earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// The file of the system, which need not exist.
    pub system_file: Option<PathBuf>,
    /// The files of `--config`, in their order; each must exist.
    pub files: Vec<PathBuf>,
    /// The environment; what does not start with `LASTWORD__` is ignored.
    pub environment: Vec<(String, String)>,
    /// The arguments of `--set`, in their order: `close.timeout=1s`.
    pub set: Vec<String>,
    /// The argument of `--relay`: where every path goes that no route takes.
    pub relay: Option<String>,
}

impl Sources {
    /// The file of the system.
    pub const SYSTEM_FILE: &'static str = "/etc/lastword/lastword.toml";

    /// Makes the sources of this process: the file of the system, its environment, and what its
    /// arguments name.
    pub fn of_process(files: Vec<PathBuf>, set: Vec<String>) -> Self {
        let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            // What is not UTF-8 then fails as the value it is not.
            Some((name, value.to_string_lossy().into_owned()))
        };
        Self {
            system_file: Some(PathBuf::from(Self::SYSTEM_FILE)),
            files,
            environment: std::env::vars_os().filter_map(variable).collect(),
            set,
            relay: None,
        }
    }
}

/// Loads a configuration that is known, typed, buildable in this version and free of
/// contradictions. Reads files.
///
/// # Errors
/// The first thing wrong, in the order of the layers: place, key and remedy.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut stack = Stack::default();
    stack.push(Layer::document(None, BUILT_IN)?)?;
    if let Some(path) = &sources.system_file {
        match std::fs::read_to_string(path) {
            Ok(text) => stack.push(Layer::document(Some(path), &text)?)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ConfigError::Unreadable { path: path.clone(), source }),
        }
    }
    for path in &sources.files {
        stack.push(Layer::document(Some(path), &read_file(path)?)?)?;
    }
    // The environment has no order of its own; with one the same error always comes first.
    let mut environment: Vec<_> = sources.environment.iter().collect();
    environment.sort_unstable();
    for (name, value) in environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        stack.push(Layer::variable(name, value)?)?;
    }
    for argument in &sources.set {
        stack.push(Layer::argument(argument)?)?;
    }
    if let Some(url) = &sources.relay {
        stack.relay_the_rest(url)?;
    }
    stack.finish()
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })
}

/// The layers so far and what they make together.
#[derive(Default)]
struct Stack {
    layers: Vec<Layer>,
    merged: Value,
    config: Config,
}

impl Stack {
    /// Lays a layer on top. The schema is read after every layer, so that no later one hides what
    /// is wrong in an earlier one.
    fn push(&mut self, layer: Layer) -> Result<(), ConfigError> {
        let known = keys_of::<Config>();
        let roots = layer.roots();
        let unknown = roots.iter().find(|root| !known.contains(&root.as_str())).cloned();
        self.layers.push(layer);
        // Before merging, because `config` would read a quoted root key as a path.
        if let Some(key) = unknown {
            let place = self.place_of(&[Step::Key(key.clone())]);
            return Err(ConfigError::UnknownKey {
                place,
                remedy: Remedy::closest(&key, known),
                key,
            });
        }
        if let Some(layer) = self.layers.last() {
            layer.check_target(&self.merged)?;
        }
        self.merged = self.merge()?;
        self.config = self.read()?;
        Ok(())
    }

    fn merge(&self) -> Result<Value, ConfigError> {
        let builder = ::config::Config::builder().add_source(self.layers.clone());
        match builder.build() {
            Ok(merged) => Ok(merged.cache),
            // Layers only hand out what they hold; should `config` ever object, its own words must
            // do.
            Err(error) => {
                Err(ConfigError::Syntax { place: self.place_of(&[]), why: error.to_string() })
            }
        }
    }

    fn read(&self) -> Result<Config, ConfigError> {
        let refused = refused(&self.merged);
        let result = read::<Config>(&self.merged).map_err(|error| {
            let path = path_of(error.path());
            (path, error.into_inner())
        });
        // A value that cannot be read because it is not built yet is refused for that.
        let refusal = match &result {
            Ok(_) => refused.first(),
            Err((path, misfit)) => refused.iter().find(|(key, refusal)| {
                let related = key.starts_with(path) || path.starts_with(key);
                related && (refusal.unsettled || !matches!(misfit, Misfit::UnknownKey { .. }))
            }),
        };
        if let Some((path, refusal)) = refusal {
            return Err(ConfigError::NotInThisVersion {
                place: self.place_of(path),
                key: Shown(path).to_string(),
                what: refusal.what,
            });
        }
        result.map_err(|(path, misfit)| self.misfit(path, misfit))
    }

    fn misfit(&self, mut path: Vec<Step>, misfit: Misfit) -> ConfigError {
        let place = self.place_of(&path);
        match misfit {
            Misfit::UnknownKey { key, known } => {
                let remedy =
                    if is_route_limits(&path) && keys_of::<Limits>().contains(&key.as_str()) {
                        Remedy::WholeNode
                    } else {
                        Remedy::closest(&key, known)
                    };
                ConfigError::UnknownKey { place, key: Shown(&path).to_string(), remedy }
            }
            Misfit::MissingKey(key) => {
                path.push(Step::Key(key.to_owned()));
                ConfigError::MissingKey { place, key: Shown(&path).to_string() }
            }
            Misfit::Value(why) => {
                ConfigError::InvalidValue { place, key: Shown(&path).to_string(), why }
            }
        }
    }

    /// Adds the route of `--relay`, behind all others.
    fn relay_the_rest(&mut self, url: &str) -> Result<(), ConfigError> {
        let refuse = |why| ConfigError::Assignment { place: Place::Relay, why };
        let url = url.parse().map_err(|error: InvalidUpstream| refuse(error.to_string()))?;
        let taken = |route: &Route| route.name == RELAY_THE_REST.0;
        if self.config.routes.iter().any(taken) {
            let why = format!("there is a route {:?} already: rename it", RELAY_THE_REST.0);
            return Err(refuse(why));
        }
        let relay = RelayBackend { http: PlainHttp::Proxy, ..RelayBackend::new(url) };
        self.config.routes.push(Route {
            name: RELAY_THE_REST.0.to_owned(),
            path: PathPattern::Prefix(RELAY_THE_REST.1.to_owned()),
            backend: Backend::Relay(Box::new(relay)),
            ..Route::default()
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        // Two defaults follow another key, so that changing that one alone is no contradiction.
        if !self.sets("limits.max_frame_size") {
            self.config.limits.max_frame_size = self.config.limits.max_message_size;
        }
        // A relay holds no message, so no default limits what it passes on.
        if !self.sets("limits.max_message_size") {
            let frame = self.sets("limits.max_frame_size");
            let frame = frame.then_some(self.config.limits.max_frame_size);
            for route in &mut self.config.routes {
                if let Backend::Relay(_) = route.backend {
                    route.limits.max_frame_size = route.limits.max_frame_size.or(frame);
                    route.limits = route.limits.passing();
                }
            }
        }
        if !self.sets("close.linger") {
            let close = &mut self.config.close;
            close.linger = close.linger.min(close.timeout);
        }
        match find_contradiction(&self.config) {
            None => Ok(self.config),
            Some(found) => {
                // Of the keys that do not go together, name one that somebody wrote.
                let key = found.keys.iter().find(|key| self.sets(key)).or(found.keys.first());
                let key = key.cloned().unwrap_or_default();
                let place = self.place_of(&steps(&key).unwrap_or_default());
                Err(ConfigError::Contradiction { place, key, violation: found.violation })
            }
        }
    }

    fn sets(&self, key: &str) -> bool {
        let path = steps(key).unwrap_or_default();
        descend(&self.merged, &path).0 == path.len()
    }

    /// Finds the last layer that sets `path`, or else the one that comes closest to it.
    fn place_of(&self, path: &[Step]) -> Place {
        let places = self.layers.iter().map(|layer| layer.locate(path));
        places.max_by_key(|(depth, _)| *depth).map_or(Place::BuiltIn, |(_, place)| place)
    }
}

fn path_of(path: &serde_path_to_error::Path) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Step::Element(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { variant } => Some(Step::Key(variant.clone())),
        Segment::Unknown => None,
    };
    path.iter().filter_map(step).collect()
}

fn is_route_limits(path: &[Step]) -> bool {
    matches!(path, [Step::Key(routes), Step::Element(_), Step::Key(limits), Step::Key(_)]
        if routes == "routes" && limits == "limits")
}
