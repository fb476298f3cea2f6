//! The terminal: its keys, its cells, and its state as it was before.

use std::io::{self, Stdout, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ratatui_core::layout::{Position, Rect};
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::cursor::{Hide, Show};
use ratatui_crossterm::crossterm::event::{
    self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use ratatui_crossterm::crossterm::execute;
use ratatui_crossterm::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc;

use super::drawing;
use super::input::{Input, Key};
use super::model::Model;
use crate::surfaces::cli::console::Look;

/// Whether the terminal is ours, and has to be given back.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Makes a panic give the terminal back before its message is printed.
static HOOK: Once = Once::new();

/// The terminal in raw mode, on its alternate screen; given back when dropped, or by a panic.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    look: Look,
}

impl Screen {
    pub(super) fn open(look: Look) -> io::Result<Self> {
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                next(panic);
            }));
        });
        // From here on, dropping the screen gives back whatever was taken.
        let screen = Self { terminal: Terminal::new(CrosstermBackend::new(stdout()))?, look };
        take()?;
        Ok(screen)
    }

    /// Returns the size of the terminal: columns and lines.
    pub(super) fn size() -> io::Result<(u16, u16)> {
        terminal::size()
    }

    /// Draws what has changed.
    pub(super) fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| drawing::draw(model, self.look, frame.buffer_mut()))?;
        Ok(())
    }

    /// Makes the next frame draw every cell.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal for its cursor, whose answer the keys' thread reads.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// Gives the terminal to the shell, and stops this process until the shell continues it.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // Not SIGTSTP, which this process handles.
        kill_process(getpid(), Signal::STOP)?;
        take()?;
        self.forget()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    IS_OPEN.store(true, Ordering::SeqCst);
    terminal::enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

fn give_back() {
    if IS_OPEN.swap(false, Ordering::SeqCst) {
        // The terminal may be gone, with nothing left to give back.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// Reads keys until the receiver is dropped or the terminal is gone. The thread ends with the process.
pub(super) fn read_keys(inputs: mpsc::Sender<Input>) -> io::Result<()> {
    let read = move || {
        let last = LastKey(inputs.clone());
        while let Ok(event) = event::read() {
            let input = match event {
                Event::Key(key) => key_of(key).map(Input::Key),
                Event::Resize(columns, lines) => Some(Input::Resized(columns, lines)),
                Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => None,
            };
            if let Some(input) = input
                && inputs.blocking_send(input).is_err()
            {
                break;
            }
        }
        drop(last);
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(())
}

/// Quits when keys are no longer read, for any reason, since q could not be pressed.
struct LastKey(mpsc::Sender<Input>);

impl Drop for LastKey {
    fn drop(&mut self) {
        // If the receiver is gone, the program has quit already.
        let _ = self.0.blocking_send(Input::Key(Key::Interrupt));
    }
}

fn key_of(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        return match event.code {
            KeyCode::Char('c') => Some(Key::Interrupt),
            KeyCode::Char('z') => Some(Key::Suspend),
            KeyCode::Char('l') => Some(Key::Redraw),
            KeyCode::Char('u') => Some(Key::Clear),
            _ => None,
        };
    }
    Some(match event.code {
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs itself in a terminal, where it panics.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        const IN_A_TERMINAL: &str = "LASTWORD_TEST_IN_A_TERMINAL";
        if std::env::var_os(IN_A_TERMINAL).is_some() {
            let _screen = Screen::open(Look::PLAIN).unwrap();
            panic!("in the middle of it");
        }
        let program = std::env::current_exe().unwrap();
        let test = "surfaces::cli::top::screen::tests::a_panic_gives_the_terminal_back";
        let shell = format!(
            "before=$(stty -g); {} --exact {test} --nocapture; test \"$before\" = \"$(stty -g)\" && \
             echo as before",
            program.display()
        );
        let script = std::process::Command::new("script")
            .args(["-qec", &shell, "/dev/null"])
            .env(IN_A_TERMINAL, "1")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("script, of util-linux");
        let seen = String::from_utf8_lossy(&script.stdout);
        let [enter, leave, show] =
            ["\u{1b}[?1049h", "\u{1b}[?1049l", "\u{1b}[?25h"].map(|sequence| {
                seen.find(sequence).unwrap_or_else(|| panic!("{sequence:?}: {seen:?}"))
            });
        let message = seen.find("in the middle of it").expect("the message");
        assert!(enter < leave && leave < show && show < message, "{seen:?}");
        assert!(seen.contains("as before"), "{seen:?}");
    }

    #[test]
    fn keys_mean_what_people_expect() {
        let key = |code, modifiers| key_of(KeyEvent::new(code, modifiers));
        let plain = KeyModifiers::NONE;
        assert_eq!(key(KeyCode::Char('c'), plain), Some(Key::Char('c')));
        assert_eq!(key(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Key::Char('G')));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(key(KeyCode::Char('x'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::Esc, plain), Some(Key::Escape));
        assert_eq!(key(KeyCode::F(1), plain), None);
        let released = KeyEvent::new_with_kind(KeyCode::Up, plain, KeyEventKind::Release);
        assert_eq!(key_of(released), None);
    }
}
