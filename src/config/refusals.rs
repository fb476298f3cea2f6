//! What CONTRACT.md section 6 names and this version refuses, in one table.
//!
//! When a feature is built, its row is removed.

use ::config::{Value, ValueKind};

use super::layers::Step;

/// A row: where, when, what to say, and what to do instead.
pub(super) struct Refusal {
    /// The key; `[]` stands for every element.
    key: &'static str,
    applies: fn(&Value) -> bool,
    /// The subject of "… not in this version".
    pub(super) what: &'static str,
    /// Whether later versions add keys below, so that an unknown one is no typing error.
    pub(super) unsettled: bool,
}

const NOT_IN_THIS_VERSION: &[Refusal] = &[
    unsettled("routes[].backend", is_webhook, "the webhook backend is"),
    unsettled("routes[].backend", is_nats, "the NATS backend is"),
    unsettled("dialers[].backend", is_webhook, "the webhook backend is"),
    unsettled("dialers[].backend", is_nats, "the NATS backend is"),
];

const fn unsettled(key: &'static str, applies: fn(&Value) -> bool, what: &'static str) -> Refusal {
    Refusal { key, applies, what, unsettled: true }
}

/// Finds everything in a tree that this version refuses.
pub(super) fn refused(tree: &Value) -> Vec<(Vec<Step>, &'static Refusal)> {
    let mut found = Vec::new();
    for refusal in NOT_IN_THIS_VERSION {
        let parts: Vec<&str> = refusal.key.split('.').collect();
        collect(tree, &parts, Vec::new(), &mut |path, value| {
            if (refusal.applies)(value) {
                found.push((path, refusal));
            }
        });
    }
    found
}

fn collect(
    value: &Value,
    parts: &[&str],
    path: Vec<Step>,
    visit: &mut dyn FnMut(Vec<Step>, &Value),
) {
    let Some((part, rest)) = parts.split_first() else {
        return visit(path, value);
    };
    let ValueKind::Table(table) = &value.kind else {
        return;
    };
    let (key, each) = match part.strip_suffix("[]") {
        Some(key) => (key, true),
        None => (*part, false),
    };
    let Some(entry) = table.get(key) else {
        return;
    };
    let path = [path, vec![Step::Key(key.to_owned())]].concat();
    match &entry.kind {
        ValueKind::Array(elements) if each => {
            for (index, element) in elements.iter().enumerate() {
                let path = [path.clone(), vec![Step::Element(index)]].concat();
                collect(element, rest, path, visit);
            }
        }
        _ if each => {}
        _ => collect(entry, rest, path, visit),
    }
}

fn is_webhook(backend: &Value) -> bool {
    kind_is(backend, "webhook")
}

fn is_nats(backend: &Value) -> bool {
    kind_is(backend, "nats")
}

fn kind_is(backend: &Value, kind: &str) -> bool {
    let ValueKind::Table(backend) = &backend.kind else {
        return false;
    };
    matches!(backend.get("kind").map(|kind| &kind.kind), Some(ValueKind::String(text)) if text == kind)
}
