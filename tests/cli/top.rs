//! `top` in a terminal: what is seen, what keys do, and that the terminal is given back.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::PROGRAM;
use super::daemon::{ask, only_one, told};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::raw_peer::RawPeer;

const ENTER_SCREEN: &str = "\u{1b}[?1049h";
const LEAVE_SCREEN: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const REDRAW: &[u8] = b"\x0c";

/// A terminal of 100 columns and 30 lines in which `top` runs.
struct Terminal {
    script: Child,
    /// All that was written to it.
    seen: String,
}

impl Terminal {
    fn start(control: &str, arguments: &str) -> Self {
        let shell = format!(
            "before=$(stty -g); \
             sh -c 'echo pid=$$.; exec \"{PROGRAM}\" top --every 200ms {arguments}'; echo code=$?.; \
             test \"$before\" = \"$(stty -g)\" && echo as before"
        );
        Self::run(control, &shell)
    }

    fn run(control: &str, shell: &str) -> Self {
        let shell = format!("stty cols 100 rows 30; {shell}");
        let script = Command::new("script")
            .args(["-qec", &shell, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("LASTWORD_CONTROL", control)
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script, of util-linux");
        Self { script, seen: String::new() }
    }

    async fn press(&mut self, keys: &[u8]) {
        let terminal = self.script.stdin.as_mut().unwrap();
        terminal.write_all(keys).await.unwrap();
        terminal.flush().await.unwrap();
    }

    /// Reads for a while; returns what came.
    async fn read(&mut self) -> String {
        let mut new = Vec::new();
        let output = self.script.stdout.as_mut().unwrap();
        let reading = async { while output.read_buf(&mut new).await.unwrap() > 0 {} };
        let _ = timeout(Duration::from_millis(100), reading).await;
        let new = String::from_utf8_lossy(&new).into_owned();
        self.seen.push_str(&new);
        new
    }

    /// Waits until a frame has this word, which may not contain spaces: blank cells are not written.
    async fn await_word(&mut self, word: &str) {
        let awaited = async {
            while !self.read().await.contains(word) {
                // A frame as a whole, not only what has changed.
                self.press(REDRAW).await;
            }
        };
        let found = timeout(SOON, awaited).await;
        assert!(found.is_ok(), "awaited {word:?} in {:?}", self.seen);
    }

    /// Presses Escape and waits until the next frame has this word. With a key right behind it, Escape would
    /// be another key.
    async fn escape_to(&mut self, word: &str) {
        let before = self.seen.len();
        self.press(b"\x1b").await;
        self.await_after(before, word).await;
    }

    /// Waits until this was written, at any time.
    async fn await_output(&mut self, part: &str) {
        self.await_after(0, part).await;
    }

    /// Waits until this is in what was written from there on.
    async fn await_after(&mut self, from: usize, part: &str) {
        let awaited = async {
            while !self.seen[from..].contains(part) {
                self.read().await;
            }
        };
        let found = timeout(SOON, awaited).await;
        assert!(found.is_ok(), "awaited {part:?} in {:?}", self.seen);
    }

    fn pid(&self) -> &str {
        self.seen.split("pid=").nth(1).unwrap().split('.').next().unwrap()
    }

    fn signal(&self, name: &str) {
        let kill = ["-s", name, self.pid()];
        let sent = std::process::Command::new("kill").args(kill).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until `top` is stopped.
    async fn await_stop(&mut self) {
        let status = format!("/proc/{}/status", self.pid());
        let awaited = async {
            while !std::fs::read_to_string(&status).unwrap().contains("\nState:\tT") {
                self.read().await;
            }
        };
        timeout(SOON, awaited).await.expect("awaited that it stops");
    }

    /// Asserts that `top` ended with this code and left the terminal as it was.
    async fn ended(mut self, code: u8) {
        self.await_output("as before").await;
        assert!(self.seen.contains(&format!("code={code}.")), "{:?}", self.seen);
        let (_, after) = self.seen.rsplit_once(LEAVE_SCREEN).expect("left the screen");
        assert!(after.contains(SHOW_CURSOR), "{after:?}");
        assert!(!after.contains(ENTER_SCREEN), "{after:?}");
    }
}

fn control(daemon: &Daemon) -> String {
    format!("http://{}", daemon.control())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_show_explain_filter_and_close_in_a_terminal() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo?room=7").await;
    let id = only_one(&daemon).await;
    let mut terminal = Terminal::start(&control(&daemon), "");
    terminal.await_word(&id).await;
    terminal.press(b"\r").await;
    terminal.await_word("/echo?room=***").await;
    terminal.press(b"w").await;
    terminal.await_word("`lastword").await;
    terminal.press(b"q").await;
    terminal.await_word(&id).await;
    terminal.press(b"/route=nowhere\r").await;
    terminal.await_word("filter:").await;
    terminal.await_word("match,").await;
    terminal.escape_to(&id).await;
    terminal.press(b"e").await;
    terminal.await_word("waiting").await;
    terminal.press(b"e").await;
    terminal.await_word(&id).await;
    terminal.press(b"c").await;
    terminal.await_word("y/n").await;
    terminal.press(b"y").await;
    assert_eq!(peer.expect_close(SOON).await, (Some(1000), String::new()));
    peer.close(1000, "").await;
    peer.fin().await;
    terminal.press(b"e").await;
    terminal.await_word("clean").await;
    terminal.press(b"\r").await;
    terminal.await_word("Meaning").await;
    terminal.press(b"qq").await;
    terminal.ended(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_is_given_back_whatever_ends_or_stops_it() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let mut terminal = Terminal::start(&control(&daemon), "");
        terminal.await_word("connections,").await;
        terminal.signal(signal);
        terminal.ended(code).await;
    }
    let mut terminal = Terminal::start(&control(&daemon), "");
    terminal.await_word("connections,").await;
    for by_key in [false, true] {
        let before = terminal.seen.len();
        if by_key {
            terminal.press(b"\x1a").await;
        } else {
            terminal.signal("TSTP");
        }
        terminal.await_after(before, LEAVE_SCREEN).await;
        terminal.await_stop().await;
        terminal.signal("CONT");
        terminal.await_word("connections,").await;
    }
    assert_eq!(terminal.seen.matches(ENTER_SCREEN).count(), 3);
    terminal.press(b"\x03").await;
    terminal.ended(0).await;
}

/// Only the foreground is told of a new size, and that is the shell then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_resized_meanwhile_is_found_so() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let shell =
        format!("set -m; \"{PROGRAM}\" top --every 200ms; stty cols 60 rows 20; fg; echo left");
    let mut terminal = Terminal::run(&control(&daemon), &shell);
    terminal.await_word("connections,").await;
    terminal.press(b"\x1a").await;
    terminal.await_output("60x20.").await;
    terminal.press(b"q").await;
    terminal.await_output("left").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_comes_back_is_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let listen = format!("control.listen=\"unix:{}\"", socket.display());
    let mut daemon = Daemon::start(PROGRAM, &[&listen]).await;
    let mut terminal = Terminal::start(&format!("unix:{}", socket.display()), "--sort queued");
    terminal.await_word("queued").await;
    daemon.signal("TERM").await;
    daemon.await_exit(SOON).await;
    terminal.await_word("retrying:").await;
    let _daemon = Daemon::start(PROGRAM, &[&listen]).await;
    terminal.await_word("running,").await;
    terminal.press(b"q").await;
    terminal.ended(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_frame_is_printed_as_text_and_without_colours() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let _peer = RawPeer::connect(daemon.listener(), "/echo").await;
    let id = only_one(&daemon).await;
    let once = ["top", "--once", "--every", "200ms", "--filter", "route=echo", "--sort", "in"];
    let frame = told(&daemon, &once).await;
    let lines: Vec<&str> = frame.lines().collect();
    assert!(lines[0].contains("running, up "), "{frame}");
    assert!(lines[1].starts_with("open 1   opened 0.0/s   messages in 0.0/s"), "{frame}");
    assert_eq!(lines[5], "1 connection, most messages in first   filter: route=echo");
    assert!(lines[6].starts_with("ID ") && lines[6].ends_with(" QUEUED"), "every column: {frame}");
    assert!(lines[7].starts_with(&id) && lines.len() == 8, "{frame}");
    assert!(!frame.contains('\u{1b}'));

    let wrong = ask(&daemon, &["top", "--once", "--filter", "state=opne"]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""), "{wrong:?}");
    assert!(wrong.stderr.contains("state: \"opne\" is not one of"), "{wrong:?}");
    let nobody = ask(&daemon, &["top", "--once", "--control", "http://127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
}
