//! One layer of the configuration: a document, or the assignment of one key.

use std::fmt;
use std::path::{Path, PathBuf};

use ::config::{Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::tree::raw_text;

/// What a node without configuration does. The other defaults stand beside their keys; these are
/// arrays, which `--set` must be able to index.
pub(super) const BUILT_IN: &str = r#"
[[listeners]]
name = "public"
listen = "127.0.0.1:8080"

[[routes]]
name = "echo"
path = "/echo"
backend = { kind = "echo" }
"#;

/// The prefix of the variables that are keys; `LASTWORD_TOKEN` and the like are not.
pub(super) const PREFIX: &str = "LASTWORD__";

/// Bounds the steps of a path; the schema has six at most.
const DEEPEST: usize = 16;

/// A step from a table or an array to what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Element(usize),
}

/// One layer; the values of a document carry their lines.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    Document { file: Option<PathBuf>, tree: Value },
    Assignment { place: Place, target: Vec<Step>, value: Value },
}

impl Layer {
    /// Parses a document: a file, or the built-in defaults.
    pub(super) fn document(file: Option<&Path>, text: &str) -> Result<Self, ConfigError> {
        let file = file.map(Path::to_path_buf);
        let lines = Lines::of(text);
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: in_document(file.as_ref(), error.span().map_or(1, |at| lines.at(at.start))),
            why: error.message().replace('\n', ", "),
        })?;
        let tree = Value::new(Some(&"1".to_owned()), table(&lines, document.get_ref()));
        Ok(Self::Document { file, tree })
    }

    /// Takes the assignment that a variable makes: its text has the type that the key wants.
    pub(super) fn variable(name: &str, text: &str) -> Result<Self, ConfigError> {
        let place = Place::Variable(name.to_owned());
        let path = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
        let target: Vec<_> = path.split("__").map(|key| Step::Key(key.to_owned())).collect();
        if !path.split("__").all(is_bare_key) || target.len() > DEEPEST {
            let why = format!("not the name of a key: write {PREFIX}SECTION__KEY");
            return Err(ConfigError::Assignment { place, why });
        }
        Ok(Self::Assignment { place, target, value: raw_text(text) })
    }

    /// Parses a `--set` argument: `key=value`.
    pub(super) fn argument(argument: &str) -> Result<Self, ConfigError> {
        let place = Place::Argument(argument.to_owned());
        let target = argument.split_once('=').and_then(|(key, text)| Some((steps(key)?, text)));
        let Some((target, text)) = target else {
            let why = "not an assignment: write section.key=value or listeners[0].key=value".into();
            return Err(ConfigError::Assignment { place, why });
        };
        let text = text.trim();
        // What is neither quoted nor bracketed stays raw, so that `node.name=5` names a node.
        let value = match DeValue::parse(text) {
            Ok(value) => match value.get_ref() {
                DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => {
                    located(&Lines::of(text), value.get_ref(), 0)
                }
                _ => raw_text(text),
            },
            Err(_) => raw_text(text),
        };
        Ok(Self::Assignment { place, target, value })
    }

    /// Takes the arguments `--tls-cert` and `--tls-key`, which are for the first listener.
    pub(super) fn certificate(cert: &Path, key: &Path) -> Self {
        let text = |path: &Path| Value::new(None, path.to_string_lossy().into_owned());
        let files = [("cert".to_owned(), text(cert)), ("key".to_owned(), text(key))];
        let target = ["listeners", "0", "tls"];
        let target = target.iter().map(|step| match *step {
            "0" => Step::Element(0),
            key => Step::Key(key.to_owned()),
        });
        Self::Assignment {
            place: Place::TlsFiles,
            target: target.collect(),
            value: Value::new(None, Map::from_iter(files)),
        }
    }

    /// Returns how many of `path`'s steps this layer sets, and where the last of them stands.
    pub(super) fn locate(&self, path: &[Step]) -> (usize, Place) {
        match self {
            Self::Document { file, tree } => {
                let (depth, value) = descend(tree, path);
                let line = value.origin().and_then(|line| line.parse().ok()).unwrap_or(1);
                (depth, in_document(file.as_ref(), line))
            }
            Self::Assignment { place, target, value } => {
                let common = target.iter().zip(path).take_while(|(a, b)| a == b).count();
                let below =
                    if common == target.len() { descend(value, &path[common..]).0 } else { 0 };
                (common + below, place.clone())
            }
        }
    }

    /// Returns the keys at the root, in their order.
    pub(super) fn roots(&self) -> Vec<String> {
        match self {
            Self::Document { tree, .. } => match &tree.kind {
                ValueKind::Table(table) => {
                    let mut roots: Vec<_> = table.keys().cloned().collect();
                    roots.sort_unstable();
                    roots
                }
                _ => Vec::new(),
            },
            Self::Assignment { target, .. } => match target.first() {
                Some(Step::Key(key)) => vec![key.clone()],
                Some(Step::Element(_)) | None => Vec::new(),
            },
        }
    }

    /// Returns the values of this layer and what remains of `path` within them, if `path` leads into
    /// them.
    pub(super) fn tree_at<'a, 'p>(
        &'a mut self,
        path: &'p [Step],
    ) -> Option<(&'a mut Value, &'p [Step])> {
        match self {
            Self::Document { tree, .. } => Some((tree, path)),
            Self::Assignment { target, value, .. } => {
                Some((value, path.strip_prefix(target.as_slice())?))
            }
        }
    }

    /// Refuses an assignment that would leave what the earlier layers made, `merged`, in pieces.
    pub(super) fn check_target(&self, merged: &Value) -> Result<(), ConfigError> {
        let Self::Assignment { place, target, .. } = self else {
            return Ok(());
        };
        let mut value = merged;
        for (depth, step) in target.iter().enumerate() {
            let (here, next) = (Shown(&target[..depth]), Shown(&target[..=depth]));
            let why = match (&value.kind, step) {
                (ValueKind::Array(elements), Step::Element(index)) => {
                    let Some(element) = elements.get(*index) else {
                        return Err(ConfigError::NoSuchElement {
                            place: place.clone(),
                            key: next.to_string(),
                            array: here.to_string(),
                            len: elements.len(),
                        });
                    };
                    value = element;
                    continue;
                }
                (ValueKind::Table(table), Step::Key(key)) => match table.get(key) {
                    Some(entry) => {
                        value = entry;
                        continue;
                    }
                    // Whether the rest is known is for the schema to say.
                    None if target[depth..].iter().all(|step| matches!(step, Step::Key(_))) => {
                        return Ok(());
                    }
                    None => format!("{next} has no elements to set"),
                },
                (ValueKind::Array(_), Step::Key(_)) => match place {
                    Place::Variable(_) => {
                        format!("{here} is an array: set it in a file or with --set '{here}[0]…'")
                    }
                    _ => format!("{here} is an array: write {here}[0]"),
                },
                (_, Step::Element(_)) => format!("{here} is not an array: remove the index"),
                (_, Step::Key(_)) => format!("{here} is not a table: it has no keys"),
            };
            return Err(ConfigError::Assignment { place: place.clone(), why });
        }
        Ok(())
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(match self {
            Self::Document { tree, .. } => tree.clone().into_table()?,
            Self::Assignment { target, value, .. } => {
                Map::from_iter([(Shown(target).to_string(), value.clone())])
            }
        })
    }
}

/// Writes steps as a path: `listeners[0].listen`.
pub(super) struct Shown<'a>(pub(super) &'a [Step]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Element(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Reads a path: `listeners[0].listen`. Keys are bare; no key of the schema needs quotes.
pub(super) fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in path.trim().split('.') {
        let (key, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !is_bare_key(key) {
            return None;
        }
        steps.push(Step::Key(key.to_owned()));
        for index in indices.split_inclusive(']') {
            let index = index.strip_prefix('[')?.strip_suffix(']')?;
            steps.push(Step::Element(index.trim().parse().ok()?));
        }
    }
    (steps.len() <= DEEPEST).then_some(steps)
}

fn is_bare_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}

/// Follows `path` as far as it goes.
pub(super) fn descend<'a>(mut value: &'a Value, path: &[Step]) -> (usize, &'a Value) {
    for (depth, step) in path.iter().enumerate() {
        let next = match (&value.kind, step) {
            (ValueKind::Table(table), Step::Key(key)) => table.get(key),
            (ValueKind::Array(elements), Step::Element(index)) => elements.get(*index),
            _ => None,
        };
        let Some(next) = next else {
            return (depth, value);
        };
        value = next;
    }
    (path.len(), value)
}

fn in_document(file: Option<&PathBuf>, line: usize) -> Place {
    match file {
        Some(path) => Place::File { path: path.clone(), line },
        None => Place::BuiltIn,
    }
}

/// Where the lines of a text end, so that the line of each value is found without counting from the start.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(memchr::memchr_iter(b'\n', text.as_bytes()).collect())
    }

    /// Returns the number of the line at this offset, from 1.
    fn at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|end| *end < offset)
    }
}

fn table(lines: &Lines, table: &DeTable<'_>) -> ValueKind {
    // The line is the key's: a value may span many.
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        (name.to_string(), located(lines, value.get_ref(), key.span().start))
    };
    ValueKind::Table(table.iter().map(entry).collect())
}

/// Makes a value of TOML, with its line in the place that `config` keeps for the origin.
fn located(lines: &Lines, value: &DeValue<'_>, offset: usize) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Integer(number) => {
            match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => i64::try_from(number).map_or(number.into(), ValueKind::I64),
                // Refused wherever a whole number is wanted.
                Err(_) => ValueKind::Float(f64::INFINITY),
            }
        }
        DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(elements) => ValueKind::Array(
            elements
                .iter()
                .map(|element| located(lines, element.get_ref(), element.span().start))
                .collect(),
        ),
        DeValue::Table(entries) => table(lines, entries),
    };
    Value::new(Some(&lines.at(offset).to_string()), kind)
}
