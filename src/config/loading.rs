//! Lays the layers over each other and reads the schema from what comes out.

use std::io;
use std::path::{Path, PathBuf};

use ::config::Value;
use serde_path_to_error::Segment;

use super::backend::BackendChoice;
use super::error::{ConfigError, Place, Remedy};
use super::layers::{BUILT_IN, Layer, PREFIX, Shown, Step, descend, steps};
use super::patching::patch;
use super::refusals::refused;
use super::routing::Route;
use super::schema::Config;
use super::tree::{Misfit, keys_of, read};
use super::validation::find_contradictions;
use crate::settings::{InvalidUpstream, Limits, PathPattern, PlainHttp, RelayBackend};

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
    /// The argument of `--relay`: the application for every path without a route.
    pub relay: Option<String>,
    /// The arguments of `--tls-cert` and `--tls-key`: the certificate of the first listener.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Sources {
    /// The file of the system.
    pub const SYSTEM_FILE: &'static str = "/etc/lastword/lastword.toml";

    /// Makes the sources of this process: the file of the system, its environment, and what its
    /// arguments name.
    pub fn of_process(files: Vec<PathBuf>, set: Vec<String>) -> Self {
        let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            // A value that is not UTF-8 is then refused by its key.
            Some((name, value.to_string_lossy().into_owned()))
        };
        Self {
            system_file: Some(PathBuf::from(Self::SYSTEM_FILE)),
            files,
            environment: std::env::vars_os().filter_map(variable).collect(),
            set,
            relay: None,
            tls: None,
        }
    }
}

/// Loads a configuration that is known, typed, buildable in this version and free of
/// contradictions. Reads files.
///
/// # Errors
/// The first thing wrong, in the order of the layers: place, key and remedy.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    match lay(sources) {
        Ok(loaded) => Ok(loaded.config),
        Err(mut errors) => Err(errors.swap_remove(0)),
    }
}

/// A configuration, and where its keys were set.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    layers: Vec<Layer>,
}

impl Loaded {
    /// Says of a key, such as `listeners[0].listen`, that what it names cannot be used, and why.
    pub fn unusable(&self, key: &str, why: impl ToString) -> ConfigError {
        let place = place_of(&self.layers, &steps(key).unwrap_or_default());
        ConfigError::Unusable { place, key: key.to_owned(), why: why.to_string() }
    }
}

/// Loads a configuration as [`load`] does, and continues after a mistake to find the others.
///
/// # Errors
/// Everything wrong, and at least one thing, as somebody reads it: file by file, line by line, then
/// what is in no file.
pub fn load_all(sources: &Sources) -> Result<Loaded, Vec<ConfigError>> {
    let files: Vec<&PathBuf> = sources.system_file.iter().chain(&sources.files).collect();
    lay(sources).map_err(|mut errors| {
        errors.sort_by_key(|error| match error.place() {
            Some(Place::BuiltIn) => (0, 0),
            Some(Place::File { path, line }) => {
                (1 + files.iter().take_while(|file| **file != path).count(), *line)
            }
            Some(Place::Variable(_) | Place::Argument(_) | Place::Relay | Place::TlsFiles)
            | None => (usize::MAX, 0),
        });
        errors
    })
}

/// Lays the layers over each other.
///
/// # Errors
/// Everything wrong, in the order in which it is found.
fn lay(sources: &Sources) -> Result<Loaded, Vec<ConfigError>> {
    let mut stack = Stack::default();
    stack.push(Layer::document(None, BUILT_IN));
    if let Some(path) = &sources.system_file {
        match std::fs::read_to_string(path) {
            Ok(text) => stack.push(Layer::document(Some(path), &text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                stack.errors.push(ConfigError::Unreadable { path: path.clone(), source });
            }
        }
    }
    for path in &sources.files {
        stack.push(read_file(path).and_then(|text| Layer::document(Some(path), &text)));
    }
    // The environment has no order of its own; with one the same error always comes first.
    let mut environment: Vec<_> = sources.environment.iter().collect();
    environment.sort_unstable();
    for (name, value) in environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        stack.push(Layer::variable(name, value));
    }
    for argument in &sources.set {
        stack.push(Layer::argument(argument));
    }
    if let Some((cert, key)) = &sources.tls {
        stack.push(Ok(Layer::certificate(cert, key)));
    }
    if let Some(url) = &sources.relay
        && let Err(error) = stack.relay_the_rest(url)
    {
        stack.errors.push(error);
    }
    stack.finish()
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })
}

/// The most mistakes that are looked for: a file that is no configuration has one in every line.
const MOST: usize = 100;

/// Something wrong, and the path of what is wrong.
struct Mistake {
    path: Vec<Step>,
    error: ConfigError,
}

impl Mistake {
    fn new(path: Vec<Step>, error: ConfigError) -> Box<Self> {
        Box::new(Self { path, error })
    }
}

/// The layers so far and what they make together.
#[derive(Default)]
struct Stack {
    layers: Vec<Layer>,
    merged: Value,
    config: Config,
    errors: Vec<ConfigError>,
    /// Keys with mistakes that are already reported, so that no follow-up error is.
    patched: Vec<Vec<Step>>,
}

impl Stack {
    /// Lays a layer on top. The schema is read after every layer, so that no later one hides what
    /// is wrong in an earlier one.
    fn push(&mut self, layer: Result<Layer, ConfigError>) {
        match layer {
            Ok(layer) => self.layers.push(layer),
            Err(error) => return self.errors.push(error),
        }
        while let Err(mistake) = self.settle() {
            let mistakes = self.errors.len();
            let Mistake { path, error } = *mistake;
            self.errors.push(error);
            let patched = self.layers.last_mut().and_then(|layer| patch(layer, &path, mistakes));
            match patched {
                // The same mistake again would be one that cannot be patched.
                Some(path) if mistakes < MOST && !self.patched.contains(&path) => {
                    self.patched.push(path);
                }
                Some(_) | None => drop(self.layers.pop()),
            }
        }
    }

    /// Takes the layers for what the configuration is; returns the first mistake, and where it is.
    fn settle(&mut self) -> Result<(), Box<Mistake>> {
        let known = keys_of::<Config>();
        let Some(layer) = self.layers.last() else { return Ok(()) };
        // Before merging, because `config` would read a quoted root key as a path.
        if let Some(key) = layer.roots().into_iter().find(|root| !known.contains(&root.as_str())) {
            let path = vec![Step::Key(key.clone())];
            let place = self.place_of(&path);
            let remedy = Remedy::closest(&key, known);
            return Err(Mistake::new(path, ConfigError::UnknownKey { place, remedy, key }));
        }
        layer.check_target(&self.merged).map_err(|error| Mistake::new(Vec::new(), error))?;
        let merged = self.merge().map_err(|error| Mistake::new(Vec::new(), error))?;
        self.config = self.read(&merged)?;
        self.merged = merged;
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

    fn read(&self, merged: &Value) -> Result<Config, Box<Mistake>> {
        let refused = refused(merged);
        let result = read::<Config>(merged).map_err(|error| {
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
            let error = ConfigError::NotInThisVersion {
                place: self.place_of(path),
                key: Shown(path).to_string(),
                what: refusal.what,
            };
            return Err(Mistake::new(path.clone(), error));
        }
        result.map_err(|(path, misfit)| self.misfit(path, misfit))
    }

    fn misfit(&self, mut path: Vec<Step>, misfit: Misfit) -> Box<Mistake> {
        let place = self.place_of(&path);
        let error = match misfit {
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
        };
        Mistake::new(path, error)
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
            backend: BackendChoice::Relay(Box::new(relay)),
            ..Route::default()
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Loaded, Vec<ConfigError>> {
        // Two defaults follow another key, so that changing that one alone is no contradiction.
        if !self.sets("limits.max_frame_size") {
            self.config.limits.max_frame_size = self.config.limits.max_message_size;
        }
        // A relay holds no message, so no default limits what it passes on.
        if !self.sets("limits.max_message_size") {
            let frame = self.sets("limits.max_frame_size");
            let frame = frame.then_some(self.config.limits.max_frame_size);
            for route in &mut self.config.routes {
                if let BackendChoice::Relay(_) = route.backend {
                    route.limits.max_frame_size = route.limits.max_frame_size.or(frame);
                    route.limits = route.limits.passing();
                }
            }
        }
        if !self.sets("close.linger") {
            let close = &mut self.config.close;
            close.linger = close.linger.min(close.timeout);
        }
        let mut named = Vec::new();
        for found in find_contradictions(&self.config) {
            // Of the keys that do not go together, name one that somebody wrote.
            let key = found.keys.iter().find(|key| self.sets(key)).or(found.keys.first());
            let key = key.cloned().unwrap_or_default();
            let path = steps(&key).unwrap_or_default();
            let patched = self.patched.iter().any(|patched| path.starts_with(patched));
            // What a route inherits is wrong once, where it is set.
            let known = named.contains(&(key.clone(), found.violation.clone()));
            if !patched && !known {
                let place = self.place_of(&path);
                let violation = found.violation.clone();
                self.errors.push(ConfigError::Contradiction { place, key: key.clone(), violation });
                named.push((key, found.violation));
            }
        }
        if self.errors.is_empty() {
            return Ok(Loaded { config: self.config, layers: self.layers });
        }
        Err(self.errors)
    }

    fn sets(&self, key: &str) -> bool {
        let path = steps(key).unwrap_or_default();
        descend(&self.merged, &path).0 == path.len()
    }

    fn place_of(&self, path: &[Step]) -> Place {
        place_of(&self.layers, path)
    }
}

/// Finds the last layer that sets `path`, or else the one that comes closest to it.
fn place_of(layers: &[Layer], path: &[Step]) -> Place {
    let places = layers.iter().map(|layer| layer.locate(path));
    places.max_by_key(|(depth, _)| *depth).map_or(Place::BuiltIn, |(_, place)| place)
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
