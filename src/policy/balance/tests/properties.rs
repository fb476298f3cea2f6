//! What holds whatever happens, in whatever order.

use proptest::prelude::*;

use super::*;
use crate::vocabulary::BackendState;

#[derive(Debug, Clone)]
enum Event {
    Choose {
        tried: Vec<usize>,
    },
    /// A client that was chosen for shows a observation, and may leave.
    Show {
        client: usize,
        observation: Observation,
        leaves: bool,
    },
    /// The same instance fails its clients again and again.
    Fail {
        instance: usize,
        observation: Observation,
        times: u32,
    },
    Probe {
        instance: usize,
        healthy: bool,
    },
    Drain(usize),
    Resume(usize),
    Wait {
        millis: u64,
        punctual: bool,
    },
}

fn any_sign() -> impl Strategy<Value = Observation> {
    prop::sample::select(&Observation::ALL[..])
}

fn any_balance() -> impl Strategy<Value = Balance> {
    prop::sample::select(&Balance::ALL[..])
}

fn any_event() -> impl Strategy<Value = Event> {
    let instance = 0..7_usize;
    let failure = prop::sample::select(vec![Observation::Unanswered, Observation::BrokenOff]);
    prop_oneof![
        8 => prop::collection::vec(instance.clone(), 0..4).prop_map(|tried| Event::Choose { tried }),
        6 => (any::<usize>(), any_sign(), any::<bool>())
            .prop_map(|(client, observation, leaves)| Event::Show { client, observation, leaves }),
        4 => (instance.clone(), failure, 1..6_u32)
            .prop_map(|(instance, observation, times)| Event::Fail { instance, observation, times }),
        2 => (instance.clone(), any::<bool>())
            .prop_map(|(instance, healthy)| Event::Probe { instance, healthy }),
        1 => instance.clone().prop_map(Event::Drain),
        2 => instance.prop_map(Event::Resume),
        3 => (0..20_000_u64, any::<bool>())
            .prop_map(|(millis, punctual)| Event::Wait { millis, punctual }),
    ]
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(any_event(), 0..80)
}

/// A pool, the clients that it has, and what somebody knows who only reads the changes.
struct World {
    pool: Pool,
    balance: Balance,
    now: Instant,
    clients: Vec<Choice>,
    chosen: u64,
    told: Vec<Told>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    ejected: Option<Instant>,
    unhealthy: bool,
    draining: bool,
}

impl World {
    fn new(len: usize, balance: Balance) -> Self {
        Self {
            pool: pool(len, balance),
            balance,
            now: Instant::now(),
            clients: Vec::new(),
            chosen: 0,
            told: vec![Told::default(); len],
        }
    }

    fn view(&self) -> Vec<InstanceView> {
        self.pool.view(self.now)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Choose { tried } => drop(self.choose(&tried).map(|at| self.clients.push(at))),
            Event::Show { client, observation, leaves } => {
                let Some(client) = client.checked_rem(self.clients.len()) else { return };
                let changes = self.pool.report(&self.clients[client], self.now, observation);
                if leaves {
                    self.pool.release(self.clients.swap_remove(client));
                }
                self.hear(changes);
            }
            Event::Fail { instance, observation, times } => {
                let others: Vec<_> = (0..self.told.len()).filter(|n| *n != instance).collect();
                for _ in 0..times {
                    let Some(choice) = self.choose(&others) else { return };
                    let changes = self.pool.report(&choice, self.now, observation);
                    self.hear(changes);
                    self.pool.release(choice);
                }
            }
            Event::Probe { instance, healthy } => {
                let changed = self.pool.probed(instance, healthy);
                self.hear_of(instance, changed);
            }
            Event::Drain(instance) => {
                let changed = self.pool.drain(instance);
                self.hear_of(instance, changed);
            }
            Event::Resume(instance) => {
                let changed = self.pool.resume(instance);
                self.hear_of(instance, changed);
            }
            Event::Wait { millis, punctual } => {
                let until = self.now + Duration::from_millis(millis);
                while let Some(due) = self.pool.poll_deadline().filter(|due| *due <= until) {
                    if !punctual {
                        break;
                    }
                    self.now = self.now.max(due);
                    let changes = self.pool.handle_deadline(self.now);
                    assert!(!changes.is_empty(), "woken in vain");
                    self.hear(changes);
                }
                self.now = until;
            }
        }
    }

    /// Chooses, and checks the choice by what could be seen before.
    fn choose(&mut self, tried: &[usize]) -> Option<Choice> {
        let before = self.view();
        let drains = |n: usize| before[n].state == InstanceState::Draining;
        let serves = |n: usize| before[n].state == InstanceState::Serving;
        let open: Vec<_> =
            (0..before.len()).filter(|n| !drains(*n) && !tried.contains(n)).collect();
        let choice = match self.pool.choose(self.now, None, tried) {
            Ok(choice) => choice,
            Err(why) => {
                assert!(open.is_empty(), "{open:?} would do");
                let all_drain = (0..before.len()).all(drains);
                assert_eq!(why == NoApplication::AllDraining, all_drain);
                assert_eq!(self.view(), before);
                return None;
            }
        };
        let n = choice.instance();
        assert!(open.contains(&n), "{n} drains or was tried");
        assert_eq!(serves(n), open.iter().any(|n| serves(*n)));
        if self.balance == Balance::LeastConnections {
            let others = open.iter().filter(|other| serves(**other) == serves(n));
            let fewest = others.map(|other| before[*other].connections).min();
            assert_eq!(fewest, Some(before[n].connections));
        }
        self.chosen += 1;
        Some(choice)
    }

    fn hear_of(&mut self, instance: usize, changed: Result<Option<Change>, NoInstance>) {
        let len = self.told.len();
        assert_eq!(changed.is_err(), instance >= len);
        self.hear(changed.ok().flatten());
    }

    fn hear(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let told = &mut self.told[change.instance()];
            match change {
                Change::Ejected { until, failures, .. } => {
                    assert!(told.ejected.is_none() && !told.draining);
                    assert!(until > self.now && failures >= ejection().after.get());
                    told.ejected = Some(until);
                    self.assert_half();
                }
                Change::Spared { failures, .. } => {
                    assert!(told.ejected.is_none() && failures >= ejection().after.get());
                }
                Change::Returned { .. } => {
                    assert!(told.ejected.take().is_some_and(|until| until <= self.now));
                }
                Change::Unhealthy { .. } => assert!(!std::mem::replace(&mut told.unhealthy, true)),
                Change::Healthy { .. } => assert!(std::mem::replace(&mut told.unhealthy, false)),
                Change::Draining { .. } => {
                    assert!(!told.draining);
                    *told = Told { draining: true, ejected: None, ..*told };
                }
                Change::Resumed { .. } => assert!(std::mem::replace(&mut told.draining, false)),
            }
        }
    }

    /// Nobody is ejected beyond half of those that do not drain.
    fn assert_half(&self) {
        let view = self.view();
        let of =
            |word| view.iter().filter(|at| BackendState::from(at.state).as_str() == word).count();
        assert!(of("ejected") <= (view.len() - of("draining")) / 2, "{view:?}");
    }

    fn assert_sound(&self) {
        let view = self.view();
        let ejected =
            view.iter().filter(|at| BackendState::from(at.state).as_str() == "ejected").count();
        assert!(ejected <= view.len() / 2, "{view:?}");
        assert_eq!(view.iter().map(|at| at.chosen).sum::<u64>(), self.chosen);
        for (n, (at, told)) in view.iter().zip(&self.told).enumerate() {
            let here = self.clients.iter().filter(|client| client.instance() == n).count();
            assert_eq!(at.connections, here as u64, "{n}");
            let state = match told {
                Told { draining: true, .. } => InstanceState::Draining,
                Told { ejected: Some(until), .. } if *until > self.now => {
                    InstanceState::Ejected { until: *until }
                }
                Told { unhealthy: true, .. } => InstanceState::Unhealthy,
                Told { .. } => InstanceState::Serving,
            };
            assert_eq!((at.state, at.healthy), (state, !told.unhealthy), "{n}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_choices_are_right_and_changes_tell_it_all(
        len in 1..7_usize,
        balance in any_balance(),
        events in any_events(),
    ) {
        let mut world = World::new(len, balance);
        for event in events {
            world.happen(event);
            world.assert_sound();
        }
        // All that is left is to leave.
        for client in world.clients.drain(..) {
            world.pool.release(client);
        }
        world.assert_sound();
    }

    #[test]
    fn going_round_is_fair_among_those_that_serve(
        len in 1..7_usize,
        events in any_events(),
        clients in 1..40_usize,
    ) {
        let mut world = World::new(len, Balance::RoundRobin);
        for event in events {
            world.happen(event);
        }
        let view = world.view();
        let serving: Vec<_> =
            (0..len).filter(|n| view[*n].state == InstanceState::Serving).collect();
        prop_assume!(!serving.is_empty());
        let mut got = vec![0_usize; len];
        for _ in 0..clients {
            got[world.choose(&[]).unwrap().instance()] += 1;
        }
        for n in 0..len {
            let share = clients / serving.len();
            let fair = if serving.contains(&n) { share..=share + 1 } else { 0..=0 };
            prop_assert!(fair.contains(&got[n]), "{got:?} among {serving:?}");
        }
    }

    #[test]
    fn clients_that_stay_are_spread_evenly(len in 1..7_usize, clients in 1..60_usize) {
        let mut world = World::new(len, Balance::LeastConnections);
        for _ in 0..clients {
            world.happen(Event::Choose { tried: Vec::new() });
        }
        let connections = world.view().iter().map(|at| at.connections).collect::<Vec<_>>();
        let most = connections.iter().max().copied().unwrap_or_default();
        prop_assert!(connections.iter().all(|some| most - some <= 1), "{connections:?}");
    }
}
