//! The queue of lines between those who log and a stderr or journal that may be slow, blocked or
//! gone.

use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use crate::policy::masking::is_unprintable;

/// How much may wait for stderr, in bytes: some ten thousand endings.
const QUEUE_BYTES: usize = 16 << 20;

/// How long lines gather before they are written: many connections that end at once make one write,
/// rather than a switch of threads each.
const GATHER: Duration = Duration::from_millis(5);

/// How long the end of the process waits for stderr to take what is queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before trying again when stderr is set not to block, and full.
const RETRY: Duration = Duration::from_millis(10);

/// A bounded queue of lines with a thread that writes them.
///
/// Logging never waits and never fails: a line that does not fit into the queue, or that could not
/// be written, is counted, and the count is written as a line of its own once lines pass again.
/// Dropping it waits, for two seconds at most, until what is queued is written.
pub struct Lines {
    queue: Arc<Queue>,
}

impl Lines {
    /// Spawns the thread; `describe` renders the line that says how many lines are missing.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn spawn(
        sink: impl Write + Send + 'static,
        describe: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        Self::with_capacity(QUEUE_BYTES, sink, describe)
    }

    fn with_capacity(
        capacity: usize,
        mut sink: impl Write + Send + 'static,
        describe: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            capacity,
            state: Mutex::new(State::default()),
            filled: Condvar::new(),
            finished: Condvar::new(),
        });
        let writer = Arc::clone(&queue);
        // The thread ends with `Lines`, but for a stderr that blocks for good: then it is left
        // behind, as a blocked write cannot be called off, and ends with the process.
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            // After a panic the thread goes on: the panic hook has queued a line about it.
            let mut write_out = || writer.write_out(&mut sink, &describe);
            while catch_unwind(AssertUnwindSafe(&mut write_out)).is_err() {}
        })?;
        Ok(Self { queue })
    }

    /// Returns where to put lines.
    pub(super) fn sender(&self) -> LineSender {
        LineSender { queue: Arc::clone(&self.queue) }
    }

    /// Returns a maker of writers, each of which makes one line of what is written to it.
    pub(super) fn text_writer(&self, colours: bool) -> TextWriter {
        TextWriter { sender: self.sender(), colours }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let mut state = self.queue.state.lock();
        state.closing = true;
        self.queue.filled.notify_one();
        while !state.finished {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.queue.finished.wait_for(&mut state, left);
        }
    }
}

/// Puts lines into the queue.
#[derive(Clone)]
pub(super) struct LineSender {
    queue: Arc<Queue>,
}

impl LineSender {
    /// Queues a line, which ends in its only line break, or counts it as dropped.
    pub(super) fn send(&self, line: &[u8]) {
        let mut state = self.queue.state.lock();
        if state.closing || state.queued.len() + line.len() > self.queue.capacity {
            state.dropped += 1;
            return;
        }
        let first = state.queued.is_empty();
        state.queued.extend_from_slice(line);
        drop(state);
        // Each wake-up costs a system call, and the woken thread takes all queued lines.
        if first {
            self.queue.filled.notify_one();
        }
    }
}

struct Queue {
    capacity: usize,
    state: Mutex<State>,
    filled: Condvar,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    queued: Vec<u8>,
    /// The number of lines lost since the last report.
    dropped: u64,
    closing: bool,
    finished: bool,
}

impl Queue {
    fn write_out(&self, sink: &mut impl Write, describe: &impl Fn(u64) -> String) {
        let mut torn = false;
        loop {
            let mut state = self.state.lock();
            while state.queued.is_empty() && !state.closing {
                self.filled.wait(&mut state);
            }
            self.filled.wait_while_for(&mut state, |state| !state.closing, GATHER);
            // Taking the buffer away gives its memory back once a burst is written.
            let mut batch = std::mem::take(&mut state.queued);
            let dropped = std::mem::take(&mut state.dropped);
            let last = state.closing;
            drop(state);

            // What was dropped came while the queue was full, so after the lines in it.
            if dropped > 0 {
                batch.extend_from_slice(describe(dropped).as_bytes());
            }
            if torn && write_all(sink, b"\n").is_empty() {
                torn = false;
            }
            let unwritten = write_all(sink, &batch);
            let lines = unwritten.iter().filter(|byte| **byte == b'\n').count() as u64;

            let mut state = self.state.lock();
            if lines > 0 {
                let written = batch.len() - unwritten.len();
                torn |= written > 0 && batch[written - 1] != b'\n';
                // The line that reports earlier losses is not counted as lost itself.
                state.dropped += if dropped > 0 { lines - 1 + dropped } else { lines };
            }
            if last {
                state.finished = true;
                self.finished.notify_all();
                return;
            }
        }
    }
}

/// Writes as much as can be written and returns the rest.
fn write_all<'a>(sink: &mut impl Write, mut rest: &'a [u8]) -> &'a [u8] {
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => break,
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares our stderr may have set it not to block.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            // A closed pipe or a full disk may recover; the line is dropped meanwhile.
            Err(_) => break,
        }
    }
    rest
}

/// Makes one line of each formatted event.
pub(super) struct TextWriter {
    sender: LineSender,
    colours: bool,
}

impl<'a> MakeWriter<'a> for TextWriter {
    type Writer = TextLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        TextLine { writer: self, line: Vec::new() }
    }
}

/// One event on its way to become one line, whatever line breaks and escape sequences its fields
/// hold: a peer must not be able to write lines of its own.
pub(super) struct TextLine<'a> {
    writer: &'a TextWriter,
    line: Vec<u8>,
}

impl Write for TextLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TextLine<'_> {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches('\n');
        let mut line = String::with_capacity(text.len() + 1);
        for c in text.chars() {
            match c {
                // The colours are ours: the formatter escapes those in messages and fields.
                '\u{1b}' if self.writer.colours => line.push(c),
                c if is_unprintable(c) => line.extend(c.escape_default()),
                c => line.push(c),
            }
        }
        line.push('\n');
        self.writer.sender.send(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    type Orders = mpsc::Sender<io::Result<usize>>;

    /// A sink that does what it is told, once per write.
    struct Sink {
        orders: mpsc::Receiver<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.orders.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.written.lock().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(capacity: usize) -> (Lines, Orders, Arc<Mutex<Vec<u8>>>) {
        let (order, orders) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink { orders, written: Arc::clone(&written) };
        let lines = Lines::with_capacity(capacity, sink, |n| format!("{n} lost\n")).unwrap();
        (lines, order, written)
    }

    /// A sink that panics at its first write.
    struct Mined {
        stepped_on: bool,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Mined {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(std::mem::replace(&mut self.stepped_on, true), "a test asked for it");
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_thread_that_panics_goes_on_writing() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Mined { stepped_on: false, written: Arc::clone(&written) };
        let lines = Lines::with_capacity(1024, sink, |n| format!("{n} lost\n")).unwrap();
        lines.sender().send(b"lost\n");
        until(&lines, |state| state.queued.is_empty());
        lines.sender().send(b"written\n");
        drop(lines);
        assert!(written.lock().ends_with(b"written\n"));
    }

    fn until(lines: &Lines, condition: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !condition(&lines.queue.state.lock()) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn text(written: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(written.lock().clone()).unwrap()
    }

    #[test]
    fn a_blocked_sink_blocks_nobody_and_the_loss_is_said() {
        let (lines, order, written) = lines(8);
        let sender = lines.sender();
        sender.send(b"one\n");
        until(&lines, |state| state.queued.is_empty());
        for _ in 0..10 {
            sender.send(b"two\n");
        }
        drop(order);
        drop(lines);
        assert_eq!(text(&written), "one\ntwo\ntwo\n8 lost\n");
    }

    #[test]
    fn a_broken_sink_is_survived_and_the_loss_is_said_when_it_heals() {
        let (lines, order, written) = lines(1024);
        let sender = lines.sender();
        order.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        order.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        sender.send(b"one\n");
        until(&lines, |state| state.dropped == 1);
        // The second batch fails too, and with it the line that tells of the first.
        sender.send(b"two\n");
        until(&lines, |state| state.dropped == 2);
        drop(order);
        sender.send(b"three\n");
        drop(lines);
        assert_eq!(text(&written), "three\n2 lost\n");
    }

    #[test]
    fn a_line_that_was_torn_does_not_spoil_the_next() {
        let (lines, order, written) = lines(1024);
        let sender = lines.sender();
        order.send(Ok(2)).unwrap();
        order.send(Err(ErrorKind::StorageFull.into())).unwrap();
        sender.send(b"one\n");
        until(&lines, |state| state.dropped == 1);
        drop(order);
        sender.send(b"two\n");
        drop(lines);
        assert_eq!(text(&written), "on\ntwo\n1 lost\n");
    }

    #[test]
    fn a_sink_that_does_not_block_is_tried_again() {
        let (lines, order, written) = lines(1024);
        order.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        order.send(Err(ErrorKind::Interrupted.into())).unwrap();
        lines.sender().send(b"one\n");
        drop(order);
        drop(lines);
        assert_eq!(text(&written), "one\n");
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (lines, order, _) = lines(1024);
        lines.sender().send(b"one\n");
        let started = Instant::now();
        drop(lines);
        assert!(started.elapsed() < FLUSH_TIMEOUT + Duration::from_secs(1));
        drop(order);
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let (lines, order, written) = lines(1024);
        drop(order);
        writeln!(lines.text_writer(false).make_writer(), "a\nb\r\u{1b}[2Jc\u{202e}d\u{9b}")
            .unwrap();
        writeln!(lines.text_writer(true).make_writer(), "\u{1b}[32mü\u{1b}[0m").unwrap();
        drop(lines);
        assert_eq!(text(&written), "a\\nb\\r\\u{1b}[2Jc\\u{202e}d\\u{9b}\n\u{1b}[32mü\u{1b}[0m\n");
    }
}
