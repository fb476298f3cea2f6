//! The steps of an exchange, and how they are played.

use std::time::Duration;

use tokio::time::Instant;

use super::frame::Frame;
use super::peer::Peer;
use super::seen::{Event, Seen};

/// One step of an exchange. Each waits for `--timeout` at most.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Sends frames in one piece.
    Send(&'static [Frame]),
    /// Sends in one piece what the exchange is about.
    Test(&'static [Frame]),
    /// Does the same byte by byte.
    TestBytewise(&'static [Frame]),
    /// Does the same with the first bytes of a frame only.
    TestPart(&'static Frame, usize),
    /// Does the same without reading meanwhile.
    TestUnread(&'static [Frame]),
    /// What follows is what the exchange is about.
    Tested,
    /// Waits for the Pong with this payload.
    AwaitPong(&'static [u8]),
    /// Waits until every message that was sent has come back.
    AwaitEcho,
    /// Waits for a Close.
    AwaitClose,
    /// Waits for the end of TCP.
    AwaitEnd,
    /// Answers the peer's Close, if there was one, with 1000.
    AnswerClose,
    /// Waits this long without reading.
    Wait(Duration),
    /// Reads for as long as `--idle` says; of a client, as long as it may take to give up.
    Idle,
    /// Sends FIN.
    Fin,
    /// Sends RST.
    Reset,
}

/// How long steps wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For an answer.
    pub answer: Duration,
    /// In silence.
    pub idle: Duration,
    /// Before the first step, for a peer that ends the connection on its own.
    pub settle: Duration,
}

/// What this end closes with when the exchange is over early.
const GOODBYE: &[Frame] = &[Frame::close(1000, "")];

/// The steps of an exchange that only closes.
pub(super) const CLOSES: &[Step] = &[Step::Test(GOODBYE), Step::AwaitClose, Step::AwaitEnd];

/// The gap between two bytes that are sent singly.
const GAP: Duration = Duration::from_millis(5);

/// Plays the steps. It is over early if the peer ends before what the exchange is about.
pub(super) async fn play(peer: &mut Peer, steps: &[Step], waits: Waits) {
    let is_early = |seen: &Seen| seen.tested_at().is_none() && seen.is_early();
    if !waits.settle.is_zero() {
        peer.read_until(Instant::now() + waits.settle.min(waits.answer), is_early).await;
    }
    for step in steps {
        let deadline = Instant::now() + waits.answer;
        if is_early(&peer.seen) && !matches!(step, Step::Tested) {
            return peer.send(GOODBYE, deadline, true).await;
        }
        match step {
            Step::Send(frames) => peer.send(frames, deadline, true).await,
            Step::Test(frames) => {
                peer.note(Event::Tested);
                peer.send(frames, deadline, true).await;
            }
            Step::TestBytewise(frames) => {
                peer.note(Event::Tested);
                peer.send_bytewise(frames, GAP, deadline).await;
            }
            Step::TestPart(frame, len) => {
                peer.note(Event::Tested);
                peer.send_part(frame, *len, deadline).await;
            }
            Step::TestUnread(frames) => {
                peer.note(Event::Tested);
                peer.send(frames, deadline, false).await;
            }
            Step::Tested => peer.note(Event::Tested),
            Step::AwaitPong(payload) => {
                let done = |seen: &Seen| seen.has_pong(payload) || seen.close().is_some();
                peer.read_until(deadline, done).await;
            }
            Step::AwaitEcho => {
                let done = |seen: &Seen| seen.echoed() == seen.sent.len() || seen.close().is_some();
                peer.read_until(deadline, done).await;
            }
            Step::AwaitClose => {
                peer.read_until(deadline, |seen| seen.close().is_some()).await;
            }
            Step::AwaitEnd => {
                peer.read_until(deadline, |_| false).await;
            }
            Step::AnswerClose => {
                if peer.seen.close().is_some() && !peer.is_over() {
                    peer.send(GOODBYE, deadline, true).await;
                }
            }
            Step::Wait(time) => tokio::time::sleep(*time).await,
            Step::Idle => {
                peer.read_until(Instant::now() + waits.idle, |_| false).await;
            }
            Step::Fin => peer.fin(deadline).await,
            Step::Reset => peer.reset(),
        }
    }
}
