//! `reload`: the daemon reads its configuration again.

use serde_json::json;

use super::api::Daemon;
use super::arguments::Reload;
use super::console::Console;
use super::failure::Failure;
use crate::contract::{LastReloadRecord, ReloadRecord};
use crate::explanation::wording::{safe, utc};

/// Asks for a reload, waits for it, and prints what has changed.
pub(super) async fn reload(reload: &Reload, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&reload.control)?;
    let answer = daemon.post("/v1/reload", &json!({})).await?;
    console.show(&answer, |_| Ok(summarize(&answer.read()?)))
}

fn summarize(reload: &ReloadRecord<'_>) -> String {
    let list = |names: &[std::borrow::Cow<'_, str>]| {
        names.iter().map(|name| safe(name)).collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    match reload.changed.is_empty() {
        true if reload.needs_restart.is_empty() => lines.push("nothing has changed".to_owned()),
        true => {}
        false => lines.push(format!("changed: {}", list(&reload.changed))),
    }
    let listeners = &reload.listeners;
    for (what, names) in
        [("listening now", &listeners.added), ("no longer listening", &listeners.removed)]
    {
        if !names.is_empty() {
            lines.push(format!("{what}: {}", list(names)));
        }
    }
    if !reload.needs_restart.is_empty() {
        lines.push(format!(
            "unchanged until the daemon is restarted: {}",
            list(&reload.needs_restart)
        ));
    }
    lines.join("\n")
}

/// Says in one line what became of the last reload.
pub(super) fn last(reload: &LastReloadRecord<'_>) -> String {
    let (at, by) = (utc(reload.at), safe(&reload.by));
    match &reload.error {
        None => format!("{at} by {by}"),
        Some(error) => {
            // Line by line, as each is a sentence.
            let error = error.lines().map(|line| safe(line)).collect::<Vec<_>>().join("; ");
            format!("{at} by {by}, refused, so nothing has changed: {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::contract::ReloadedListenersRecord;

    #[test]
    fn what_has_changed_is_said_and_what_has_not() {
        let listeners = ReloadedListenersRecord { added: vec![], removed: vec![] };
        let mut reload = ReloadRecord { changed: vec![], needs_restart: vec![], listeners };
        assert_eq!(summarize(&reload), "nothing has changed");
        reload.needs_restart = vec!["node.name".into()];
        assert_eq!(summarize(&reload), "unchanged until the daemon is restarted: node.name");
        reload.changed = vec!["limits.write_timeout".into(), "listeners.a".into()];
        reload.listeners.added = vec!["a".into()];
        reload.listeners.removed = vec!["a".into(), "b".into()];
        assert_eq!(
            summarize(&reload),
            "changed: limits.write_timeout, listeners.a\nlistening now: a\n\
             no longer listening: a, b\nunchanged until the daemon is restarted: node.name"
        );
    }

    #[test]
    fn a_reload_that_was_refused_says_why() {
        let mut reload = LastReloadRecord {
            at: SystemTime::UNIX_EPOCH,
            by: "signal:HUP".into(),
            ok: true,
            error: None,
        };
        assert_eq!(last(&reload), "1970-01-01 00:00:00.000 UTC by signal:HUP");
        (reload.ok, reload.error) = (false, Some("a.toml:1: x\nb: y".into()));
        assert!(last(&reload).ends_with("so nothing has changed: a.toml:1: x; b: y"));
    }
}
