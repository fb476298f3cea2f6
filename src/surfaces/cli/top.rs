//! `top`: connections, rates and endings in the terminal, as they are.
//!
//! `model` decides and `drawing` draws, both pure; `screen` is the terminal, `polling` the daemon.

mod drawing;
mod figures;
mod filter;
mod input;
mod model;
mod polling;
mod screen;
mod sheet;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

pub use filter::Sort;

use super::api::Daemon;
use super::arguments::Top;
use super::console::Console;
use super::exit::DONE;
use super::failure::Failure;
use filter::Wanted;
use input::{Input, Request};
use model::Model;
use screen::Screen;
use sheet::Sheet;

/// Keys and endings that are not handled yet.
const PENDING: usize = 64;

/// The number of requests under way for what a key asked for.
const AT_ONCE: usize = 4;

/// How long an answer may take before the header says that none comes.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The size of a frame where there is no terminal.
const FRAME: (u16, u16) = (80, 40);

/// The longest time between the two looks from which `--once` computes rates.
const RATES_OVER: Duration = Duration::from_secs(1);

/// Shows connections and endings until a key or a signal ends it.
pub(super) async fn top(top: &Top, console: &mut Console) -> Result<u8, Failure> {
    if console.json {
        return Err(Failure::Usage(
            "top draws for people: use `lastword ls --json`, `lastword status --json` or `lastword \
             events --json`"
                .to_owned(),
        ));
    }
    let daemon = Arc::new(Daemon::of(&top.control)?.answering_within(ANSWER_WITHIN));
    let wanted = Wanted {
        filter: top.filter.as_deref().unwrap_or_default().trim().to_owned(),
        sort: top.sort,
        reverse: top.reverse,
        limit: 0,
    };
    if top.once {
        return once(&daemon, wanted, top.every, console).await;
    }
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !is_terminal || std::env::var("TERM").is_ok_and(|term| term == "dumb") {
        return Err(Failure::Usage(
            "top needs a terminal that it can draw on: `lastword top --once` prints one frame as text"
                .to_owned(),
        ));
    }
    let mut model = Model::new(wanted, Screen::size()?);
    // What is wrong from the start is told as by any other command.
    begin(&daemon, &mut model).await?;
    // Before the terminal is taken, so that no signal leaves it taken.
    let signals = Signals::new()?;
    let program = Program {
        daemon,
        signals,
        screen: Screen::open(console.look)?,
        asking: JoinSet::new(),
        asked: JoinSet::new(),
        following: JoinSet::new(),
        is_stale: false,
        model,
    };
    program.run(top.every).await
}

/// Takes the first news; a filter that means nothing to the daemon is bad usage.
async fn begin(daemon: &Daemon, model: &mut Model) -> Result<(), Failure> {
    let news = polling::news(daemon, model.wanted.clone()).await?;
    if let Err(why) = &news.page {
        return Err(Failure::Usage(why.clone()));
    }
    model.handle(Input::News(Box::new(news)));
    Ok(())
}

async fn once(
    daemon: &Daemon,
    wanted: Wanted,
    every: Duration,
    console: &mut Console,
) -> Result<u8, Failure> {
    let size = if io::stdout().is_terminal() { Screen::size()? } else { FRAME };
    let mut model = Model::new(wanted, size);
    begin(daemon, &mut model).await?;
    sleep(every.min(RATES_OVER)).await;
    begin(daemon, &mut model).await?;
    console.print(&drawing::write(&model, console.look))?;
    Ok(DONE)
}

/// The program at work.
struct Program {
    daemon: Arc<Daemon>,
    model: Model,
    signals: Signals,
    screen: Screen,
    /// The request for news, of which there is at most one.
    asking: JoinSet<Input>,
    /// Whether the news has to be asked for again, since what is wanted has changed.
    is_stale: bool,
    /// Requests for what a key asked for.
    asked: JoinSet<Input>,
    /// The stream of endings, while they are shown.
    following: JoinSet<()>,
}

impl Program {
    async fn run(mut self, every: Duration) -> Result<u8, Failure> {
        let (inputs, mut incoming) = mpsc::channel(PENDING);
        screen::read_keys(inputs.clone())?;
        // The first answer is there already.
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.screen.draw(&self.model)?;
            let input = tokio::select! {
                // The sender is here, too, so the channel cannot be closed.
                Some(input) = incoming.recv() => input,
                Some(done) = self.asked.join_next() => done.unwrap_or_else(pass_on),
                Some(done) = self.asking.join_next() => {
                    if std::mem::take(&mut self.is_stale) {
                        self.ask();
                    }
                    done.unwrap_or_else(pass_on)
                }
                Some(done) = self.following.join_next() => {
                    done.unwrap_or_else(pass_on);
                    continue;
                }
                _ = ticks.tick(), if self.asking.is_empty() => {
                    self.ask();
                    continue;
                }
                received = self.signals.next() => match received {
                    Received::Suspend => self.suspend()?,
                    Received::End(code) => return Ok(code),
                },
            };
            let mut requests = VecDeque::from(self.model.handle(input));
            while let Some(request) = requests.pop_front() {
                match request {
                    Request::Quit => return Ok(DONE),
                    Request::Suspend => {
                        let resized = self.suspend()?;
                        requests.extend(self.model.handle(resized));
                    }
                    Request::Redraw => self.screen.forget()?,
                    Request::Refresh => self.ask(),
                    Request::Show(id) => {
                        self.answer(|daemon| async move { polling::show(&daemon, &id).await })
                    }
                    Request::Why(id) => {
                        self.answer(|daemon| async move { polling::why(&daemon, &id).await })
                    }
                    Request::Explain(ending) => {
                        let sheet = Sheet::of_ending(&ending, SystemTime::now());
                        self.model.handle(Input::Opened(sheet));
                    }
                    Request::Close(id) => {
                        self.answer(|daemon| async move { polling::close(&daemon, &id).await })
                    }
                    Request::Follow(follow) => self.follow(follow, &inputs),
                }
            }
        }
    }

    /// Gives the terminal to the shell; returns its size afterwards, of whose change a stopped process is
    /// not told.
    fn suspend(&mut self) -> io::Result<Input> {
        self.screen.suspend()?;
        let (columns, lines) = Screen::size()?;
        Ok(Input::Resized(columns, lines))
    }

    /// Asks for news, now or once the answer under way is there.
    fn ask(&mut self) {
        if !self.asking.is_empty() {
            self.is_stale = true;
            return;
        }
        let (daemon, wanted) = (Arc::clone(&self.daemon), self.model.wanted.clone());
        self.asking.spawn(async move {
            match polling::news(&daemon, wanted).await {
                Ok(news) => Input::News(Box::new(news)),
                Err(failure) => Input::NoNews(failure.to_string()),
            }
        });
    }

    fn answer<F>(&mut self, ask: impl FnOnce(Arc<Daemon>) -> F)
    where
        F: Future<Output = Input> + Send + 'static,
    {
        if self.asked.len() < AT_ONCE {
            self.asked.spawn(ask(Arc::clone(&self.daemon)));
        } else {
            let why = "the daemon has not answered the last requests yet: try again";
            self.model.handle(Input::Told(why.to_owned()));
        }
    }

    fn follow(&mut self, follow: bool, inputs: &mpsc::Sender<Input>) {
        self.following = JoinSet::new();
        if follow {
            let (daemon, inputs) = (Arc::clone(&self.daemon), inputs.clone());
            self.following.spawn(async move { polling::follow(&daemon, inputs).await });
        }
    }
}

/// Passes the panic of a task on: the terminal has been given back, so nothing may be drawn any more.
fn pass_on<T>(error: JoinError) -> T {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // Tasks are cancelled only when nobody waits for them any more.
        Err(cancelled) => panic!("{cancelled}"),
    }
}

/// The signals that end or stop the program, which gives the terminal back first.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    suspend: Signal,
}

/// What a signal asks for.
enum Received {
    Suspend,
    /// An end with this exit code.
    End(u8),
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            suspend: signal(SignalKind::from_raw(libc::SIGTSTP))?,
        })
    }

    /// Waits for a signal. Cancel safe.
    async fn next(&mut self) -> Received {
        // As in shells, 128 and the number of the signal.
        tokio::select! {
            _ = self.hang_up.recv() => Received::End(129),
            _ = self.interrupt.recv() => Received::End(130),
            _ = self.terminate.recv() => Received::End(143),
            _ = self.suspend.recv() => Received::Suspend,
        }
    }
}
