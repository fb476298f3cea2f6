//! Plays the scripts that share a daemon, ends it, and reads the ledger as a user would.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::dice::Dice;
use super::draw::{self, is_caught};
use super::expected;
use super::journal::{Deeds, Journal};
use super::judge::{Evidence, Fault, Finding, Verdict, again, judge};
use super::peer::{PATIENCE, Played};
use super::plan::{Attempt, BLOCK, Curtain, Plot, Script, Standing, Story, Tale, Turn, Way};
use super::player::Play;
use super::stage::{Stage, api, start};
use super::world::World;
use crate::support::daemon::Daemon;

/// For a whole script, which may wait until all others of its block are over.
const WHOLE: Duration = Duration::from_secs(900);

/// Plays these scripts, all of one block.
pub async fn play(
    world: &Arc<World>,
    seed: u64,
    block: u64,
    scripts: Vec<Script>,
    crowd: usize,
    folder: &Path,
) -> Verdict {
    let own = folder.join(format!("block-{block}"));
    // What an earlier run left there is not of this one.
    let _ = std::fs::remove_dir_all(&own);
    std::fs::create_dir_all(&own).expect("a folder for the block");
    let journal = Journal::create(&folder.join(format!("journal-{seed}-{block}.jsonl")));
    let (stage, mut daemon, follower) = Stage::open(world, Arc::clone(&journal), &own, block).await;
    let mut findings = Vec::new();

    let (caught, first): (Vec<_>, Vec<_>) = scripts.iter().partition(|it| is_caught(it.number));
    let room = Arc::new(Semaphore::new(crowd));
    let mut plays = JoinSet::new();
    for script in &first {
        plays.spawn(one(Arc::clone(&stage), (*script).clone(), Arc::clone(&room)));
    }
    stage.until_settled(first.len()).await;
    findings.extend(imbalance(&stage).await);
    // What has ended is to be on the disk before the daemon is killed; what is missing is found there.
    let over = first.iter().filter(|script| !stays(script));
    let records = over.map(|script| expected::of(script, &Deeds::default()).len()).sum();
    stage.until_recorded(records).await;

    for script in &caught {
        // What they cannot do any more is no fault.
        let play = one(Arc::clone(&stage), (*script).clone(), Arc::clone(&room));
        plays.spawn(async move {
            let (number, _) = play.await;
            (number, Ok(()))
        });
    }
    let asked = scripts.iter().map(closes_at_the_end).sum();
    findings.extend(fall(&stage, &mut daemon, block, seed, asked).await);

    while let Some(played) = plays.join_next().await {
        let (number, played) = played.unwrap_or_else(|panic| (u64::MAX, Err(panic.to_string())));
        if let Err(what) = played {
            let again = again(seed, number);
            let what = format!("script {number} could not be played: {what}\n  again: {again}");
            findings.push(Finding { fault: Fault::Unplayed, what });
        }
    }
    let _ = tokio::time::timeout(PATIENCE, follower).await;
    drop(daemon);

    let daemon = start(world, &own, block).await;
    let records = endings(&daemon).await;
    drop(daemon);
    let deeds = journal.read();
    let published: HashSet<(String, &'static str)> = stage.published();
    let mut verdict = judge(&Evidence {
        seed,
        scripts: &scripts,
        deeds: &deeds,
        records: &records,
        published: &published,
    });
    verdict.findings.extend(findings);
    if verdict.findings.is_empty() {
        journal.discard();
        let _ = std::fs::remove_dir_all(&own);
    }
    verdict
}

/// Plays one script, where there is room.
async fn one(stage: Arc<Stage>, script: Script, room: Arc<Semaphore>) -> (u64, Played) {
    let number = script.number;
    let stays = stays(&script);
    let permit = room.acquire_owned().await.expect("it stays open");
    let play = Play { stage: Arc::clone(&stage), script };
    let mut played = tokio::spawn(async move {
        let played = tokio::time::timeout(WHOLE, play.whole()).await;
        played.unwrap_or_else(|_| Err(format!("it was not over after {WHOLE:?}")))
    });
    if stays {
        // It makes room for others once it is in its place.
        let placed = async {
            stage.until_placed(number).await;
            drop(permit);
        };
        tokio::select! {
            () = placed => {}
            over = &mut played => {
                stage.settle(number);
                return (number, flat(over));
            }
        }
        return (number, flat(played.await));
    }
    let played = flat(played.await);
    stage.settle(number);
    (number, played)
}

fn flat(joined: Result<Played, tokio::task::JoinError>) -> Played {
    joined.unwrap_or_else(|panic| Err(panic.to_string()))
}

/// Whether it stays until the daemon ends.
fn stays(script: &Script) -> bool {
    match &script.plot {
        Plot::Single { story, .. } => matches!(story.way, Way::Curtain(..)),
        Plot::Relayed { tale, .. } => matches!(tale.turn, Turn::Curtain(..)),
        Plot::Kept { .. } => false,
        Plot::Attempt(attempt) => *attempt == Attempt::Late,
    }
}

/// How many of its peers get a Close when the daemon ends.
fn closes_at_the_end(script: &Script) -> usize {
    match &script.plot {
        Plot::Single { story: Story { way: Way::Curtain(Standing::Open, _), .. }, .. } => 1,
        Plot::Relayed { tale: Tale { turn: Turn::Curtain(Standing::Open, _), .. }, .. } => 2,
        _ => 0,
    }
}

/// Ends the daemon.
async fn fall(
    stage: &Stage,
    daemon: &mut Daemon,
    block: u64,
    seed: u64,
    asked: usize,
) -> Vec<Finding> {
    let finding = |what: String| Finding { fault: Fault::Unplayed, what };
    let mut found = Vec::new();
    let curtain = Curtain::of(block);
    match curtain {
        Curtain::Killed => {
            let wait = Dice::new(seed, u64::MAX - block).within(0..120);
            tokio::time::sleep(Duration::from_millis(wait as u64)).await;
            daemon.signal("KILL").await;
        }
        Curtain::Drained | Curtain::Forced => daemon.signal("TERM").await,
    }
    stage.fall();
    if curtain == Curtain::Forced {
        if !stage.until_asked(asked).await {
            found.push(finding(format!("block {block}: not all had a Close of the drain")));
        }
        daemon.signal("TERM").await;
    }
    let status = daemon.await_exit(PATIENCE).await;
    let due = match curtain {
        Curtain::Drained => Some(0),
        // Where nobody has to be cut off, it may stop before it is forced.
        Curtain::Forced if status.code() == Some(0) && asked <= 2 => Some(0),
        Curtain::Forced => Some(1),
        Curtain::Killed => None,
    };
    if status.code() != due {
        found.push(finding(format!("block {block}: the daemon ended with {status}, not {due:?}")));
    }
    found
}

/// Opened = open now + ended.
async fn imbalance(stage: &Stage) -> Option<Finding> {
    let answer = stage.ask(200, "GET /v1/status".to_owned(), None).await;
    let accounting = answer.map(|answer| answer.json()["accounting"].clone());
    let number = |value: &Value, field: &str| value[field].as_u64().unwrap_or(u64::MAX / 4);
    let balances = accounting
        .as_ref()
        .is_ok_and(|it| number(it, "opened") == number(it, "open") + number(it, "ended"));
    (!balances).then(|| Finding {
        fault: Fault::Wrong,
        what: format!("opened is not open + ended: {accounting:?}"),
    })
}

/// All endings, by the control API, page by page.
async fn endings(daemon: &Daemon) -> Vec<Value> {
    let api = api(daemon);
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("/v1/endings?limit=1000{cursor}")).await.expect(200);
        all.extend(page["endings"].as_array().expect("endings").iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// One script, with another that sees the drain begin if it waits for that.
pub fn alone(seed: u64, number: u64) -> Vec<Script> {
    let script = draw::script(seed, number);
    let waits = matches!(script.plot, Plot::Attempt(Attempt::Late));
    let block = scripts(seed, number / BLOCK, u64::MAX);
    let witness = block.into_iter().find(|other| waits && closes_at_the_end(other) > 0);
    [script].into_iter().chain(witness).collect()
}

/// The scripts of a block.
pub fn scripts(seed: u64, block: u64, count: u64) -> Vec<Script> {
    let first = block * BLOCK;
    (first..(first + BLOCK).min(count)).map(|number| draw::script(seed, number)).collect()
}
