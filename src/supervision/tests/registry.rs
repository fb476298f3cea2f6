//! The accounting identity, seen by others while connections come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::ConnectionSettings;
use crate::protocol::closing_handshake::ReplyPolicy;
use crate::supervision::connection::{Birth, Connection};
use crate::supervision::memory::MemoryBudget;
use crate::supervision::registry::Registry;
use crate::vocabulary::{Direction, Origin, Role};

fn connection() -> Arc<Connection> {
    Arc::new(Connection::new(Birth {
        role: Role::Server,
        origin: Arc::new(Origin::new(Direction::Inbound)),
        settings: Arc::new(ConnectionSettings::default()),
        reply: ReplyPolicy::AtOnce,
        keeps_inbox: false,
        node: "test".into(),
        budget: Arc::new(MemoryBudget::new(1000)),
    }))
}

#[test]
fn opened_is_open_and_ended_at_every_instant() {
    const EACH: u64 = 2000;
    let registry = Registry::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let come_and_go = || {
            for _ in 0..EACH {
                let connection = connection();
                registry.insert(Arc::clone(&connection), None);
                assert!(registry.get(connection.id).is_some());
                assert!(registry.remove(connection.id).is_some());
                assert!(registry.remove(connection.id).is_none());
            }
        };
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let accounting = registry.accounting();
                assert!(accounting.balances(), "{accounting:?}");
            }
        });
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(come_and_go)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
    });
    let accounting = registry.accounting();
    assert_eq!((accounting.opened, accounting.open, accounting.ended), (4 * EACH, 0, 4 * EACH));
    assert_eq!((registry.len(), registry.all().len()), (0, 0));
}
