//! Load balancing: which of several instances of an application gets a client. Pure.
//!
//! Three independent things keep clients away from an instance: an operator drains it, its health
//! check fails, or it is ejected for the failures that were observed (outlier ejection). If no other
//! instance is left, clients are sent to an ejected or unhealthy one, because that may work and a
//! refusal cannot (panic routing). A draining instance never gets clients.

mod observation;
#[cfg(test)]
mod tests;
mod types;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use siphasher::sip::SipHasher13;

pub use observation::Observation;
pub use types::{
    Balance, Change, Choice, Ejection, InstanceState, InstanceView, NoApplication, NoInstance,
    Succession,
};

/// Longer ejections are cut to ten years, so that deadlines stay within the range of `Instant`.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The instances of one application, numbered from 0 in the order of the configuration.
///
/// Each choice is reported on and released by the caller:
///
/// ```
/// use std::time::Instant;
///
/// use lastword::policy::balance::{Balance, Pool, Observation};
///
/// let mut pool = Pool::new(&[0, 1], Balance::RoundRobin, None);
/// let now = Instant::now();
/// let first = pool.choose(now, None, &[])?;
/// pool.report(&first, now, Observation::Unanswered);
/// let second = pool.choose(now, None, &[first.instance()])?;
/// pool.release(first);
/// assert_eq!(second.instance(), 1);
/// # Ok::<(), lastword::policy::balance::NoApplication>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    balance: Balance,
    ejection: Option<Ejection>,
    instances: Vec<Instance>,
    /// How many choices were made.
    choices: u64,
}

#[derive(Debug)]
struct Instance {
    state: State,
    /// The result of the last health check; true before the first.
    healthy: bool,
    connections: u64,
    chosen: u64,
    ejections: u64,
    /// The number of the choice that chose it last; 0 if none did.
    last_choice: u64,
    /// Ranks it among the others by the address of a client.
    key: u64,
    /// It has left the configuration. Its place is free for another once its connections have ended.
    retired: bool,
    /// Incremented at each ejection and resumption, which outdates observations of older choices.
    generation: u64,
}

#[derive(Debug)]
enum State {
    InService(Streak),
    Ejected { until: Instant, streak: Streak },
    Draining,
}

/// Consecutive failures.
///
/// Opening handshakes and endings are counted separately. Otherwise an application that accepts
/// every client and then drops it would look healthy with each handshake, and one that no longer
/// accepts clients with each old connection that ends well.
#[derive(Debug, Default)]
struct Streak {
    unanswered: u32,
    broken_off: u32,
    /// `Change::Spared` was returned already.
    spared: bool,
}

impl Pool {
    /// Starts with an instance for each key, all in service and healthy. A key ranks its instance by the
    /// address of a client ([`Balance::ClientAddress`]). Without `ejection` none is ever ejected.
    pub fn new(keys: &[u64], balance: Balance, ejection: Option<Ejection>) -> Self {
        let instances = keys.iter().copied().map(Instance::new).collect();
        Self { balance, ejection, instances, choices: 0 }
    }

    /// Changes to other instances, each of which is new or stays: one that stays keeps its state and
    /// its connections, and one that is not named is retired, which means that it gets no clients any
    /// more. Returns the number of each in the pool.
    pub fn change(
        &mut self,
        balance: Balance,
        ejection: Option<Ejection>,
        instances: &[Succession],
    ) -> Vec<usize> {
        (self.balance, self.ejection) = (balance, ejection);
        let stays = |n: usize| instances.iter().any(|one| one.stays == Some(n));
        for (n, instance) in self.instances.iter_mut().enumerate() {
            if !stays(n) {
                (instance.state, instance.retired) = (State::Draining, true);
            } else if ejection.is_none() && matches!(instance.state, State::Ejected { .. }) {
                instance.state = State::InService(Streak::default());
            }
        }
        instances.iter().map(|one| one.stays.unwrap_or_else(|| self.add(one.key))).collect()
    }

    /// Adds an instance, in the place of a retired one if that is free.
    fn add(&mut self, key: u64) -> usize {
        let is_free = |instance: &Instance| instance.retired && instance.connections == 0;
        let free = self.instances.iter().position(is_free);
        let n = free.unwrap_or(self.instances.len());
        match self.instances.get_mut(n) {
            Some(instance) => {
                let generation = instance.generation + 1;
                *instance = Instance { generation, ..Instance::new(key) };
            }
            None => self.instances.push(Instance::new(key)),
        }
        n
    }

    /// Chooses an instance for a client, leaving out those it has `tried`. [`Pool::release`] must be
    /// called once for each choice.
    ///
    /// Instances that serve come first, ordered as `balance` says, then the least recently chosen.
    /// If none serves, an ejected or unhealthy instance is chosen in the same order.
    ///
    /// # Errors
    /// All instances are draining, or the client has tried all that are not. Nothing is counted.
    pub fn choose(
        &mut self,
        now: Instant,
        client: Option<IpAddr>,
        tried: &[usize],
    ) -> Result<Choice, NoApplication> {
        let balance = self.balance;
        let rank = |instance: &Instance| match balance {
            Balance::RoundRobin => 0,
            Balance::LeastConnections => instance.connections,
            Balance::ClientAddress => client.map_or(0, |client| affinity(client, instance.key)),
        };
        let open = self.instances.iter_mut().enumerate().filter(|(_, at)| !at.is_draining());
        // The least recently chosen comes next, which stays fair when instances come and go.
        let best = open
            .filter(|(n, _)| !tried.contains(n))
            .min_by_key(|(_, at)| (!at.serves(now), rank(at), at.last_choice));
        let Some((n, instance)) = best else {
            let all_drain = self.instances.iter().all(Instance::is_draining);
            return Err(match all_drain {
                true => NoApplication::AllDraining,
                false => NoApplication::Exhausted,
            });
        };
        self.choices += 1;
        instance.last_choice = self.choices;
        instance.connections += 1;
        instance.chosen += 1;
        Ok(Choice { instance: n, generation: instance.generation })
    }

    /// Releases a choice of this pool: its connection has ended, or never opened.
    pub fn release(&mut self, choice: Choice) {
        if let Some(instance) = self.instances.get_mut(choice.instance) {
            instance.connections = instance.connections.saturating_sub(1);
        }
    }

    /// Records an observation of a choice of this pool.
    ///
    /// `Ejection::after` consecutive failures eject the instance, unless more than half of the
    /// instances that are not draining would then be ejected (a single instance never is). An
    /// instance that is spared for that reason keeps its failures, and its next failure ejects it if
    /// there is room by then; until that failure it may have recovered. An instance whose ejection
    /// has ended keeps them too: it is on probation, where one failure ejects it again and one
    /// success of the same sort clears it.
    ///
    /// Observations of clients that were sent there before the last ejection or drain are ignored: a
    /// crash that breaks off a thousand connections is one crash.
    pub fn report(
        &mut self,
        choice: &Choice,
        now: Instant,
        observation: Observation,
    ) -> Vec<Change> {
        let has_room = self.has_room(now);
        let n = choice.instance;
        let Some(instance) = self.instances.get_mut(n) else { return Vec::new() };
        if instance.generation != choice.generation {
            return Vec::new();
        }
        let mut changes = Vec::from_iter(instance.end_ejection(n, now));
        match &mut instance.state {
            // The ejection runs its time, but a success spares the instance the probation.
            State::Ejected { streak, .. } => streak.count(observation),
            State::InService(streak) => {
                streak.count(observation);
                if let Some(Ejection { after, lasting }) = self.ejection {
                    let until = now + lasting.min(LONGEST);
                    changes.extend(instance.judge(n, observation, after, has_room, until));
                }
            }
            State::Draining => {}
        }
        changes
    }

    /// Records the result of a health check.
    ///
    /// Health and ejection are independent: an instance that answers probes may still fail clients,
    /// so a success does not end an ejection early, and a failure does not count towards one.
    ///
    /// # Errors
    /// There is no such instance.
    pub fn probed(&mut self, n: usize, healthy: bool) -> Result<Option<Change>, NoInstance> {
        let instance = self.instance(n)?;
        let changed = instance.healthy != healthy;
        instance.healthy = healthy;
        Ok(changed.then_some(match healthy {
            true => Change::Healthy { instance: n },
            false => Change::Unhealthy { instance: n },
        }))
    }

    /// Sends no clients to an instance until it is resumed, even if no other is left. Closing its
    /// connections is up to the caller.
    ///
    /// # Errors
    /// There is no such instance.
    pub fn drain(&mut self, n: usize) -> Result<Option<Change>, NoInstance> {
        let instance = self.instance(n)?;
        if instance.is_draining() {
            return Ok(None);
        }
        instance.state = State::Draining;
        Ok(Some(Change::Draining { instance: n }))
    }

    /// Puts a draining instance back into service. Its failures are cleared, because the operator
    /// has looked after it; the result of its last health check stays.
    ///
    /// # Errors
    /// There is no such instance.
    pub fn resume(&mut self, n: usize) -> Result<Option<Change>, NoInstance> {
        let instance = self.instance(n)?;
        if !instance.is_draining() {
            return Ok(None);
        }
        instance.state = State::InService(Streak::default());
        instance.generation += 1;
        Ok(Some(Change::Resumed { instance: n }))
    }

    /// Returns when the next ejection ends. It ends then even if [`Pool::handle_deadline`] is not
    /// called, but only that call returns the change.
    pub fn poll_deadline(&self) -> Option<Instant> {
        self.instances.iter().filter_map(Instance::ejected_until).min()
    }

    /// Ends the ejections whose time is over.
    pub fn handle_deadline(&mut self, now: Instant) -> Vec<Change> {
        let instances = self.instances.iter_mut().enumerate();
        instances.filter_map(|(n, instance)| instance.end_ejection(n, now)).collect()
    }

    /// Returns whether the instance of a choice of this pool is draining.
    pub fn is_draining(&self, choice: &Choice) -> bool {
        self.instances.get(choice.instance).is_some_and(Instance::is_draining)
    }

    /// Returns the status of all instances.
    pub fn view(&self, now: Instant) -> Vec<InstanceView> {
        self.instances.iter().map(|instance| instance.view(now)).collect()
    }

    fn has_room(&self, now: Instant) -> bool {
        let open = self.instances.iter().filter(|instance| !instance.is_draining()).count();
        let ejected = self.instances.iter().filter(|instance| instance.is_ejected(now)).count();
        ejected < open / 2
    }

    fn instance(&mut self, n: usize) -> Result<&mut Instance, NoInstance> {
        let len = self.instances.len();
        self.instances.get_mut(n).ok_or(NoInstance { instance: n, len })
    }
}

impl Instance {
    fn new(key: u64) -> Self {
        Self {
            state: State::InService(Streak::default()),
            healthy: true,
            connections: 0,
            chosen: 0,
            ejections: 0,
            last_choice: 0,
            key,
            retired: false,
            generation: 0,
        }
    }

    fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining)
    }

    fn ejected_until(&self) -> Option<Instant> {
        match self.state {
            State::Ejected { until, .. } => Some(until),
            State::InService(_) | State::Draining => None,
        }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until().is_some_and(|until| until > now)
    }

    fn serves(&self, now: Instant) -> bool {
        self.healthy && !self.is_draining() && !self.is_ejected(now)
    }

    /// Puts the instance back into service if its ejection has ended.
    fn end_ejection(&mut self, n: usize, now: Instant) -> Option<Change> {
        match &mut self.state {
            State::Ejected { until, streak } if *until <= now => {
                self.state = State::InService(std::mem::take(streak));
                Some(Change::Returned { instance: n })
            }
            State::Ejected { .. } | State::InService(_) | State::Draining => None,
        }
    }

    /// Ejects or spares the instance if there were too many failures, counting the latest.
    fn judge(
        &mut self,
        n: usize,
        observation: Observation,
        after: NonZeroU32,
        has_room: bool,
        until: Instant,
    ) -> Option<Change> {
        let State::InService(streak) = &mut self.state else { return None };
        let failures = streak.failures();
        if failures < after.get() {
            streak.spared = false;
            return None;
        }
        // On probation, a success of the other sort changes nothing.
        if !observation.is_failure() {
            return None;
        }
        if !has_room {
            let reported = std::mem::replace(&mut streak.spared, true);
            return (!reported).then_some(Change::Spared { instance: n, observation, failures });
        }
        let streak = Streak { spared: false, ..std::mem::take(streak) };
        self.state = State::Ejected { until, streak };
        self.ejections += 1;
        self.generation += 1;
        Some(Change::Ejected { instance: n, observation, failures, until })
    }

    fn view(&self, now: Instant) -> InstanceView {
        let (state, failures) = match &self.state {
            State::Draining => (InstanceState::Draining, 0),
            State::Ejected { until, streak } if *until > now => {
                (InstanceState::Ejected { until: *until }, streak.failures())
            }
            State::Ejected { streak, .. } | State::InService(streak) => match self.healthy {
                true => (InstanceState::Serving, streak.failures()),
                false => (InstanceState::Unhealthy, streak.failures()),
            },
        };
        InstanceView {
            state,
            healthy: self.healthy,
            connections: self.connections,
            failures,
            chosen: self.chosen,
            ejections: self.ejections,
        }
    }
}

impl Streak {
    fn count(&mut self, observation: Observation) {
        match observation {
            Observation::Answered => self.unanswered = 0,
            Observation::Unanswered => self.unanswered = self.unanswered.saturating_add(1),
            Observation::Kept => self.broken_off = 0,
            Observation::BrokenOff => self.broken_off = self.broken_off.saturating_add(1),
        }
    }

    fn failures(&self) -> u32 {
        self.unanswered.max(self.broken_off)
    }
}

/// Ranks instances for a client (rendezvous hashing).
///
/// The result is the same in every process and release, so that a rolling upgrade moves no client.
fn affinity(client: IpAddr, key: u64) -> u64 {
    let mut input = [0; 24];
    input[..16].copy_from_slice(&ipv6_form(client).octets());
    input[16..].copy_from_slice(&key.to_le_bytes());
    SipHasher13::new().hash(&input)
}

/// Returns an IPv4 address in its IPv4-mapped form, so that both families hash alike.
fn ipv6_form(client: IpAddr) -> Ipv6Addr {
    match client {
        IpAddr::V4(client) => client.to_ipv6_mapped(),
        IpAddr::V6(client) => client,
    }
}
