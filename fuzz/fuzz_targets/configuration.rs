//! Loads a configuration from any text: it is refused with a message of one line, or valid.
#![no_main]

use std::path::PathBuf;

use lastword::config::{Sources, load_all};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text).into_owned();
    let mut sources = Sources::default();
    match kind % 4 {
        0 => sources.set.push(text),
        1 => sources.relay = Some(text),
        2 => sources.environment = vec![("LASTWORD__LIMITS".to_owned(), text)],
        _ => {
            let file = PathBuf::from(format!("/dev/shm/lastword-fuzz-{}.toml", std::process::id()));
            std::fs::write(&file, text).unwrap();
            sources.files.push(file);
        }
    }
    if let Err(errors) = load_all(&sources) {
        assert!(!errors.is_empty());
        for error in errors {
            assert!(!error.to_string().is_empty());
        }
    }
});
