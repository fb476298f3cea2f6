//! `lastword check`: reports everything that is wrong with a configuration, and with the files and
//! addresses that it names. It changes nothing, and may run beside a daemon that uses the same
//! configuration.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use socket2::{Domain, Socket, Type};

use super::certificates::Certificates;
use super::console::{print_error, print_line};
use super::control;
use super::exit_code::BAD_USAGE;
use super::ledger::ledger_path as configured_path;
use crate::auth::{Auth, BadKeys};
use crate::config::{BackendChoice, Config, ConfigError, Loaded, Sources, load_all};
use crate::ledger::Sqlite;
use crate::policy::masking::{self, Masking};
use crate::runtime::read_bounded::{NotRead, open_regular};
use crate::settings::{self, DialerBackend, JwtKeys, RelayBackend, SecretSource, UpstreamUrl};
use crate::vocabulary::ListenAddress;

/// Checks a configuration as `serve` would load it; prints what it would do, or everything that is
/// wrong.
pub fn check(sources: &Sources) -> ExitCode {
    let errors = match load_all(sources) {
        Ok(loaded) => {
            let errors = unusable(&loaded);
            if errors.is_empty() {
                describe(&loaded.config);
                print_line("the configuration is valid");
                return ExitCode::SUCCESS;
            }
            errors
        }
        Err(errors) => errors,
    };
    errors.iter().for_each(|error| print_error(error));
    ExitCode::from(BAD_USAGE)
}

/// Prints what the daemon would do.
fn describe(config: &Config) {
    for listener in &config.listeners {
        let tls = if listener.tls.is_some() { ", over TLS" } else { "" };
        print_line(&format!("listener {} on {}{tls}", listener.name, listener.listen));
    }
    if let Some(address) = &config.control.listen {
        let tls = if config.control.tls.is_some() { ", over TLS" } else { "" };
        print_line(&format!("control on {address}{tls}"));
    }
    for route in &config.routes {
        let host = route.host.as_deref().unwrap_or("any host");
        let backend = match &route.backend {
            BackendChoice::Echo => "echo".to_owned(),
            BackendChoice::Relay(relay) => {
                let urls: Vec<&str> = relay.urls.iter().map(UpstreamUrl::as_str).collect();
                format!("relay to {}", urls.join(", "))
            }
        };
        let admitted = route.auth.as_ref().map_or("", |auth| match auth {
            settings::Auth::Jwt(_) => ", with a token",
            settings::Auth::Http(_) => ", if its endpoint says so",
        });
        let path = &route.path;
        print_line(&format!("route {}: {path} at {host} to {backend}{admitted}", route.name));
    }
    for dialer in &config.dialers {
        let url = masking::record_url(&dialer.url, Masking::Mask, &[]);
        print_line(&format!("dialer {}: {url}", dialer.name));
    }
    match ledger_path(config) {
        Ok(Some(path)) => print_line(&format!("ledger in {}", path.display())),
        Ok(None) => print_line("ledger in memory: endings are lost when the process ends"),
        // Already reported.
        Err(_) => {}
    }
}

/// Finds everything that the configuration names and this machine cannot provide.
fn unusable(loaded: &Loaded) -> Vec<ConfigError> {
    let mut found = Findings { loaded, errors: Vec::new() };
    let config = &loaded.config;
    for (index, listener) in config.listeners.iter().enumerate() {
        found.note(&format!("listeners[{index}].listen"), address(&listener.listen));
    }
    for (key, address_of) in
        [("control.listen", &config.control.listen), ("health.listen", &config.health.listen)]
    {
        if let Some(listen) = address_of {
            found.note(key, address(listen));
        }
    }
    match Certificates::read(loaded) {
        Ok(certificates) => {
            for (listener, warning) in certificates.warnings() {
                print_line(&format!("warning: {listener}: {warning}"));
            }
        }
        Err(errors) => found.errors.extend(errors),
    }
    if let Err(error) = control::read_tokens(&config.control) {
        found.note(control::TOKEN_FILE, Err(error.to_string()));
    }
    let ledger = ledger_path(config).and_then(|path| path.map_or(Ok(()), |path| ledger(&path)));
    found.note("ledger.path", ledger);
    for (index, route) in config.routes.iter().enumerate() {
        if let Some(auth) = &route.auth {
            found.auth(&format!("routes[{index}].auth"), auth);
        }
        if let BackendChoice::Relay(relay) = &route.backend {
            found.authorities(&format!("routes[{index}].backend"), relay.ca_file.as_deref());
        }
    }
    for (index, dialer) in config.dialers.iter().enumerate() {
        let key = format!("dialers[{index}]");
        found.authorities(&key, dialer.ca_file.as_deref());
        if let DialerBackend::Relay(relay) = &dialer.backend {
            let relay: &RelayBackend = relay;
            found.authorities(&format!("{key}.backend"), relay.ca_file.as_deref());
        }
        for (name, source) in &dialer.headers {
            found.secret(&format!("{key}.headers.{name}"), source);
        }
        if let Some(source) = &dialer.proxy_credentials {
            found.secret(&format!("{key}.proxy_credentials"), source);
        }
    }
    found.errors
}

struct Findings<'a> {
    loaded: &'a Loaded,
    errors: Vec<ConfigError>,
}

impl Findings<'_> {
    fn note(&mut self, key: &str, looked_at: Result<(), String>) {
        if let Err(why) = looked_at {
            self.errors.push(self.loaded.unusable(key, why));
        }
    }

    fn authorities(&mut self, key: &str, file: Option<&Path>) {
        if let Some(file) = file {
            self.note(&format!("{key}.ca_file"), readable(file));
        }
    }

    /// Checks the files of keys; nothing is asked or fetched. A variable may be set only where the daemon
    /// runs.
    fn auth(&mut self, key: &str, auth: &settings::Auth) {
        match auth {
            settings::Auth::Jwt(jwt) => {
                let name = match &jwt.keys {
                    JwtKeys::KeyFile(_) => "key_file",
                    JwtKeys::JwksFile(_) => "jwks_file",
                    JwtKeys::Secret(_) => "secret",
                    JwtKeys::JwksUrl(_) => "jwks_url",
                };
                let read = match Auth::new(auth) {
                    Ok(_) | Err(BadKeys::Variable(_)) => Ok(()),
                    Err(error) => Err(error.to_string()),
                };
                self.note(&format!("{key}.{name}"), read);
                self.authorities(key, jwt.ca_file.as_deref());
            }
            settings::Auth::Http(http) => self.authorities(key, http.ca_file.as_deref()),
        }
    }

    /// Checks files only, since a variable may be set only where the daemon runs.
    fn secret(&mut self, key: &str, source: &SecretSource) {
        if let SecretSource::File(file) = source {
            self.note(key, readable(file));
        }
    }
}

fn ledger_path(config: &Config) -> Result<Option<PathBuf>, String> {
    configured_path(config.ledger.path.as_deref(), |name| std::env::var_os(name))
        .map_err(|error| error.to_string())
}

/// Checks that a ledger could be opened or created there.
fn ledger(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => {
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if is_file && Sqlite::is_ledger(path) {
                return Ok(());
            }
            Err(format!(
                "{shown} is not a usable ledger, and it is not overwritten: name another file, or \
                 move it away"
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => folder_of(path),
        Err(error) => Err(format!(
            "{shown} cannot be read and written ({error}): name a file that this user can write"
        )),
    }
}

/// Checks that a file could be created there; the daemon would create missing directories.
fn folder_of(path: &Path) -> Result<(), String> {
    let existing = path.ancestors().skip(1).find(|folder| folder.exists());
    let folder = existing.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(format!("{shown} is not a directory: name another place"));
    }
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(error) => Err(format!(
            "no file can be created in {shown} ({}): name a place that this user can write",
            io::Error::from(error)
        )),
    }
}

fn readable(file: &Path) -> Result<(), String> {
    open_regular(file).map(drop).map_err(|why| match why {
        NotRead::NotAFile => format!("{} is not a regular file: name one", file.display()),
        why => {
            format!(
                "{} cannot be read ({why}): name a file that this user can read",
                file.display()
            )
        }
    })
}

/// Checks that the daemon could listen there. An address in use may be the running daemon's.
fn address(address: &ListenAddress) -> Result<(), String> {
    match address {
        ListenAddress::Tcp(tcp) => bind(*tcp).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Ok(()),
            io::ErrorKind::AddrNotAvailable => {
                Err("this machine has no such address: name one that it has".to_owned())
            }
            io::ErrorKind::PermissionDenied => Err(format!(
                "this user may not listen on port {}: name one above 1023, or grant \
                 CAP_NET_BIND_SERVICE",
                tcp.port()
            )),
            _ => Err(format!("the daemon cannot listen there ({error})")),
        }),
        ListenAddress::Unix(path) => match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => Ok(()),
            Ok(_) => {
                Err(format!("{} exists and is not a socket: name another path", path.display()))
            }
            Err(_) if path.parent().is_some_and(|parent| !parent.is_dir()) => {
                Err(format!("the directory of {} does not exist: create it first", path.display()))
            }
            Err(_) => folder_of(path),
        },
        // It is passed to the daemon only.
        ListenAddress::Systemd(_) => Ok(()),
    }
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SqliteOptions;

    #[test]
    fn a_ledger_is_a_new_file_or_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("empty.db"), "").unwrap();
        let options = SqliteOptions::new(at("sqlite.db"), &crate::settings::Ledger::default());
        Sqlite::open(options).unwrap().0.close();
        fs::write(at("passwd"), "root:x:0:0:root:/root:/bin/bash\n").unwrap();
        for good in ["new.db", "empty.db", "sqlite.db", "deep/er/new.db"] {
            assert_eq!(ledger(&at(good)), Ok(()), "{good}");
        }
        // Nor is a database of another program overwritten.
        fs::write(at("other.db"), [&b"SQLite format 3\0"[..], &[0; 84]].concat()).unwrap();
        for bad in ["passwd", "passwd/new.db", ".", "other.db"] {
            assert!(ledger(&at(bad)).is_err(), "{bad}");
        }
        assert_eq!(fs::read(at("empty.db")).unwrap(), b"", "nothing is changed");
    }

    #[test]
    fn an_address_that_is_taken_is_good_and_one_of_others_is_not() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(address(&ListenAddress::Tcp(taken.local_addr().unwrap())), Ok(()));
        let other = address(&ListenAddress::Tcp(([192, 0, 2, 1], 8080).into()));
        assert!(other.unwrap_err().contains("no such address"));
        let folder = tempfile::tempdir().unwrap();
        let unix = |name: &str| address(&ListenAddress::Unix(folder.path().join(name)));
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(unix("new.sock"), Ok(()));
        assert!(unix("file").is_err() && unix("missing/new.sock").is_err());
    }
}
