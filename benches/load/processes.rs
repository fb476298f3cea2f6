//! The two processes of a measurement: a server, and the client that drives it.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{Result, measure};

/// The server to measure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Subject {
    /// `lastword serve` as shipped, with these settings.
    Daemon(Vec<&'static str>),
    /// The same, in front of the application at this address.
    Relay(SocketAddr),
    /// nginx in front of the application.
    Nginx(SocketAddr),
    /// HAProxy in front of the application.
    Haproxy(SocketAddr),
    /// `lastword serve` as shipped, with TLS and this certificate.
    TlsDaemon(Certificate),
    /// `lastword serve` that terminates TLS in front of the application, with this certificate.
    TlsRelay(SocketAddr, Certificate),
    /// nginx that terminates TLS in front of the application, with this certificate.
    TlsNginx(SocketAddr, Certificate),
    /// lastword as a library, in a program that broadcasts.
    Library,
    /// tokio-tungstenite, `next` and `send`, 4 KiB read buffer.
    Raw,
    /// The same with `feed` while input is ready, then one flush, and a read buffer of this size.
    Batch(usize),
    /// Task, bounded channel, dashmap and batching.
    Manager,
    /// A web server whose pages have this many bytes.
    Site(usize),
    /// `lastword serve` in front of such a server.
    PlainRelay(SocketAddr),
    /// nginx in front of such a server, with upstream keep-alive.
    PlainNginx(SocketAddr),
}

/// The environment variable that names another daemon than the one cargo has built.
pub(crate) const DAEMON: &str = "LOAD_DAEMON";

/// The client connects faster than the default rate limit allows.
pub(crate) const ADMIT_ALL: &str = "limits.handshakes_per_second=1000000";

/// Endings stay in memory.
pub(crate) const NO_LEDGER: &str = "ledger.path=\"\"";

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(_)
            | Self::TlsDaemon(_)
            | Self::Relay(_)
            | Self::TlsRelay(..)
            | Self::PlainRelay(_) => f.write_str("lastword"),
            Self::Site(_) => f.write_str("the site"),
            Self::Nginx(_) | Self::TlsNginx(..) | Self::PlainNginx(_) => f.write_str("nginx"),
            Self::Haproxy(_) => f.write_str("HAProxy"),
            Self::Library => f.write_str("lastword as a library"),
            Self::Raw => f.write_str("raw"),
            Self::Batch(buffer) => write!(f, "batch, {} KiB", buffer / 1024),
            Self::Manager => f.write_str("raw manager"),
        }
    }
}

/// A certificate for 127.0.0.1 with its key, of an authority of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    /// Makes a P-256 certificate, as public authorities issue them.
    pub(crate) fn new() -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("load-{}-certificate", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate()?)?;
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = params.signed_by(&key, &authority)?;
        fs::write(folder.join("ca.pem"), authority.pem())?;
        fs::write(folder.join("cert.pem"), certificate.pem())?;
        fs::write(folder.join("key.pem"), key.serialize_pem())?;
        fs::set_permissions(folder.join("key.pem"), Permissions::from_mode(0o600))?;
        Ok(Self { folder })
    }

    /// Returns the file of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Returns the setting of a listener of lastword.
    fn listener(&self) -> String {
        let folder = self.folder.display();
        format!(r#"listeners[0].tls={{cert="{folder}/cert.pem",key="{folder}/key.pem"}}"#)
    }

    /// Returns the settings of a server of nginx.
    fn server(&self) -> String {
        let folder = self.folder.display();
        format!(
            "ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
             ssl_protocols TLSv1.2 TLSv1.3;"
        )
    }
}

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// `None` for the daemon, which takes no commands this way.
    commands: Option<ChildStdin>,
    /// Kept open, so that the server can print.
    _printed: BufReader<ChildStdout>,
    address: SocketAddr,
    folder: PathBuf,
}

impl Server {
    /// Starts a server and waits until it is ready. Its log goes to a file, as in production.
    pub(crate) fn start(subject: &Subject) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("load-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut command = match subject {
            Subject::Daemon(settings) => daemon(settings, &folder),
            Subject::TlsDaemon(certificate) => {
                let mut command = daemon(&[ADMIT_ALL], &folder);
                command.args(["--set", &certificate.listener()]);
                command
            }
            Subject::TlsRelay(to, certificate) => {
                let mut command = relay(*to, "refuse", &folder);
                command.args(["--set", &certificate.listener(), "--set", ADMIT_ALL]);
                command
            }
            Subject::TlsNginx(to, certificate) => {
                nginx(*to, "$http_upgrade", "upgrade", &certificate.server(), &folder)?
            }
            Subject::Relay(to) => relay(*to, "refuse", &folder),
            Subject::PlainRelay(to) => relay(*to, "proxy", &folder),
            Subject::Site(size) => own_server(&["site".to_owned(), size.to_string()])?,
            Subject::Nginx(to) => nginx(*to, "$http_upgrade", "upgrade", "", &folder)?,
            Subject::PlainNginx(to) => nginx(*to, "\"\"", "\"\"", "", &folder)?,
            Subject::Haproxy(to) => haproxy(*to, &folder)?,
            Subject::Library => own_server(&["library".to_owned()])?,
            Subject::Raw => own_server(&["raw".to_owned(), "4096".to_owned()])?,
            Subject::Batch(buffer) => own_server(&["batch".to_owned(), buffer.to_string()])?,
            Subject::Manager => own_server(&["manager".to_owned(), "4096".to_owned()])?,
        };
        let log = File::create(folder.join("log"))?;
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let commands = child.stdin.take();
        let mut printed = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let address = match until_ready(&mut printed) {
            Ok(address) => address,
            Err(error) => {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{subject} did not start: {error}; {log}").into());
            }
        };
        Ok(Self { child, commands, _printed: printed, address, folder })
    }

    /// Returns the state directory.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the address of the listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the CPU time used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        measure::cpu(self.child.id())
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn memory(&self) -> Result<f64> {
        measure::memory(self.child.id())
    }

    /// Sends a command to one of our own servers.
    pub(crate) fn command(&mut self, command: &str) -> Result<()> {
        let commands = self.commands.as_mut().ok_or("the daemon takes no commands")?;
        writeln!(commands, "{command}")?;
        Ok(())
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or("no process")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits until the server has stopped, and returns its log.
    pub(crate) fn stopped(mut self, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("the server did not stop within {within:?}").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(fs::read_to_string(self.folder.join("log"))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn daemon(settings: &[&str], folder: &Path) -> Command {
    let program = std::env::var_os(DAEMON);
    let mut command =
        Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_lastword").into()));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("LASTWORD")) {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").env("STATE_DIRECTORY", folder).stdin(Stdio::null());
    command.args(["serve", "--set", r#"listeners[0].listen="127.0.0.1:0""#]);
    command.args(["--set", r#"control.listen="127.0.0.1:0""#]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command
}

/// The daemon in front of an application, with its setting for plain HTTP.
fn relay(to: SocketAddr, http: &str, folder: &Path) -> Command {
    let mut command = daemon(&[], folder);
    let backend = format!(r#"routes[0].backend={{kind="relay",url="ws://{to}",http="{http}"}}"#);
    command.args(["--set", &backend, "--set", r#"routes[0].path="/*""#]);
    command
}

/// nginx in its usual setup as a proxy of WebSockets or pages, on a port that was free a moment
/// ago. It runs in one process, so that killing that leaves nothing behind.
fn nginx(
    to: SocketAddr,
    upgrade: &str,
    connection: &str,
    tls: &str,
    folder: &Path,
) -> Result<Command> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let folder = folder.display();
    let file = format!("{folder}/nginx.conf");
    let secure = if tls.is_empty() { "" } else { " ssl" };
    fs::write(
        &file,
        format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
             events {{ worker_connections 8192; }}
             http {{
               access_log off;
               client_body_temp_path {folder}; proxy_temp_path {folder};
               fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
               keepalive_requests 1000000000;
               upstream application {{
                 server {to};
                 keepalive 64;
                 keepalive_requests 1000000000;
               }}
               server {{
                 listen {address}{secure};
                 {tls}
                 location / {{
                   proxy_pass http://application;
                   proxy_http_version 1.1;
                   proxy_set_header Upgrade {upgrade};
                   proxy_set_header Connection {connection};
                   proxy_read_timeout 60s;
                 }}
               }}
             }}"
        ),
    )?;
    Ok(proxy(&format!("nginx -c {file}"), address))
}

/// HAProxy in its usual setup as a proxy of WebSockets, in one process and one thread.
fn haproxy(to: SocketAddr, folder: &Path) -> Result<Command> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let file = folder.join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "global\n  nbthread 1\n  maxconn 8192\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
               timeout server 60s\n  timeout tunnel 60s\n\
             frontend load\n  bind {address}\n  default_backend application\n\
             backend application\n  server application {to}\n"
        ),
    )?;
    Ok(proxy(&format!("haproxy -db -f {}", file.display()), address))
}

/// Runs a proxy and connects until it listens, as it does not print when.
fn proxy(command: &str, address: SocketAddr) -> Command {
    let script = format!(
        "(until (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.02; done; \
         echo 'listener load ws://{address}'; echo ready) & exec {command}",
        port = address.port()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::piped());
    command
}

fn own_server(arguments: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--server").args(arguments).stdin(Stdio::piped());
    Ok(command)
}

/// Reads the lines that the daemon and our own servers print when they are ready.
fn until_ready(printed: &mut impl BufRead) -> Result<SocketAddr> {
    let mut address = None;
    for line in printed.lines() {
        let line = line?;
        if let Some(listener) = line.strip_prefix("listener ") {
            address = listener.rsplit_once("://").and_then(|(_, address)| address.parse().ok());
        }
        if line == "ready" {
            return address.ok_or_else(|| "it did not say where it listens".into());
        }
    }
    Err("it ended".into())
}

/// The running load generator; it is killed when dropped.
pub(crate) struct Client {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start(server: &Server) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--client", &server.address.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = child.stdin.take().ok_or("no stdin")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, commands, answers })
    }

    /// Sends a command to the client; [`Client::answer`] returns its result.
    pub(crate) fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}")?;
        Ok(())
    }

    /// Waits for the answer to a command. The client has a timeout for each command.
    pub(crate) fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|_| format!("the client said {line:?}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(format!("client: {error}").into()),
            None => Ok(answer),
        }
    }

    pub(crate) fn ask(&mut self, command: &str) -> Result<Value> {
        self.tell(command)?;
        self.answer()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the commands from a child's stdin, which ends when the parent exits.
pub(crate) fn commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Returns a number in an answer.
pub(crate) fn number(answer: &Value, name: &str) -> Result<f64> {
    answer[name]
        .as_f64()
        .ok_or_else(|| format!("the client's answer has no {name}: {answer}").into())
}
