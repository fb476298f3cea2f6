use std::future::poll_fn;

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn what_came_before_the_end_is_taken_before_it() {
    let budget = Arc::new(MemoryBudget::new(1000));
    let inbox = Inbox::new(100, Arc::clone(&budget));
    inbox.push(Incoming::Message("one".into())).unwrap();
    assert!(inbox.has_room());
    inbox.push(Incoming::Message("two".into())).unwrap();
    assert!(!inbox.has_room());
    inbox.end();
    assert!(inbox.push(Incoming::Message("three".into())).is_err());
    for (text, made_room) in [("one", true), ("two", false)] {
        let incoming = Incoming::Message(text.into());
        let taken = poll_fn(|cx| inbox.poll_take(cx)).await;
        assert_eq!(taken, Some(Taken { incoming, made_room }));
    }
    assert_eq!(poll_fn(|cx| inbox.poll_take(cx)).await, None);
    assert_eq!(budget.used(), 0);
}

#[test]
fn an_abandoned_inbox_counts_what_is_lost_and_gives_its_budget_back() {
    let budget = Arc::new(MemoryBudget::new(1000));
    let inbox = Inbox::new(100, Arc::clone(&budget));
    inbox.push(Incoming::Message("one".into())).unwrap();
    inbox.push(Incoming::Close(ReceivedClose::default())).unwrap();
    assert_eq!(inbox.abandon().messages, 1);
    assert_eq!(budget.used(), 0);
    assert!(inbox.push(Incoming::Message("two".into())).is_err());
}

fn message(len: usize) -> Incoming {
    Incoming::Message(Message::binary(vec![0; len]))
}

fn take(inbox: &Inbox) -> Poll<Option<Taken>> {
    inbox.poll_take(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn room_is_told_of_by_the_take_that_makes_it() {
    let inbox = Inbox::new(200, Arc::new(MemoryBudget::new(1000)));
    let made_room = || match take(&inbox) {
        Poll::Ready(Some(taken)) => taken.made_room,
        nothing => panic!("{nothing:?}"),
    };
    for len in [0, 0, 0, 0, 100] {
        inbox.push(message(len)).unwrap();
    }
    assert_eq!([(); 5].map(|()| made_room()), [false, false, false, true, false]);
}

#[tokio::test]
async fn whoever_waits_is_woken_by_a_message_and_by_the_end() {
    let inbox = Arc::new(Inbox::new(100, Arc::new(MemoryBudget::new(1000))));
    let consumer = Arc::clone(&inbox);
    let consuming = tokio::spawn(async move {
        let first = poll_fn(|cx| consumer.poll_take(cx)).await;
        (first, poll_fn(|cx| consumer.poll_take(cx)).await)
    });
    tokio::task::yield_now().await;
    inbox.push(message(1)).unwrap();
    tokio::task::yield_now().await;
    inbox.end();
    let first = Taken { incoming: message(1), made_room: false };
    assert_eq!(consuming.await.unwrap(), (Some(first), None));
}

proptest! {
    /// In any order of pushes and takes: the order is kept, the bound holds but for the message
    /// that crosses it, and what is charged is what is held.
    #[test]
    fn what_is_pushed_is_taken_in_order_and_charged_while_it_is_held(
        steps in proptest::collection::vec(prop_oneof![(0_usize..400).prop_map(Some), Just(None)], 0..80),
        leave in any::<bool>(),
    ) {
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        let inbox = Inbox::new(1000, Arc::clone(&budget));
        let mut held = VecDeque::new();
        for step in steps {
            match step {
                Some(len) if inbox.has_room() => {
                    inbox.push(message(len)).unwrap();
                    held.push_back(message(len));
                }
                Some(_) => prop_assert!(budget.used() >= 1000),
                None => match take(&inbox) {
                    Poll::Ready(taken) => {
                        prop_assert_eq!(taken.map(|taken| taken.incoming), held.pop_front());
                    }
                    Poll::Pending => prop_assert!(held.is_empty()),
                },
            }
            let size: usize = held.iter().map(Incoming::size).sum();
            prop_assert_eq!(budget.used(), size as u64);
            prop_assert!(size < 1000 + message(400).size());
            prop_assert_eq!(inbox.is_empty(), held.is_empty());
        }
        if leave {
            prop_assert_eq!(inbox.abandon().messages, held.len() as u64);
        }
        drop(inbox);
        prop_assert_eq!(budget.used(), 0);
    }
}
