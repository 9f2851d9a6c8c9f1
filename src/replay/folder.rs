//! Which files a replay reads: those that are named, or those of a recording's folder in the order of time.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use engine::market::Venue;
use feeds::record::{FileName, Head, Line};

use super::input::{self, Input};

/// A folder with more files is none of a recording.
const FILES_MAX: usize = 1_000_000;

/// Puts the files of a recording in the place of its folder.
pub(super) fn expand(paths: &[PathBuf], venue: Option<Venue>) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(files_in(path, venue)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn files_in(folder: &Path, venue: Option<Venue>) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)?.take(FILES_MAX) {
        let name = entry.with_context(unreadable)?.file_name();
        let parsed = name.to_str().and_then(FileName::parse);
        names.extend(parsed.filter(|name| venue.is_none_or(|venue| name.venue == venue)));
    }
    names.sort_by_key(FileName::order);
    let Some(first) = names.first() else {
        bail!(
            "{} holds no recording{}",
            folder.display(),
            venue.map_or_else(String::new, |venue| format!(" of {venue}"))
        );
    };
    if let Some(other) = names.iter().find(|name| name.venue != first.venue) {
        bail!("{} holds recordings of {} and {}; choose with --venue", folder.display(), first.venue, other.venue);
    }
    Ok(names.iter().map(|name| folder.join(name.to_string())).collect())
}

/// Whose frames the files hold, if the first one begins as `serve --record` begins its files.
pub(super) fn venue(files: &[PathBuf]) -> anyhow::Result<Option<Venue>> {
    let Some(path) = files.first() else { return Ok(None) };
    let head = head(path, |_, _| {}).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(head.map(|head| head.venue))
}

/// How a recorded file begins, each of its instruments handed to `symbol` by name and alias; `None` for other files.
pub(super) fn head(path: &Path, mut symbol: impl FnMut(&str, &str)) -> io::Result<Option<Head>> {
    let mut input = Input::open(path)?;
    let mut head = None;
    while let Some((_, input::Line::Text(line))) = input.next_line()? {
        match Line::parse(line) {
            Some((_, Line::Head(own))) => head = Some(own),
            Some((_, Line::Symbol { name, alias })) if head.is_some() => symbol(name, alias),
            _ => break,
        }
    }
    Ok(head)
}
