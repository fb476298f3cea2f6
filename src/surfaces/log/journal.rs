//! The systemd journal as a sink of lines.
//!
//! Events are rendered as lines of JSON and queued like those for stderr, and the thread of
//! [`Lines`](super::Lines) sends each as a datagram. A journald that has stopped reading blocks only
//! that thread; lines that do not fit the queue meanwhile are counted and reported.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::io::Errno;
use serde_json::value::RawValue;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// What is sent of a message that does not fit into a datagram.
const CUT: usize = 16 * 1024;

/// Sends lines to journald in its native protocol.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// # Errors
    /// If nothing listens on the socket.
    pub(super) fn connect(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        match socket.send_to(&[], &path) {
            // A full queue also shows that something listens.
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
        socket.set_nonblocking(false)?;
        Ok(Self { socket, path })
    }

    fn send(&self, line: &str) -> io::Result<()> {
        let fields = Fields::of(line);
        match self.socket.send_to(&fields.datagram(), &self.path) {
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                self.socket.send_to(&fields.cut().datagram(), &self.path).map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

impl Write for Journal {
    /// Sends the first line.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let Some(length) = lines.iter().position(|byte| *byte == b'\n') else {
            return Ok(lines.len());
        };
        let line = String::from_utf8_lossy(&lines[..length]);
        if !line.is_empty() {
            self.send(&line)?;
        }
        Ok(length + 1)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fields of an entry in the journal.
struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a line of the JSON log.
    fn of(line: &str) -> Self {
        let mut fields = vec![("SYSLOG_IDENTIFIER".to_owned(), "lastword".to_owned())];
        let Ok(values) = serde_json::from_str::<BTreeMap<&str, &RawValue>>(line) else {
            // Not reached: this program wrote the line.
            fields.push(("MESSAGE".to_owned(), line.to_owned()));
            return Self(fields);
        };
        for (name, value) in values {
            // What is no string is sent as it is written.
            let text = serde_json::from_str::<String>(value.get());
            let text = text.unwrap_or_else(|_| value.get().to_owned());
            match name {
                // journald has its own.
                "timestamp" => {}
                "level" => fields.push(("PRIORITY".to_owned(), priority(&text).to_owned())),
                name => fields.push((name_of(name), text)),
            }
        }
        Self(fields)
    }

    /// Drops what an entry can do without, when the whole is too long.
    fn cut(self) -> Self {
        let Self(mut fields) = self;
        fields.retain(|(name, _)| matches!(&**name, "SYSLOG_IDENTIFIER" | "PRIORITY" | "MESSAGE"));
        for (_, value) in &mut fields {
            value.truncate(value.floor_char_boundary(CUT));
        }
        Self(fields)
    }

    fn datagram(&self) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(512);
        for (name, value) in &self.0 {
            datagram.extend_from_slice(name.as_bytes());
            if value.contains('\n') {
                datagram.push(b'\n');
                datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
            } else {
                datagram.push(b'=');
            }
            datagram.extend_from_slice(value.as_bytes());
            datagram.push(b'\n');
        }
        datagram
    }
}

/// The priorities of syslog, as tracing-journald gives them.
fn priority(level: &str) -> &'static str {
    match level {
        "ERROR" => "3",
        "WARN" => "4",
        "INFO" => "5",
        "DEBUG" => "6",
        _ => "7",
    }
}

/// Makes a name as the journal has them: capitals, digits and underscores, and no underscore first.
fn name_of(field: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = field.chars().map(allowed).take(64).collect();
    name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_is_an_entry() {
        let line = r#"{"timestamp":"x","level":"WARN","target":"a::b","message":"one\ntwo","connection.id":"7","n":3,"ending":{"id":"7"}}"#;
        let datagram = Fields::of(line).datagram();
        let text = String::from_utf8_lossy(&datagram);
        for field in [
            "SYSLOG_IDENTIFIER=lastword\n",
            "PRIORITY=4\n",
            "TARGET=a::b\n",
            "CONNECTION_ID=7\n",
            "N=3\n",
            "ENDING={\"id\":\"7\"}\n",
            "MESSAGE\n\u{7}\0\0\0\0\0\0\0one\ntwo\n",
        ] {
            assert!(text.contains(field), "{field:?} in {text:?}");
        }
        assert!(!text.contains("TIMESTAMP"));
    }

    #[test]
    fn an_entry_that_is_too_long_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::connect(&path).unwrap();
        let message = "ü".repeat(1 << 20);
        let line = format!("{{\"level\":\"INFO\",\"message\":\"{message}\"}}\n");
        journal.write_all(line.as_bytes()).unwrap();
        let mut buffer = vec![0; 1 << 20];
        assert_eq!(journald.recv(&mut buffer).unwrap(), 0, "the first looks who is there");
        let length = journald.recv(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        assert!(text.contains("PRIORITY=5") && text.contains("MESSAGE=üüü"), "{length}");
    }
}
