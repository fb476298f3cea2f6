//! Which of several instances of an application gets a client, and which gets none for a while. Pure.
//!
//! Three things keep clients away from an instance, and none of them knows of the others: somebody
//! drains it, its health path does not answer well, or what was seen of it has it ejected (passive
//! ejection). Where nothing else is left, a client is sent to an ejected or unhealthy instance all
//! the same: a guess that may be wrong is better than a refusal. To a draining one it never is.

mod sign;
#[cfg(test)]
mod tests;
mod words;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

pub use sign::Sign;
pub use words::{
    Balance, Change, Choice, Ejection, InstanceState, InstanceView, NoApplication, NoInstance,
};

/// An ejection that takes longer than this has no end worth the name; ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The instances of one application, by their place in the configuration, from 0.
///
/// Whoever chooses reports and releases what was chosen:
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::time::Instant;
///
/// use lastword::policy::balance::{Balance, Pool, Sign};
///
/// let mut pool = Pool::new(NonZeroUsize::new(2).unwrap(), Balance::RoundRobin, None);
/// let now = Instant::now();
/// let first = pool.choose(now, None, &[])?;
/// pool.report(&first, now, Sign::Unanswered);
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
    /// How often was chosen.
    turns: u64,
}

#[derive(Debug)]
struct Instance {
    standing: Standing,
    /// What the health path said last; until it is asked, an instance is taken to be healthy.
    healthy: bool,
    connections: u64,
    chosen: u64,
    ejections: u64,
    /// The turn in which it was chosen last; 0 if it never was.
    last_turn: u64,
    /// Goes up whenever what was seen before says nothing any more.
    era: u64,
}

#[derive(Debug)]
enum Standing {
    InService(Row),
    Ejected { until: Instant, row: Row },
    Draining,
}

/// Failures in a row.
///
/// Opening handshakes and ends are counted apart: an application that accepts everybody and drops
/// everybody would else look sound with every handshake, and one that is gone for new clients with
/// every old one that leaves in peace.
#[derive(Debug, Default)]
struct Row {
    unanswered: u32,
    broken_off: u32,
    /// It was told already that there is no room to eject it.
    spared: bool,
}

impl Pool {
    /// Starts with all instances in service, and taken to be healthy. Without settings nothing is
    /// ejected.
    pub fn new(len: NonZeroUsize, balance: Balance, ejection: Option<Ejection>) -> Self {
        let instances = (0..len.get()).map(|_| Instance::default()).collect();
        Self { balance, ejection, instances, turns: 0 }
    }

    /// Chooses an instance for a client, by its address if that is known, that tried these before;
    /// [`Pool::release`] must follow, once.
    ///
    /// One that serves, if there is one that was not tried: in turn, or the one with the fewest
    /// connections, and in turn among equals. Else any that is not draining and was not tried.
    ///
    /// # Errors
    /// All drain, or the client has tried all that do not. Nothing is counted then.
    pub fn choose(
        &mut self,
        now: Instant,
        client: Option<IpAddr>,
        tried: &[usize],
    ) -> Result<Choice, NoApplication> {
        let balance = self.balance;
        let rank = |n: usize, instance: &Instance| match balance {
            Balance::RoundRobin => 0,
            Balance::LeastConnections => instance.connections,
            Balance::ClientAddress => client.map_or(0, |client| affinity(client, n)),
        };
        let open = self.instances.iter_mut().enumerate().filter(|(_, at)| !at.is_draining());
        // Whose last turn is longest ago is next: this is fair whoever comes and goes.
        let best = open
            .filter(|(n, _)| !tried.contains(n))
            .min_by_key(|(n, at)| (!at.serves(now), rank(*n, at), at.last_turn));
        let Some((n, instance)) = best else {
            let all_drain = self.instances.iter().all(Instance::is_draining);
            return Err(match all_drain {
                true => NoApplication::AllDraining,
                false => NoApplication::Exhausted,
            });
        };
        self.turns += 1;
        instance.last_turn = self.turns;
        instance.connections += 1;
        instance.chosen += 1;
        Ok(Choice { instance: n, era: instance.era, fails_open: !instance.serves(now) })
    }

    /// Counts the connection of a choice of this pool out: it has ended, or never opened.
    pub fn release(&mut self, choice: Choice) {
        if let Some(instance) = self.instances.get_mut(choice.instance) {
            instance.connections = instance.connections.saturating_sub(1);
        }
    }

    /// Takes note of what was seen of a choice of this pool.
    ///
    /// So many failures in a row eject the instance, if after that at most half of those that do not
    /// drain are ejected; of one instance that is none. One that is spared for lack of room keeps
    /// its failures, so that its next one ejects it once there is room: not before, because by then
    /// it may have recovered. So does one whose time is over: it is on probation, where a first
    /// failure ejects it anew and a sound sign of the same sort clears it.
    ///
    /// What is seen of a client that was sent there before the last ejection, or drain, tells nothing
    /// about the time after it: a crash that breaks off a thousand connections is one crash.
    pub fn report(&mut self, choice: &Choice, now: Instant, sign: Sign) -> Vec<Change> {
        let has_room = self.has_room(now);
        let n = choice.instance;
        let Some(instance) = self.instances.get_mut(n) else { return Vec::new() };
        if instance.era != choice.era {
            return Vec::new();
        }
        let mut changes = Vec::from_iter(instance.end_ejection(n, now));
        match &mut instance.standing {
            // It stays ejected for its time, but a sound sign spares it the probation.
            Standing::Ejected { row, .. } => row.count(sign),
            Standing::InService(row) => {
                row.count(sign);
                if let Some(Ejection { after, lasting }) = self.ejection {
                    let until = now + lasting.min(LONGEST);
                    changes.extend(instance.judge(n, sign, after, has_room, until));
                }
            }
            Standing::Draining => {}
        }
        changes
    }

    /// Takes note of what the health path of an instance says.
    ///
    /// This is apart from ejections: what answers a probe may still fail clients, so a good answer
    /// ends no ejection before its time, and a bad one is no failure in the row.
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

    /// Sends no clients to an instance until it is resumed, not even for want of others. Its
    /// connections are the caller's to close.
    ///
    /// # Errors
    /// There is no such instance.
    pub fn drain(&mut self, n: usize) -> Result<Option<Change>, NoInstance> {
        let instance = self.instance(n)?;
        if instance.is_draining() {
            return Ok(None);
        }
        instance.standing = Standing::Draining;
        Ok(Some(Change::Draining { instance: n }))
    }

    /// Puts an instance that drains back into service, as if it were new: whoever resumes it has
    /// seen to it, so its failures are forgotten. What its health path says stands.
    ///
    /// # Errors
    /// There is no such instance.
    pub fn resume(&mut self, n: usize) -> Result<Option<Change>, NoInstance> {
        let instance = self.instance(n)?;
        if !instance.is_draining() {
            return Ok(None);
        }
        instance.standing = Standing::InService(Row::default());
        instance.era += 1;
        Ok(Some(Change::Resumed { instance: n }))
    }

    /// Returns when the next ejection is over. It is then, whether [`Pool::handle_deadline`] is
    /// called or not; without it nobody is told.
    pub fn poll_deadline(&self) -> Option<Instant> {
        self.instances.iter().filter_map(Instance::ejected_until).min()
    }

    /// Ends the ejections whose time is over.
    pub fn handle_deadline(&mut self, now: Instant) -> Vec<Change> {
        let instances = self.instances.iter_mut().enumerate();
        instances.filter_map(|(n, instance)| instance.end_ejection(n, now)).collect()
    }

    /// Tells whether somebody drains the instance of a choice of this pool.
    pub fn is_draining(&self, choice: &Choice) -> bool {
        self.instances.get(choice.instance).is_some_and(Instance::is_draining)
    }

    /// Returns how all instances fare.
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

impl Default for Instance {
    fn default() -> Self {
        Self {
            standing: Standing::InService(Row::default()),
            healthy: true,
            connections: 0,
            chosen: 0,
            ejections: 0,
            last_turn: 0,
            era: 0,
        }
    }
}

impl Instance {
    fn is_draining(&self) -> bool {
        matches!(self.standing, Standing::Draining)
    }

    fn ejected_until(&self) -> Option<Instant> {
        match self.standing {
            Standing::Ejected { until, .. } => Some(until),
            Standing::InService(_) | Standing::Draining => None,
        }
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until().is_some_and(|until| until > now)
    }

    fn serves(&self, now: Instant) -> bool {
        self.healthy && !self.is_draining() && !self.is_ejected(now)
    }

    /// Puts it back into service if it is ejected and its time is over.
    fn end_ejection(&mut self, n: usize, now: Instant) -> Option<Change> {
        match &mut self.standing {
            Standing::Ejected { until, row } if *until <= now => {
                self.standing = Standing::InService(std::mem::take(row));
                Some(Change::Returned { instance: n })
            }
            Standing::Ejected { .. } | Standing::InService(_) | Standing::Draining => None,
        }
    }

    /// Ejects it, or spares it, after a sign that was counted, if there were too many failures.
    fn judge(
        &mut self,
        n: usize,
        sign: Sign,
        after: NonZeroU32,
        has_room: bool,
        until: Instant,
    ) -> Option<Change> {
        let Standing::InService(row) = &mut self.standing else { return None };
        let failures = row.failures();
        if failures < after.get() {
            row.spared = false;
            return None;
        }
        // On probation, a sound sign of the other sort changes nothing.
        if !sign.is_failure() {
            return None;
        }
        if !has_room {
            let told = std::mem::replace(&mut row.spared, true);
            return (!told).then_some(Change::Spared { instance: n, sign, failures });
        }
        let row = Row { spared: false, ..std::mem::take(row) };
        self.standing = Standing::Ejected { until, row };
        self.ejections += 1;
        self.era += 1;
        Some(Change::Ejected { instance: n, sign, failures, until })
    }

    fn view(&self, now: Instant) -> InstanceView {
        let (state, failures) = match &self.standing {
            Standing::Draining => (InstanceState::Draining, 0),
            Standing::Ejected { until, row } if *until > now => {
                (InstanceState::Ejected { until: *until }, row.failures())
            }
            Standing::Ejected { row, .. } | Standing::InService(row) => match self.healthy {
                true => (InstanceState::Serving, row.failures()),
                false => (InstanceState::Unhealthy, row.failures()),
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

impl Row {
    fn count(&mut self, sign: Sign) {
        match sign {
            Sign::Answered => self.unanswered = 0,
            Sign::Unanswered => self.unanswered = self.unanswered.saturating_add(1),
            Sign::Kept => self.broken_off = 0,
            Sign::BrokenOff => self.broken_off = self.broken_off.saturating_add(1),
        }
    }

    fn failures(&self) -> u32 {
        self.unanswered.max(self.broken_off)
    }
}

/// Ranks instances for a client: alike for each of its connections, unlike for other clients.
fn affinity(client: IpAddr, n: usize) -> u64 {
    // Its keys are fixed, so every process ranks alike.
    let mut hasher = DefaultHasher::new();
    (client, n).hash(&mut hasher);
    hasher.finish()
}
