//! Runs: the short one of every `cargo test`, a single script, and the long one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};

use super::block::{alone, play, scripts};
use super::coverage::never_seen;
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
    if let Some(number) = setting("TRUTH_ONLY") {
        let scripts = alone(seed, number);
        println!("{scripts:#?}");
        let folder = folder(seed);
        let verdict = play(&world, seed, number / BLOCK, scripts, CROWD, &folder).await;
        report(seed, &verdict, &folder);
        return;
    }
    let folder = folder(seed);
    let verdict = blocks(&world, seed, SHORT, 2, &folder).await;
    report(seed, &verdict, &folder);
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
    let folder = folder(seed);
    let verdict = blocks(&world, seed, count, at_once, &folder).await;
    report(seed, &verdict, &folder);
}

/// Plays all blocks, some at a time.
async fn blocks(
    world: &Arc<World>,
    seed: u64,
    count: u64,
    at_once: usize,
    folder: &Path,
) -> Verdict {
    let began = Instant::now();
    println!("seed {seed}, {count} scripts, in {}", folder.display());
    let mut all = Verdict::default();
    let mut played = stream::iter(0..count.div_ceil(BLOCK))
        .map(|block| {
            let (world, folder) = (Arc::clone(world), folder.to_owned());
            let scripts = scripts(seed, block, count);
            tokio::spawn(async move { play(&world, seed, block, scripts, CROWD, &folder).await })
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

/// Where the journals of this run are kept, until their block was found right.
fn folder(seed: u64) -> PathBuf {
    let run = format!("{seed}-{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("truth").join(run);
    std::fs::create_dir_all(&folder).expect("a folder for the journals");
    folder
}

fn report(seed: u64, verdict: &Verdict, folder: &Path) {
    println!("seed {seed}\n{verdict}");
    let all: Vec<&str> = verdict.findings.iter().map(|it| it.what.as_str()).collect();
    if all.is_empty() {
        // Nobody will want to look into it.
        let _ = std::fs::remove_dir_all(folder);
        return;
    }
    let file = folder.join("findings");
    std::fs::write(&file, all.join("\n\n")).expect("write the findings");
    let shown = all[..all.len().min(20)].join("\n\n");
    panic!("seed {seed}: {verdict}\nall are in {}\n\n{shown}", file.display());
}
