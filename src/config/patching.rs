//! What stands in for a mistake, so that loading goes on and finds the next one.

use ::config::{Map, Value, ValueKind};

use super::layers::{Layer, Step};

/// Puts something valid in place of what is wrong at `path`, or takes it out. Returns the path that
/// was replaced, or `None` if the layer has nothing of its own there and must be left out whole.
pub(super) fn patch(layer: &mut Layer, path: &[Step], count: usize) -> Option<Vec<Step>> {
    let mut path = path;
    loop {
        let (last, parent) = path.split_last()?;
        match last {
            // Without an element those behind it would have other numbers, and a backend of another
            // kind other keys.
            Step::Element(_) => path = parent,
            Step::Key(key) if key == "kind" => path = parent,
            Step::Key(key) => {
                let (tree, below) = layer.tree_at(parent)?;
                let table = table_at(tree, below)?;
                match stand_in(key, count) {
                    Some(value) => drop(table.insert(key.clone(), value)),
                    None => drop(table.remove(key)),
                }
                return Some(path.to_vec());
            }
        }
    }
}

/// Returns a valid value for a key that must not be missing.
fn stand_in(key: &str, count: usize) -> Option<Value> {
    let text = |text: String| Some(Value::new(None, ValueKind::String(text)));
    match key {
        "name" => text(format!("stand-in-{count}")),
        "listen" => text("127.0.0.1:0".to_owned()),
        "path" => text(format!("/stand-in-{count}")),
        "url" => text("ws://stand-in.invalid".to_owned()),
        "backend" => {
            let kind = ("kind".to_owned(), text("echo".to_owned())?);
            Some(Value::new(None, ValueKind::Table(Map::from_iter([kind]))))
        }
        _ => None,
    }
}

fn table_at<'a>(tree: &'a mut Value, path: &[Step]) -> Option<&'a mut Map<String, Value>> {
    let mut value = tree;
    for step in path {
        value = match (&mut value.kind, step) {
            (ValueKind::Table(table), Step::Key(key)) => table.get_mut(key)?,
            (ValueKind::Array(elements), Step::Element(index)) => elements.get_mut(*index)?,
            _ => return None,
        };
    }
    match &mut value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}
