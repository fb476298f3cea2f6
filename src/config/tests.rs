//! What users meet: layers, messages, and the file that documents every key.

mod auth;
mod every_mistake;
mod loading;
mod messages;
mod shipped_file;

use std::path::PathBuf;

use super::*;
use crate::settings::*;

/// Files of configuration that live as long as the test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn load_text(text: &str) -> Result<Config, ConfigError> {
    let files = Files::new();
    load(&Sources { files: vec![files.write("x.toml", text)], ..Sources::default() })
}

fn load_set(set: &[&str]) -> Result<Config, ConfigError> {
    load(&Sources { set: set.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() })
}

fn load_variable(name: &str, value: &str) -> Result<Config, ConfigError> {
    let environment = vec![(name.to_owned(), value.to_owned())];
    load(&Sources { environment, ..Sources::default() })
}
