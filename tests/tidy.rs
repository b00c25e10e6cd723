//! House rules that a compiler does not check: which floor may import which, how long files and
//! functions are, and that the pure floors ask no clock, no random numbers and no hash-map order.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines a file may have, without its test module.
const FILE_LINES_MAX: usize = 500;
/// Lines a function may have.
const FUNCTION_LINES_MAX: usize = 70;

/// Floors of the top-level modules, lowest first. A module may use its own and lower ones.
const FLOORS: &[(&str, u8)] = &[
    ("stats", 0),
    ("domain", 1),
    ("detector", 2),
    ("policy", 2),
    ("evaluate", 3),
    ("projection", 3),
    ("decide", 4),
    ("clock", 5),
    ("connector", 5),
    ("eventlog", 5),
    ("record", 5),
    ("engine", 6),
    ("proto", 7),
    ("rpc", 7),
    ("telemetry", 5),
    ("app", 8),
    ("adapter", 8),
    ("admin", 8),
    ("bench", 8),
    ("mcp", 8),
    ("panic_button", 8),
    ("notify", 7),
    ("cli", 8),
    ("export", 8),
    ("config", 8),
    ("offline", 8),
    ("main", 9),
    ("lib", 9),
];

/// Modules of one floor that must not know each other.
const STRANGERS: &[(&str, &str)] =
    &[("detector", "policy"), ("policy", "detector"), ("eventlog", "record"), ("record", "eventlog")];

/// What only some modules may name, although it lies on a lower floor: (who, what).
const FORBIDDEN: &[(&str, &str)] = &[
    ("eventlog", "detector"),
    ("eventlog", "policy"),
    ("eventlog", "projection"),
    ("eventlog", "decide"),
    ("rpc", "eventlog"),
];

/// Words that the pure floors (0 to 4) must not contain, and why.
const IMPURE: &[(&str, &str)] = &[
    ("SystemTime", "a clock"),
    ("Instant::now", "a clock"),
    ("std::time", "a clock"),
    ("rand::", "randomness"),
    ("getrandom", "randomness"),
    ("std::fs", "files"),
    ("std::net", "the network"),
    ("std::env", "the environment"),
    ("tokio", "async"),
    ("std::collections::HashMap", "an order that differs from run to run"),
    ("std::collections::HashSet", "an order that differs from run to run"),
    ("tracing::", "logging"),
    ("println!", "output"),
];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let inside = path.strip_prefix(&root).unwrap().to_owned();
            let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            if path.is_dir() {
                if module != "proto" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path: inside, module, text });
            }
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}

/// The source without its test module, which stands last in a file.
fn without_tests(text: &str) -> &str {
    match text.find("#[cfg(test)]\nmod ").or_else(|| text.find("#[cfg(test)]\n#[path")) {
        Some(at) => &text[..at],
        None => text,
    }
}

fn is_test_file(source: &Source) -> bool {
    let name = source.path.file_stem().unwrap().to_string_lossy();
    name.ends_with("_tests") || name == "testing" || name == "tests"
}

fn floor_of(module: &str) -> u8 {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("`{module}` has no floor: give it one in tests/tidy.rs and lib.rs"))
        .1
}

/// Top-level modules named by `crate::name` in a text, with line numbers.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (at, _) in line.match_indices("crate::") {
            let name: String = line[at + 7..]
                .chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect();
            if FLOORS.iter().any(|(module, _)| *module == name) {
                found.push((number + 1, name));
            }
        }
    }
    found
}

fn import_faults(source: &Source) -> Vec<String> {
    let floor = floor_of(&source.module);
    let mut faults = Vec::new();
    for (line, name) in imports(without_tests(&source.text)) {
        let forbidden = STRANGERS.contains(&(source.module.as_str(), name.as_str()))
            || FORBIDDEN.contains(&(source.module.as_str(), name.as_str()));
        if forbidden || floor_of(&name) > floor {
            faults.push(format!(
                "{}:{line}: `{}` must not know `{name}`",
                source.path.display(),
                source.module
            ));
        }
    }
    faults
}

fn purity_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if floor_of(&source.module) > 4 {
        return faults;
    }
    for (number, line) in without_tests(&source.text).lines().enumerate() {
        for (word, what) in IMPURE {
            if !line.trim_start().starts_with("//") && line.contains(word) {
                let path = source.path.display();
                faults.push(format!(
                    "{path}:{}: `{word}` is {what}, which a pure floor must not use",
                    number + 1
                ));
            }
        }
    }
    faults
}

#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn note(&mut self, name: &syn::Ident, span: proc_macro2::Span) {
        self.0.push((name.to_string(), span.end().line - span.start().line + 1));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig.ident, item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig.ident, item.block.span());
        visit::visit_impl_item_fn(self, item);
    }
}

fn length_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let own = without_tests(&source.text);
    let lines = own.lines().count();
    let path = source.path.display();
    if lines > FILE_LINES_MAX && !is_test_file(source) {
        faults.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    let file = syn::parse_file(own).unwrap_or_else(|fault| panic!("{path}: {fault}"));
    let mut functions = Functions::default();
    functions.visit_file(&file);
    for (name, lines) in functions.0 {
        if lines > FUNCTION_LINES_MAX {
            faults.push(format!("{path}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    faults
}

fn check(faults_of: impl Fn(&Source) -> Vec<String>) {
    let faults: Vec<String> =
        sources().iter().filter(|source| !is_test_file(source)).flat_map(faults_of).collect();
    let mut text = String::new();
    faults.iter().for_each(|fault| writeln!(text, "{fault}").unwrap());
    assert!(faults.is_empty(), "{} faults:\n{text}", faults.len());
}

#[test]
fn imports_go_down() {
    check(import_faults);
}

#[test]
fn pure_floors_are_pure() {
    check(purity_faults);
}

#[test]
fn rooms_are_small() {
    check(length_faults);
}

#[test]
fn each_check_finds_what_it_looks_for() {
    let source = |module: &str, text: &str| Source {
        path: PathBuf::from(format!("{module}/x.rs")),
        module: module.to_owned(),
        text: text.to_owned(),
    };
    assert_eq!(import_faults(&source("stats", "use crate::engine::Engine;")).len(), 1);
    assert_eq!(import_faults(&source("policy", "use crate::detector::models::Models;")).len(), 1);
    assert_eq!(import_faults(&source("rpc", "let x = crate::eventlog::Log::open();")).len(), 1);
    assert_eq!(import_faults(&source("engine", "use crate::stats::Tracker;")).len(), 0);
    assert_eq!(purity_faults(&source("decide", "let now = std::time::SystemTime::now();")).len(), 2);
    assert_eq!(purity_faults(&source("engine", "let now = Instant::now();")).len(), 0);
    let long = format!("fn f() {{\n{}}}", "    g();\n".repeat(80));
    assert_eq!(length_faults(&source("engine", &long)).len(), 1);
    assert_eq!(length_faults(&source("engine", &"// x\n".repeat(600))).len(), 1);
}

#[test]
fn floors_are_listed_once() {
    let mut seen = BTreeMap::new();
    FLOORS.iter().for_each(|(name, floor)| assert!(seen.insert(name, floor).is_none(), "{name} twice"));
}
