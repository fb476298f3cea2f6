//! The daemon as a process: started, listened to, signalled, and never left behind.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::SOON;
use super::http::{Answer, exchange};

/// How long the daemon may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Set to nothing, it leaves the daemon without a ledger.
const NO_LEDGER: &str = "LASTWORD__LEDGER__PATH";

/// A running daemon; it is killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// The lines of stdout before `ready`: `listener public ws://127.0.0.1:8080`.
    pub printed: Vec<String>,
    stdout: Lines<BufReader<ChildStdout>>,
    log: Arc<Log>,
    state: tempfile::TempDir,
}

/// How a daemon that was not meant to start ended.
#[derive(Debug)]
pub struct Refusal {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Notify,
}

impl Daemon {
    /// Starts `serve` on a free port with JSON logs and an empty state directory, and waits for
    /// `ready`. `program` is `env!("CARGO_BIN_EXE_lastword")`; each of `settings` is the argument
    /// of one `--set`, and wins over the ones set here.
    pub async fn start(program: impl AsRef<Path>, settings: &[&str]) -> Self {
        Self::start_with(program, &arguments(settings)).await
    }

    /// Starts the program with exactly these arguments, and waits for `ready`.
    pub async fn start_with(program: impl AsRef<Path>, arguments: &[&str]) -> Self {
        Self::start_command(command(program.as_ref(), arguments)).await
    }

    /// Starts what [`command`] made, and a test may have changed, and waits for `ready`.
    pub async fn start_command(mut command: Command) -> Self {
        let state = tempfile::tempdir().expect("a state directory");
        let mut child = command
            .env_remove(NO_LEDGER)
            .env("STATE_DIRECTORY", state.path())
            .spawn()
            .expect("start");
        let log = Arc::new(Log::default());
        tokio::spawn(collect(child.stderr.take().expect("stderr"), Arc::clone(&log)));
        let stdout = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut daemon = Self { child, printed: Vec::new(), stdout, log, state };
        timeout(READY_WITHIN, daemon.until_ready()).await.unwrap_or_else(|_| {
            panic!("awaited `ready` for {READY_WITHIN:?}; {}", daemon.story());
        });
        daemon
    }

    /// Runs the program, which has to end by itself, such as for a bad configuration.
    pub async fn refused(program: impl AsRef<Path>, arguments: &[&str]) -> Refusal {
        Self::refused_command(command(program.as_ref(), arguments)).await
    }

    /// Does the same as [`Daemon::refused`], with a command of [`command`] that a test may have
    /// changed.
    pub async fn refused_command(command: Command) -> Refusal {
        let state = tempfile::tempdir().expect("a state directory");
        Self::refused_with_state(command, state.path()).await
    }

    /// Does the same as [`Daemon::refused_command`], with this state directory.
    pub async fn refused_with_state(mut command: Command, state: impl AsRef<OsStr>) -> Refusal {
        let output = command.env_remove(NO_LEDGER).env("STATE_DIRECTORY", state).output();
        let output = timeout(READY_WITHIN, output).await;
        let output = output.expect("awaited the daemon's refusal to start").expect("start");
        Refusal {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The address after these words on stdout, such as `listener public` or `health`.
    pub fn address(&self, words: &str) -> SocketAddr {
        let url = self.printed.iter().find_map(|line| line.strip_prefix(words)?.strip_prefix(' '));
        let address = url.and_then(|url| url.split_once("://")?.1.parse().ok());
        address.unwrap_or_else(|| panic!("no address after {words:?}; {}", self.story()))
    }

    /// The address of the first listener.
    pub fn listener(&self) -> SocketAddr {
        let first = self.printed.iter().find(|line| line.starts_with("listener "));
        let first = first.unwrap_or_else(|| panic!("no listener; {}", self.story()));
        self.address(first.rsplit_once(' ').expect("listener NAME URL").0)
    }

    /// The address of the control API, if that is one of TCP.
    pub fn control(&self) -> SocketAddr {
        self.address("control")
    }

    pub fn url(&self, target: &str) -> String {
        format!("ws://{}{target}", self.listener())
    }

    /// Where it keeps what outlives it, the ledger among it.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the daemon has not been waited for")
    }

    /// Every record in the log so far: endings, and attempts that never opened.
    pub fn endings(&self) -> Vec<Value> {
        self.log.lines.lock().unwrap().iter().filter_map(|line| ending(line)).collect()
    }

    /// Asks the control API, if that is one of TCP.
    pub async fn get(&self, target: &str) -> Answer {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        exchange(self.control(), request, SOON).await
    }

    /// The text of all metrics.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.body
    }

    /// How many attempts of any route were refused with this failure, as the metrics have it.
    pub async fn count_refused(&self, failure: &str) -> u64 {
        let failure = format!("lastword_open_failed_total{{failure=\"{failure}\"");
        let metrics = self.metrics().await;
        let counts = metrics.lines().filter(|line| line.starts_with(&failure));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Every line of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Every event of the log so far whose message is this; needs JSON logs.
    pub fn events(&self, message: &str) -> Vec<Value> {
        let lines = self.log();
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["message"] == message).collect()
    }

    /// Returns the first line of the log, old or new, that fits.
    pub async fn await_line(&self, fits: impl Fn(&str) -> bool, within: Duration) -> String {
        let found = timeout(within, async {
            loop {
                let grown = self.log.grown.notified();
                if let Some(line) = self.log().into_iter().find(|line| fits(line)) {
                    return line;
                }
                grown.await;
            }
        });
        found.await.unwrap_or_else(|_| panic!("awaited a line for {within:?}; {}", self.story()))
    }

    /// Returns the first record, old or new, that fits.
    ///
    /// # Panics
    /// If none comes in time, with those that came.
    pub async fn await_ending(&self, fits: impl Fn(&Value) -> bool, within: Duration) -> Value {
        let mut found = self.await_endings(1, fits, within).await;
        found.remove(0)
    }

    /// Returns the records that fit, once there are `count`.
    pub async fn await_endings(
        &self,
        count: usize,
        fits: impl Fn(&Value) -> bool,
        within: Duration,
    ) -> Vec<Value> {
        let enough = timeout(within, async {
            loop {
                let grown = self.log.grown.notified();
                let found: Vec<Value> = self.endings().into_iter().filter(&fits).collect();
                if found.len() >= count {
                    return found;
                }
                grown.await;
            }
        });
        enough.await.unwrap_or_else(|_| {
            panic!("awaited {count} endings that fit for {within:?}; {}", self.story())
        })
    }

    /// Sends a signal by its name: `TERM`, `INT`, `HUP`, `STOP`, `CONT`, `KILL`.
    pub async fn signal(&self, name: &str) {
        // The shell's own `kill`: a bare machine has no other.
        let command = format!("kill -{name} {}", self.pid());
        let status = Command::new("sh").args(["-c", &command]).status().await.expect("sh");
        assert!(status.success(), "could not send {name}");
    }

    /// Waits until the process is gone and its log is read whole.
    pub async fn await_exit(&mut self, within: Duration) -> ExitStatus {
        let exited = timeout(within, self.child.wait()).await;
        let status = exited
            .unwrap_or_else(|_| panic!("awaited the exit for {within:?}; {}", self.story()))
            .expect("wait for the daemon");
        let collected = timeout(SOON, async {
            while Arc::strong_count(&self.log) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        collected.await.expect("awaited the end of the daemon's stderr");
        status
    }

    async fn until_ready(&mut self) {
        loop {
            match self.stdout.next_line().await.expect("read stdout") {
                Some(line) if line == "ready" => return,
                Some(line) => self.printed.push(line),
                None => {
                    let status = self.child.wait().await.expect("wait for the daemon");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    panic!("awaited `ready`, got {status}; {}", self.story());
                }
            }
        }
    }

    /// The daemon's output, to find out why a test failed.
    fn story(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.printed.join("\n"), self.log().join("\n"))
    }
}

/// Makes the command that runs the program with exactly these arguments: without settings from the
/// tests' environment, its control API on a free port, killed on drop, and its output captured.
pub fn command(program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    command_line(program.as_ref().as_os_str(), arguments)
}

/// The arguments with which [`Daemon::start`] starts a program with these settings.
pub fn arguments<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let ours = [r#"listeners[0].listen="127.0.0.1:0""#, r#"log.format="json""#];
    let all = ours.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
    ["serve"].into_iter().chain(all).collect()
}

/// Does the same as [`command`], with a limit of descriptors.
pub fn command_with_descriptors(
    descriptors: u32,
    program: impl AsRef<Path>,
    arguments: &[&str],
) -> Command {
    let script = format!(r#"ulimit -n {descriptors} && exec "$0" "$@""#);
    command_in_shell(&script, program, arguments)
}

/// Does the same as [`command`], by a script of the shell that executes `"$0" "$@"`.
pub fn command_in_shell(script: &str, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let program = program.as_ref().to_str().expect("a path in UTF-8");
    let arguments: Vec<&str> =
        ["-c", script, program].into_iter().chain(arguments.iter().copied()).collect();
    command_line("sh".as_ref(), &arguments)
}

/// Does the same as [`command`], and passes a listening socket under each of these names, as the
/// service manager does.
pub fn command_with_socket(
    socket: impl Into<OwnedFd>,
    names: &[&str],
    program: impl AsRef<Path>,
    arguments: &[&str],
) -> Command {
    // A child inherits only its standard streams, so the socket comes by way of stdin.
    let passed: String = (3..).zip(names).map(|(fd, _)| format!("{fd}<&0 ")).collect();
    let script = format!(r#"exec {passed} </dev/null; export LISTEN_PID=$$; exec "$0" "$@""#);
    let mut command = command_in_shell(&script, program, arguments);
    command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    command.stdin(Stdio::from(socket.into()));
    command
}

fn command_line(program: &OsStr, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name_of_ours = name.to_str().is_some_and(|name| name.starts_with("LASTWORD"));
        let of_a_manager =
            ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].iter().any(|it| name == *it);
        if name_of_ours || of_a_manager {
            command.env_remove(name);
        }
    }
    // Two daemons of two tests cannot have the default one. Files give way to this, `--set` does
    // not.
    command.env("LASTWORD__CONTROL__LISTEN", "127.0.0.1:0");
    // Without a state directory of its own it must not write to somebody's home.
    command.env(NO_LEDGER, "");
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn collect(stderr: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lines.lock().unwrap().push(line);
        log.grown.notify_waiters();
    }
}

/// The ending that a line of the log carries, if it carries one.
fn ending(line: &str) -> Option<Value> {
    let mut line: Value = serde_json::from_str(line).ok()?;
    let is_record = matches!(line["event"].as_str(), Some("ended" | "open_failed"));
    is_record.then(|| line["ending"].take())
}
