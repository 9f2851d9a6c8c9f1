//! Rules of the code that a compiler does not check: who imports whom, how long files are, what they may not say.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LINES_MAX: usize = 800;

/// Source files below `folder`, without build output.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn manifest_names(folder: &str, names: &[&str]) -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(ROOT).join(folder).join("Cargo.toml")).unwrap();
    let depends = |name: &&&str| {
        manifest.lines().any(|line| line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} ")))
    };
    names.iter().filter(depends).map(|name| format!("{folder} imports {name}")).collect()
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let mut wrong = manifest_names("engine", &["feeds", "node", "api", "tokio", "serde", "serde_json", "tracing"]);
    wrong.extend(manifest_names("feeds", &["node", "api", "loadtest"]));
    wrong.extend(manifest_names("api", &["node", "feeds", "loadtest"]));
    wrong.extend(manifest_names("engine/node", &["api", "loadtest"]));
    wrong.extend(manifest_names("api/store", &["node", "feeds", "api", "loadtest", "uring"]));
    wrong.extend(manifest_names("api/ledger", &["engine", "node", "feeds", "api", "store", "tokio", "serde", "sqlx"]));
    let no_llm = ["engine", "node", "feeds", "api", "ledger", "records", "store", "loadtest", "axum", "sqlx"];
    wrong.extend(manifest_names("api/llm", &no_llm));
    wrong.extend(manifest_names("api/records", &["engine", "node", "feeds", "api", "store", "loadtest"]));
    wrong.extend(manifest_names(
        "api/auth",
        &["engine", "node", "feeds", "api", "store", "ledger", "records", "axum", "sqlx"],
    ));
    for folder in ["api/stripe", "api/stripe/fake"] {
        wrong.extend(manifest_names(folder, &["engine", "node", "feeds", "api", "ledger", "records", "store", "sqlx"]));
    }
    wrong.extend(manifest_names("engine/uring", &["engine", "node", "feeds", "api", "tokio"]));
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn unsafe_code_stands_in_one_crate_and_says_why_it_is_sound() {
    let here = Path::new(ROOT).join("engine/uring");
    for path in sources(".").into_iter().filter(|path| !path.ends_with("tests/tidy.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let blocks = text.matches("unsafe {").count();
        let allowed = if path.starts_with(&here) { text.matches("// SAFETY:").count() } else { 0 };
        assert!(blocks <= allowed, "{}", path.display());
    }
}

#[test]
fn files_are_short_enough_to_read() {
    let long: Vec<_> = sources(".")
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn the_cores_read_no_clock_and_take_no_lock() {
    for path in ["engine/src", "api/ledger/src"].iter().flat_map(|folder| sources(folder)) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in ["Instant", "SystemTime", "Mutex", "RwLock", "println!", "async fn", "f64", "f32"] {
            assert!(!code.contains(word), "{} says {word}", path.display());
        }
    }
}

#[test]
fn only_clocks_read_the_wall_clock() {
    for path in [
        "engine/node/src",
        "feeds/src",
        "api/src",
        "api/auth/src",
        "api/records/src",
        "api/store/src",
        "api/stripe",
        "src",
    ]
    .iter()
    .flat_map(|folder| sources(folder))
    {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        assert!(name == "clock.rs" || !code.contains("SystemTime::now"), "{}", path.display());
    }
}
