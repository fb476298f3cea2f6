//! Finds files of `src` that use each other in a circle.
//!
//! What counts as an arrow from one file to another:
//!
//! - A `use`, or a path in the code, that begins with `crate`, `super`, `self` or the name of a child
//!   module. It leads to the file that defines the item: a name that a file only re-exports or imports
//!   is followed to where it comes from.
//! - A re-export counts only where the same file also works with the name.
//! - `mod` declarations do not count, because a parent has to declare its children. Test code does not
//!   count either.
//!
//! A method that is called on a value needs no path, so it is no arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Which files each file uses, and what of them.
pub(crate) type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// One file: its imports, and the paths and words of its code, without comments and tests.
#[derive(Default)]
struct File {
    children: BTreeSet<String>,
    /// Each import: the name here, the path, and whether it is a re-export.
    imports: Vec<Import>,
    /// Paths in the code that begin with `crate`, `super` or `self`, or with a child.
    paths: Vec<Vec<String>>,
    /// The words of the code outside of its imports.
    words: BTreeSet<String>,
}

struct Import {
    name: String,
    path: Vec<String>,
    reexport: bool,
}

/// Draws the arrows between files, each called by its module path: `connection::outbox`.
pub(crate) fn arrows<'a>(sources: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Arrows {
    let files: BTreeMap<String, File> =
        sources.into_iter().map(|(path, code)| (module_of(path), File::read(path, code))).collect();
    let mut arrows = Arrows::new();
    for (module, file) in &files {
        let imported = file
            .imports
            .iter()
            .filter(|import| !import.reexport || file.words.contains(&import.name))
            .map(|import| &import.path);
        let from: &mut BTreeMap<_, BTreeSet<_>> = arrows.entry(module.clone()).or_default();
        for (target, item) in imported.chain(&file.paths).filter_map(|path| defining(&files, path))
        {
            if target != *module {
                from.entry(target).or_default().insert(item);
            }
        }
    }
    arrows
}

/// Returns each set of files that use one another in a circle.
pub(crate) fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|file| (file.as_str(), reachable(arrows, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, reached_from_here) in &reached {
        if reached_from_here.contains(file) {
            let back = |other: &&&str| reached.get(**other).is_some_and(|back| back.contains(file));
            circles.insert(reached_from_here.iter().filter(back).map(|&f| f.to_owned()).collect());
        }
    }
    circles.into_iter().collect()
}

/// Shows the arrows of a circle, one a line.
pub(crate) fn show(arrows: &Arrows, circle: &BTreeSet<String>) -> String {
    let mut shown = String::new();
    for file in circle {
        for (target, items) in arrows[file].iter().filter(|(target, _)| circle.contains(*target)) {
            let items: Vec<_> = items.iter().map(String::as_str).collect();
            shown.push_str(&format!("  {file} -> {target} ({})\n", items.join(", ")));
        }
    }
    shown
}

fn reachable<'a>(arrows: &'a Arrows, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = arrows[from].keys().map(String::as_str).collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(arrows.get(file).into_iter().flat_map(BTreeMap::keys).map(String::as_str));
        }
    }
    found
}

/// Returns the file that defines what an absolute path names, and the name of it there.
fn defining(files: &BTreeMap<String, File>, path: &[String]) -> Option<(String, String)> {
    let mut path = path.to_vec();
    // A chain of re-exports is short; a circle of them would not compile.
    for _ in 0..16 {
        let depth = (1..=path.len()).rev().find(|&n| files.contains_key(&path[..n].join("::")))?;
        let module = path[..depth].join("::");
        let Some(item) = path.get(depth) else { return Some((module, "self".to_owned())) };
        let import = files[&module].imports.iter().find(|import| import.name == *item);
        let Some(import) = import else { return Some((module, item.clone())) };
        path = import.path.iter().chain(&path[depth + 1..]).cloned().collect();
        if !files.contains_key(&path[0]) {
            // It comes from another crate.
            return None;
        }
    }
    None
}

fn module_of(path: &Path) -> String {
    let path = path.with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join("::")
}

impl File {
    fn read(path: &Path, code: &str) -> Self {
        let own: Vec<String> = module_of(path).split("::").map(str::to_owned).collect();
        let mut file = Self::default();
        // Modules within the file, and the lines at which they end.
        let mut within: Vec<(String, String)> = Vec::new();
        let mut lines = without_tests(code).into_iter().peekable();
        let mut rest = Vec::new();
        while let Some(line) = lines.next() {
            if within.last().is_some_and(|(_, end)| *end == line) {
                within.pop();
            }
            let item = line.trim_start();
            let (visibility, item) = match item.strip_prefix("pub") {
                Some(item) if item.starts_with('(') => {
                    (true, item.split_once(')').map_or(item, |(_, item)| item).trim_start())
                }
                Some(item) if item.starts_with(' ') => (true, item.trim_start()),
                _ => (false, item),
            };
            let here: Vec<String> =
                own.iter().cloned().chain(within.iter().map(|(name, _)| name.clone())).collect();
            if let Some(module) = item.strip_prefix("mod ") {
                if let Some(child) = module.strip_suffix(';') {
                    file.children.insert(child.to_owned());
                } else if let Some(name) = module.strip_suffix(" {") {
                    let indent = &line[..line.len() - line.trim_start().len()];
                    within.push((name.to_owned(), format!("{indent}}}")));
                }
            } else if let Some(tree) = item.strip_prefix("use ") {
                let mut tree = tree.to_owned();
                while !tree.contains(';') {
                    let Some(more) = lines.next() else { break };
                    tree.push_str(more.trim());
                }
                let tree = tree.split(';').next().unwrap_or_default();
                for (path, name) in leaves(tree) {
                    let reexport = visibility;
                    let path = absolute(&path, &here).unwrap_or(path);
                    file.imports.push(Import { name, path, reexport });
                }
            } else {
                rest.push((here, line));
            }
        }
        // A path may begin with a child that is declared, or imported, further down.
        for import in &mut file.imports {
            if file.children.contains(&import.path[0]) {
                import.path.splice(0..0, own.iter().cloned());
            }
        }
        for (here, line) in rest {
            for path in paths(line) {
                file.words.extend(path.iter().cloned());
                let starts_here = file.children.contains(&path[0]) && path.len() > 1;
                let path = match absolute(&path, &here) {
                    Some(path) => path,
                    None if starts_here => own.iter().cloned().chain(path).collect(),
                    None => continue,
                };
                file.paths.push(path);
            }
        }
        file
    }
}

/// Makes a path that begins with `crate`, `self` or `super` one from the root of the crate.
fn absolute(path: &[String], here: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" => (&here[..0], &path[1..]),
        "self" => (here, &path[1..]),
        "super" => (&here[..here.len().checked_sub(supers)?], &path[supers..]),
        _ => return None,
    };
    Some(base.iter().chain(rest).cloned().collect())
}

/// Takes the tree of a `use` apart: each path, and the name that it gets.
fn leaves(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    if let Some((before, inner)) = tree.split_once('{') {
        let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
        let before: Vec<String> = parts(before);
        return split_outside(inner)
            .into_iter()
            .flat_map(leaves)
            .map(|(path, name)| {
                let path: Vec<String> = before.iter().cloned().chain(path).collect();
                match path.split_last() {
                    Some((last, module)) if last == "self" && !module.is_empty() => {
                        (module.to_vec(), module[module.len() - 1].clone())
                    }
                    _ => (path, name),
                }
            })
            .collect();
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim())),
        None => (tree, None),
    };
    let path: Vec<String> = parts(path).into_iter().filter(|part| part != "*").collect();
    let Some(last) = path.last() else { return Vec::new() };
    let name = alias.unwrap_or(last).to_owned();
    vec![(path, name)]
}

fn parts(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Splits at the commas that are in no braces.
fn split_outside(list: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0_usize, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&list[from..]);
    found.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// Returns all names and paths of a line.
fn paths(line: &str) -> Vec<Vec<String>> {
    let code = line.split(" // ").next().unwrap_or_default();
    // Who may see an item is no use of that module.
    let code = match code.split_once("pub(in ") {
        Some((_, scope)) => scope.split_once(')').map_or("", |(_, code)| code),
        None => code,
    };
    code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
        .map(parts)
        // Alone, `self` is a value, and `super` and `crate` say who may see an item.
        .filter(|path| match path.as_slice() {
            [] => false,
            [only] => !matches!(only.as_str(), "self" | "super" | "crate"),
            [first, ..] => !first.is_empty(),
        })
        .collect()
}

/// Returns the lines of a file without comments and without what is compiled for tests only.
fn without_tests(code: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim() != "#[cfg(test)]" {
            kept.push(line);
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        // The item ends with the line that closes it, or with its only line.
        for line in lines.by_ref() {
            let is_item = line.len() - line.trim_start().len() == indent && !line.is_empty();
            if is_item && (line.ends_with(';') || line.ends_with('}') || line.ends_with(',')) {
                break;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files = files.iter().map(|(path, code)| (Path::new(*path), *code));
        circles(&arrows(files)).into_iter().map(|circle| circle.into_iter().collect()).collect()
    }

    #[test]
    fn a_circle_is_found_within_a_layer() {
        let circle = found(&[
            ("relay.rs", "mod pool;\nmod lease;\nmod health;\npub(crate) use pool::Pool;"),
            ("relay/pool.rs", "use super::lease::Lease;\nstruct Pool(Lease);"),
            ("relay/lease.rs", "use std::sync::Arc;\n\nstruct Lease(Arc<super::health::Health>);"),
            ("relay/health.rs", "use crate::relay::{Pool, Other};\nstruct Health(Pool);"),
            ("relay/other.rs", "use super::pool::Pool;"),
        ]);
        assert_eq!(circle, [["relay::health", "relay::lease", "relay::pool"]]);
    }

    #[test]
    fn a_parent_that_works_with_what_it_re_exports_uses_its_child() {
        let child = ("outbox/queue.rs", "use super::Outbox;\nstruct Queue;");
        let hands_on = ("outbox.rs", "mod queue;\npub(crate) use queue::Queue;\nstruct Outbox;");
        assert!(found(&[hands_on, child]).is_empty());

        let works =
            ("outbox.rs", "mod queue;\npub(crate) use queue::Queue;\nstruct Outbox(Queue);");
        assert_eq!(found(&[works, child]), [["outbox", "outbox::queue"]]);
    }

    #[test]
    fn a_path_in_the_code_is_an_arrow_and_one_in_a_test_is_not() {
        let a = ("a.rs", "fn f() {\n    crate::b::g();\n}");
        let b = ("b.rs", "fn g() {\n    super::a::f();\n}");
        assert_eq!(found(&[a, b]), [["a", "b"]]);

        let tested = "fn g() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::a::f;\n}\n";
        assert!(found(&[a, ("b.rs", tested)]).is_empty());
    }

    #[test]
    fn a_tree_without_a_circle_has_none() {
        let diamond = [
            ("a.rs", "use crate::{b, c::{self, C}};"),
            ("b.rs", "use crate::d::D;"),
            ("c.rs", "use crate::d::{D as E};"),
            ("d.rs", "use std::collections::BTreeMap as C;"),
        ];
        assert!(found(&diamond).is_empty());
    }
}
