//! Runs: the short one of every `cargo test`, a single script, and the long one.

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};

use super::block::{play, scripts};
use super::coverage::never_seen;
use super::draw;
use super::judge::Verdict;
use super::plan::BLOCK;
use super::world::World;

/// How many scripts each `cargo test` plays, and how many at once.
const SHORT: u64 = 2000;
const CROWD: usize = 64;

/// The seed of every `cargo test`, so that what it covers is always the same.
const SEED: u64 = 1006;

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ending_is_recorded_once_and_as_it_was() {
    let seed = setting("TRUTH_SEED").unwrap_or(SEED);
    let world = World::new().await;
    let folder = folder();
    if let Some(number) = setting("TRUTH_ONLY") {
        let script = draw::script(seed, number);
        println!("{script:#?}");
        let verdict = play(&world, seed, number / BLOCK, vec![script], CROWD, &folder).await;
        report(seed, &verdict);
        return;
    }
    let verdict = blocks(&world, seed, SHORT, CROWD, 2).await;
    report(seed, &verdict);
    let missed = never_seen(&verdict.seen);
    assert!(missed.is_empty(), "no script of seed {seed} produced {missed:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as long as one likes: tests/truth/run"]
async fn the_long_run() {
    let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let date: String = today[..10].chars().filter(char::is_ascii_digit).collect();
    let seed = setting("TRUTH_SEED").unwrap_or_else(|| date.parse().expect("a date"));
    let count = setting("TRUTH_COUNT").unwrap_or(1_000_000);
    // Most of the time goes by in waits: as many blocks at once keep two cores busy.
    let at_once = setting("TRUTH_BLOCKS").unwrap_or(12) as usize;
    let world = World::new().await;
    let verdict = blocks(&world, seed, count, CROWD, at_once).await;
    report(seed, &verdict);
}

/// Plays all blocks, some at a time.
async fn blocks(
    world: &Arc<World>,
    seed: u64,
    count: u64,
    crowd: usize,
    at_once: usize,
) -> Verdict {
    let folder = folder();
    let began = Instant::now();
    println!("seed {seed}, {count} scripts, in {}", folder.display());
    let mut all = Verdict::default();
    let mut played = stream::iter(0..count.div_ceil(BLOCK))
        .map(|block| {
            let (world, folder) = (Arc::clone(world), folder.clone());
            let scripts = scripts(seed, block, count);
            tokio::spawn(async move { play(&world, seed, block, scripts, crowd, &folder).await })
        })
        .buffer_unordered(at_once);
    while let Some(verdict) = played.next().await {
        let before = all.scripts / 50_000;
        all.add(verdict.expect("a block is played"));
        if all.scripts / 50_000 > before {
            println!(
                "{} scripts after {} s, {} findings",
                all.scripts,
                began.elapsed().as_secs(),
                all.findings.len()
            );
        }
    }
    println!("{} s", began.elapsed().as_secs());
    all
}

/// Where journals are kept, until their block was found right.
fn folder() -> std::path::PathBuf {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("truth");
    std::fs::create_dir_all(&target).expect("a folder for the journals");
    target
}

fn report(seed: u64, verdict: &Verdict) {
    println!("seed {seed}\n{verdict}");
    let all: Vec<&str> = verdict.findings.iter().map(|it| it.what.as_str()).collect();
    let file = folder().join("findings");
    std::fs::write(&file, all.join("\n\n")).expect("write the findings");
    let shown = all[..all.len().min(20)].join("\n\n");
    assert!(all.is_empty(), "seed {seed}: {verdict}\nall are in {}\n\n{shown}", file.display());
}
