//! The order in which the decider learns of closes, with many threads at once.

use std::task::Poll;
use std::thread;

use super::*;
use crate::connection::tests::connection;
use crate::protocol::closing_handshake::ReplyPolicy;
use crate::vocabulary::Cause;

const ROUNDS: usize = 300;

fn frame(code: CloseCode) -> CloseFrame {
    CloseFrame::coded(code, "")
}

fn request() -> CloseRequest {
    CloseRequest::new(frame(CloseCode::NORMAL), Cause::Api)
}

/// Writes what waits; returns it, and whether our Close was in it.
fn write(connection: &Connection) -> (Vec<u8>, bool) {
    let (mut scratch, mut wire) = ([0; 64], Vec::new());
    let written = connection.outbox.write(&mut scratch, false, |bytes| {
        wire.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    });
    match written {
        Poll::Ready(Some(Ok(left))) => (wire, left.close),
        Poll::Ready(None) => (wire, false),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_accepted_close_is_in_the_mailbox_before_its_frame_can_be_reported_to_have_left() {
    for _ in 0..ROUNDS {
        let connection = connection(ReplyPolicy::AtOnce);
        thread::scope(|scope| {
            scope.spawn(|| assert!(connection.close(request())));
            scope.spawn(|| {
                while !write(&connection).1 {
                    thread::yield_now();
                }
                connection.report(Input::CloseFlushed);
            });
        });
        let expected = [Input::CloseAccepted(request()), Input::CloseFlushed];
        assert_eq!(connection.mailbox.early(), expected);
    }
}

#[test]
fn a_close_that_takes_the_place_of_the_deciders_own_is_in_the_mailbox_already() {
    for _ in 0..ROUNDS {
        let connection = connection(ReplyPolicy::AtOnce);
        let own = Action::SendClose { frame: frame(CloseCode::GOING_AWAY), shed: false };
        let (accepted, known) = thread::scope(|scope| {
            let closing = scope.spawn(|| connection.close(request()));
            connection.order(vec![own], None);
            let known = !connection.mailbox.early().is_empty();
            (closing.join().unwrap(), known)
        });
        assert_eq!(accepted, known);
        let code = if accepted { CloseCode::NORMAL } else { CloseCode::GOING_AWAY };
        let payload = frame(code).payload();
        assert_eq!(write(&connection), ([&[0x88, 2], &*payload].concat(), true));
    }
}

#[test]
fn a_close_that_is_accepted_while_the_connection_ends_is_reported_before_the_end() {
    for _ in 0..ROUNDS {
        let connection = connection(ReplyPolicy::AtOnce);
        let (accepted, known) = thread::scope(|scope| {
            let closing = scope.spawn(|| connection.close(request()));
            connection
                .order(vec![Action::Finish { reset: false, kind: Kind::ConnectionReset }], None);
            // From here on the mover may report that it has released the transport.
            let known = !connection.mailbox.early().is_empty();
            (closing.join().unwrap(), known)
        });
        assert_eq!(accepted, known);
    }
}

#[test]
fn a_close_behind_an_abort_is_not_accepted_and_one_before_it_stands() {
    let abort = || Input::Abort { cause: Cause::Drain, by: None };
    let aborted = connection(ReplyPolicy::AtOnce);
    aborted.cut(abort());
    assert!(!aborted.close(request()));
    assert_eq!(aborted.state(), CloseState::Open);
    assert_eq!(aborted.mailbox.early(), [abort()]);
    assert_eq!(write(&aborted), (Vec::new(), false));

    let closed = connection(ReplyPolicy::AtOnce);
    assert!(closed.close(request()));
    closed.cut(abort());
    assert_eq!(closed.state(), CloseState::CloseSent);
    assert_eq!(closed.mailbox.early(), [Input::CloseAccepted(request()), abort()]);
    assert!(write(&closed).1);
}

#[test]
fn the_state_is_close_sent_as_soon_as_a_close_is_accepted() {
    let connection = connection(ReplyPolicy::AtOnce);
    assert_eq!(connection.state(), CloseState::Open);
    assert!(connection.close(request()));
    assert_eq!(connection.state(), CloseState::CloseSent);
    assert!(!connection.close(request()));
    connection.note_drop(None);
    assert_eq!(connection.state(), CloseState::Closed);
}
