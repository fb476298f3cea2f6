//! What happens when the memory of all is used up: the connections that hold most of it go.
//!
//! While the budget is exhausted nothing that holds something reads on, so waiting is safe: what
//! merely passes through leaves by itself within [`GRACE`]. What is still there then is held by
//! peers or backends that do not move, and without a victim all would wait for each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::connection::Connection;
use crate::connection::budget::MemoryBudget;
use crate::connection::held::Held;
use crate::node::registry::Registry;
use crate::protocol::closing_handshake::Input;
use crate::vocabulary::Limit;

/// How long memory may stay used up before a connection has to go for it; also the shortest time
/// between two looks at all connections.
const GRACE: Duration = Duration::from_millis(100);

/// How long to wait where no connection holds anything, so that none could go.
const NONE_TO_CHOOSE: Duration = Duration::from_secs(1);

/// Frees memory whenever it is used up, for as long as it is polled.
pub(crate) async fn relieve(budget: Arc<MemoryBudget>, registry: Arc<Registry>) {
    if budget.pressed.load(Ordering::SeqCst) {
        // An earlier run of this task did not come to its end.
        budget.pressure.notify_one();
    }
    loop {
        budget.pressure.notified().await;
        tokio::time::sleep(GRACE).await;
        while budget.is_nearly_exhausted() {
            let found = choose(&budget, &registry);
            tokio::time::sleep(if found { GRACE } else { NONE_TO_CHOOSE }).await;
        }
        budget.pressed.store(false, Ordering::SeqCst);
        // A charge that used the budget up before that store has not set the flag again.
        if budget.is_exhausted() {
            budget.press();
        }
    }
}

/// Lets the largest holders go until a quarter of the budget will be free; returns whether there were
/// any, earlier ones that still have something included.
fn choose(budget: &MemoryBudget, registry: &Registry) -> bool {
    let mut left = budget.used();
    let mut holders: Vec<(Held, Arc<Connection>)> = Vec::new();
    let mut found = false;
    for (held, connection) in registry.holders() {
        found = true;
        if connection.drops_received() {
            // It was chosen before, and is about to drop what it holds.
            left = left.saturating_sub(held.total());
        } else {
            holders.push((held, connection));
        }
    }
    holders.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(held.total()));
    let (target, limit) = (budget.limit() / 4 * 3, budget.limit());
    let mut freed = (0_u64, 0_u64);
    for (held, connection) in holders {
        if left <= target {
            break;
        }
        left = left.saturating_sub(held.total());
        freed = (freed.0 + 1, freed.1 + held.total());
        give_way(&connection, held, limit);
    }
    if freed.0 > 0 {
        tracing::warn!(
            limit,
            connections = freed.0,
            bytes = freed.1,
            "limits.memory is used up: the connections that hold most of it are closed"
        );
    }
    found
}

fn give_way(connection: &Connection, held: Held, limit: u64) {
    let Held { input, inbox, outbox } = held;
    let what = format!(
        "limits.memory was used up, and this connection held most of it: {input} bytes of what was \
         received in part, {inbox} in its inbox, {outbox} in its outbox"
    );
    connection.drop_received();
    connection.report(Input::MemoryExhausted {
        limit: Limit { name: "memory", limit, observed: held.total() },
        what,
        // A peer that lets so much wait will not take our Close in time either.
        reads: outbox <= input + inbox,
    });
}
