//! What was done, written down before it was done.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// A file of lines of JSON.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    pub fn create(path: &Path) -> Arc<Self> {
        let file = File::create(path).expect("a file for the journal");
        Arc::new(Self { file, path: path.to_owned() })
    }

    /// Who writes about one leg of a script.
    pub fn pen(self: &Arc<Self>, number: u64, leg: &'static str) -> Pen {
        Pen { journal: Arc::clone(self), number, leg }
    }

    /// Reads it back, by the number of the script.
    pub fn read(&self) -> HashMap<u64, Deeds> {
        let text = std::fs::read_to_string(&self.path).expect("read the journal");
        let mut all: HashMap<u64, Deeds> = HashMap::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of the journal");
            let deeds = all.entry(line["script"].as_u64().expect("a number")).or_default();
            deeds.add(&line);
        }
        all
    }

    /// Deletes it, once nobody will ask.
    pub fn discard(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[derive(Debug, Clone)]
pub struct Pen {
    journal: Arc<Journal>,
    number: u64,
    leg: &'static str,
}

impl Pen {
    pub fn other(&self, leg: &'static str) -> Self {
        Self { leg, ..self.clone() }
    }

    /// Writes down what will be done now.
    pub fn does(&self, what: &str) {
        self.write("does", what.into());
    }

    /// Writes down what is known only now.
    pub fn fact(&self, name: &str, value: Value) {
        self.write(name, value);
    }

    fn write(&self, name: &str, value: Value) {
        let at = now_ms();
        let line = json!({"script": self.number, "leg": self.leg, "at": at, name: value});
        // One write per line, so that lines of others never get into it.
        (&self.journal.file).write_all(format!("{line}\n").as_bytes()).expect("write the journal");
    }
}

/// What the journal says of one script.
#[derive(Debug, Default, Clone)]
pub struct Deeds {
    /// The first and the last time, in milliseconds since 1970.
    pub between: (u64, u64),
    /// In their order, with the leg.
    pub lines: Vec<String>,
    facts: HashMap<(String, String), Value>,
}

impl Deeds {
    fn add(&mut self, line: &Value) {
        let at = line["at"].as_u64().expect("a time");
        if self.lines.is_empty() {
            self.between.0 = at;
        }
        self.between.1 = at;
        let leg = line["leg"].as_str().expect("a leg").to_owned();
        let known = ["script", "leg", "at"];
        let (name, value) = line
            .as_object()
            .and_then(|line| line.iter().find(|(name, _)| !known.contains(&name.as_str())))
            .expect("something that was done");
        self.lines.push(format!("{at} {leg} {name}: {value}"));
        if name != "does" {
            self.facts.insert((leg, name.clone()), value.clone());
        }
    }

    /// What is known of a leg, else null.
    pub fn fact(&self, leg: &str, name: &str) -> Value {
        self.facts.get(&(leg.to_owned(), name.to_owned())).cloned().unwrap_or(Value::Null)
    }

    /// Deeds with these facts, by leg and name.
    pub fn with(facts: &[(&str, &str, Value)]) -> Self {
        let facts = facts
            .iter()
            .map(|(leg, name, value)| (((*leg).to_owned(), (*name).to_owned()), value.clone()));
        Self { facts: facts.collect(), ..Self::default() }
    }
}

pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    since.as_millis() as u64
}
