//! What a reload has to do: the difference between the configuration in use and a new one. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use crate::config::{Config, Health, Listener, Log, Node, Route, collide};
use crate::settings::{Close, Control, Drain, Keepalive, Ledger, Limits, Records};
use crate::vocabulary::ListenAddress;

/// The steps from the configuration in use to a new one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// What is different, and takes effect: keys, and `routes.NAME`, `listeners.NAME`, `dialers.NAME`.
    pub(super) changed: Vec<String>,
    /// What is different, and stays as it is until a restart.
    pub(super) needs_restart: Vec<String>,
    pub(super) listeners: Listeners,
    pub(super) dialers: Dialers,
    pub(super) control: Server,
    pub(super) health: Server,
}

/// The names of the listeners that differ. One whose address has changed is among those that are added
/// and those that are removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Listeners {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// The names of the dialers that differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Dialers {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    /// Those whose connections are replaced.
    pub(super) renewed: Vec<String>,
    /// Those whose next connections get other settings from `[limits]` and the other sections.
    pub(super) adjusted: Vec<String>,
}

/// What becomes of a server beside the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Server {
    /// It goes on.
    #[default]
    Stays,
    /// It is served with other settings on the same socket.
    Again,
    /// It is served at a new address.
    Moves,
    /// It ends.
    Ends,
}

impl Plan {
    /// Compares the configuration in use with a new one; returns the steps, and the configuration that
    /// is in use after them.
    pub(super) fn new(old: &Config, mut new: Config) -> (Self, Config) {
        let mut plan = Self::default();
        compare_sections(old, &mut new, &mut plan);
        keep_addresses(old, &mut new, &mut plan);
        plan.compare_listeners(old, &new);
        plan.compare_routes(old, &new);
        plan.compare_dialers(old, &new);
        plan.control = server(
            (&old.control.listen, &new.control.listen),
            serving_of_control(&old.control) != serving_of_control(&new.control),
        );
        plan.health = server(
            (&old.health.listen, &new.health.listen),
            (&old.health.tls, old.health.header_timeout)
                != (&new.health.tls, new.health.header_timeout),
        );
        (plan, new)
    }

    fn compare_listeners(&mut self, old: &Config, new: &Config) {
        for listener in &new.listeners {
            let before = old.listeners.iter().find(|before| before.name == listener.name);
            if before.is_none_or(|before| before.listen != listener.listen) {
                self.listeners.added.push(listener.name.clone());
            }
            if before != Some(listener) {
                self.changed.push(format!("listeners.{}", listener.name));
            }
        }
        for before in &old.listeners {
            let now = new.listeners.iter().find(|listener| listener.name == before.name);
            if now.is_none_or(|now| now.listen != before.listen) {
                self.listeners.removed.push(before.name.clone());
            }
            if now.is_none() {
                self.changed.push(format!("listeners.{}", before.name));
            }
        }
    }

    fn compare_routes(&mut self, old: &Config, new: &Config) {
        let names = |config: &Config| -> Vec<String> {
            config.routes.iter().map(|route| route.name.clone()).collect()
        };
        let (before, now) = (names(old), names(new));
        let by_name: HashMap<&str, &Route> =
            old.routes.iter().map(|route| (route.name.as_str(), route)).collect();
        for route in &new.routes {
            if by_name.get(route.name.as_str()) != Some(&route) {
                self.changed.push(format!("routes.{}", route.name));
            }
        }
        self.changed.extend(missing(&before, &now).map(|name| format!("routes.{name}")));
        let kept = |names: &[String], others: &[String]| {
            let others: BTreeSet<&String> = others.iter().collect();
            names.iter().filter(|name| others.contains(name)).cloned().collect::<Vec<_>>()
        };
        // The first that matches counts, so their order matters.
        if kept(&before, &now) != kept(&now, &before) {
            self.changed.push("routes".to_owned());
        }
    }

    fn compare_dialers(&mut self, old: &Config, new: &Config) {
        let (sections_before, sections) = (old.settings(), new.settings());
        for dialer in &new.dialers {
            let name = dialer.name.clone();
            let before = old.dialers.iter().find(|before| before.name == dialer.name);
            let list = match before {
                None => &mut self.dialers.added,
                Some(before) if before != dialer => &mut self.dialers.renewed,
                Some(before) if before.settings(&sections_before) != dialer.settings(&sections) => {
                    self.dialers.adjusted.push(name);
                    continue;
                }
                Some(_) => continue,
            };
            self.changed.push(format!("dialers.{name}"));
            list.push(name);
        }
        let names = |config: &Config| -> Vec<String> {
            config.dialers.iter().map(|dialer| dialer.name.clone()).collect()
        };
        self.dialers.removed = missing(&names(old), &names(new)).collect();
        self.changed.extend(self.dialers.removed.iter().map(|name| format!("dialers.{name}")));
    }
}

/// Returns those of the names that are not among the others.
fn missing(names: &[String], others: &[String]) -> impl Iterator<Item = String> {
    let others: BTreeSet<&String> = others.iter().collect();
    let missing: Vec<_> = names.iter().filter(|name| !others.contains(name)).cloned().collect();
    missing.into_iter()
}

/// Compares a section key by key. Each key is in one of the two lists, or this does not compile.
macro_rules! compare {
    (
        $plan:ident, $old:ident.$section:ident, $new:ident, $type:ident,
        reload: [$($live:ident),*], restart: [$($fixed:ident),*]
    ) => {{
        let $type { $($live: _,)* $($fixed: _,)* } = &$old.$section;
        $(if $old.$section.$live != $new.$section.$live {
            $plan.changed.push(concat!(stringify!($section), ".", stringify!($live)).to_owned());
        })*
        $(if $old.$section.$fixed != $new.$section.$fixed {
            let key = concat!(stringify!($section), ".", stringify!($fixed));
            $plan.needs_restart.push(key.to_owned());
            $new.$section.$fixed.clone_from(&$old.$section.$fixed);
        })*
    }};
}

/// Compares the sections; what needs a restart stays as it is in `new`.
fn compare_sections(old: &Config, new: &mut Config, plan: &mut Plan) {
    // A section that is missing below does not compile either.
    let Config {
        node: _,
        listeners: _,
        routes: _,
        dialers: _,
        limits: _,
        keepalive: _,
        close: _,
        drain: _,
        control: _,
        health: _,
        ledger: _,
        records: _,
        log: _,
    } = old;
    compare!(plan, old.node, new, Node, reload: [], restart: [name]);
    compare!(
        plan, old.limits, new, Limits,
        reload: [
            max_connections, max_connections_per_ip, half_open_per_ip, handshakes_per_second,
            dials_per_second, accept_rate_per_ip, max_http_connections, http_requests_per_second,
            handshake_timeout, message_timeout, max_message_size, max_frame_size, inbox_bytes,
            inbox_timeout, outbox_bytes, write_timeout, on_full, memory, messages_per_second,
            bytes_per_second, on_rate
        ],
        restart: []
    );
    compare!(
        plan, old.keepalive, new, Keepalive,
        reload: [ping_interval, pong_timeout, idle_timeout, max_age], restart: []
    );
    compare!(plan, old.close, new, Close, reload: [timeout, linger, reason_id], restart: []);
    compare!(
        plan, old.drain, new, Drain,
        reload: [delay, within, spread, code, reason], restart: []
    );
    compare!(
        plan, old.control, new, Control,
        reload: [
            listen, tls, token_file, allow_dial, hosts, max_connections, max_dialers,
            max_revocations, header_timeout, body_timeout, write_timeout, max_body
        ],
        restart: []
    );
    compare!(plan, old.health, new, Health, reload: [listen, tls, header_timeout], restart: []);
    compare!(
        plan, old.ledger, new, Ledger,
        reload: [retention, max_size],
        restart: [
            path, synchronous, on_failure, open_failed_per_second, queue_bytes, stall_timeout
        ]
    );
    compare!(plan, old.records, new, Records, reload: [query, query_keep], restart: []);
    compare!(plan, old.log, new, Log, reload: [filter], restart: [format]);
}

/// Leaves listeners and servers where they are whose new address cannot be bound beside one that is in
/// use: where only the address is the same, its socket is handed over.
fn keep_addresses(old: &Config, new: &mut Config, plan: &mut Plan) {
    // Each round keeps one more address, which may be in the way of another.
    while let Some(key) = first_blocked(old, new) {
        match key {
            Blocked::Listener(index) => {
                let listener = &new.listeners[index];
                let before = old.listeners.iter().find(|before| before.name == listener.name);
                plan.needs_restart.push(format!("listeners.{}", listener.name));
                match before {
                    Some(before) => new.listeners[index].listen = before.listen.clone(),
                    None => drop(new.listeners.remove(index)),
                }
            }
            Blocked::Control => {
                plan.stays("control.listen");
                new.control.listen.clone_from(&old.control.listen);
            }
            Blocked::Health => {
                plan.stays("health.listen");
                new.health.listen.clone_from(&old.health.listen);
            }
        }
    }
}

enum Blocked {
    Listener(usize),
    Control,
    Health,
}

/// Returns the first new address that something else is in the way of.
fn first_blocked(old: &Config, new: &Config) -> Option<Blocked> {
    let stays = |before: &Listener| {
        new.listeners.iter().any(|now| now.name == before.name && now.listen == before.listen)
    };
    // The sockets of listeners that go are handed over to others at the same address.
    let in_the_way = |address: &ListenAddress, takes_over: bool| {
        let of_listeners = old.listeners.iter().any(|before| {
            let handed_over = takes_over && before.listen == *address && !stays(before);
            collide(&before.listen, address) && !handed_over
        });
        let of_servers = [&old.control.listen, &old.health.listen].into_iter().flatten();
        of_listeners || of_servers.into_iter().any(|before| collide(before, address))
    };
    let moved = |listener: &Listener| {
        !old.listeners
            .iter()
            .any(|before| before.name == listener.name && before.listen == listener.listen)
    };
    let blocked = |listener: &Listener| moved(listener) && in_the_way(&listener.listen, true);
    if let Some(index) = new.listeners.iter().position(blocked) {
        return Some(Blocked::Listener(index));
    }
    let server = |before: &Option<ListenAddress>, now: &Option<ListenAddress>| {
        before != now && now.as_ref().is_some_and(|now| in_the_way(now, false))
    };
    if server(&old.control.listen, &new.control.listen) {
        return Some(Blocked::Control);
    }
    server(&old.health.listen, &new.health.listen).then_some(Blocked::Health)
}

impl Plan {
    /// Notes that a key that was to change needs a restart.
    fn stays(&mut self, key: &str) {
        self.changed.retain(|changed| changed != key);
        self.needs_restart.push(key.to_owned());
    }
}

fn server(
    (before, now): (&Option<ListenAddress>, &Option<ListenAddress>),
    serves_otherwise: bool,
) -> Server {
    match (before, now) {
        (None, None) => Server::Stays,
        (Some(_), None) => Server::Ends,
        (Some(before), Some(now)) if before == now && serves_otherwise => Server::Again,
        (Some(before), Some(now)) if before == now => Server::Stays,
        (_, Some(_)) => Server::Moves,
    }
}

/// Returns what of `[control]` a server holds for its whole life.
fn serving_of_control(control: &Control) -> impl PartialEq + '_ {
    (&control.tls, control.max_connections, control.header_timeout, control.write_timeout)
}
