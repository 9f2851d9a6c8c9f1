//! What was refused: counted by reason with its first lines, and row by row in a file of its own.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

/// How many lines of a reason are told as examples.
const EXAMPLES: usize = 5;
/// How much of a row goes into the report.
const ROW_BYTES_MAX: usize = 500;

/// Why a row is not taken: `malformed_open`, `duplicate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// What is wrong.
    pub what: &'static str,
    /// With which field; empty where it is the whole row.
    pub field: &'static str,
}

impl Reason {
    /// One that concerns the whole row.
    pub const fn new(what: &'static str) -> Self {
        Self { what, field: "" }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joint = if self.field.is_empty() { "" } else { "_" };
        write!(f, "{}{joint}{}", self.what, self.field)
    }
}

/// Where a row stands: the number of its file, and its line from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the files.
    pub file: usize,
    /// Which line.
    pub line: u64,
}

/// See the module.
#[derive(Default)]
pub struct Refusals {
    files: Vec<String>,
    counts: BTreeMap<Reason, (u64, Vec<Place>)>,
    report: Option<BufWriter<File>>,
    failed: Option<io::Error>,
}

impl Refusals {
    /// Without any; `report` is where every one goes.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn new(files: impl Iterator<Item = String>, report: Option<&Path>) -> io::Result<Self> {
        let mut refusals = Self { files: files.collect(), ..Self::default() };
        if let Some(path) = report {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(b"file,line,reason,row\n")?;
            refusals.report = Some(file);
        }
        Ok(refusals)
    }

    /// Counts a row; `text` is the row, as far as it is at hand.
    pub fn refuse(&mut self, reason: Reason, place: Place, text: &[u8]) {
        let (count, examples) = self.counts.entry(reason).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(place);
        }
        let file = self.files.get(place.file).map_or("", String::as_str);
        if let Some(report) = &mut self.report {
            let text = String::from_utf8_lossy(text.get(..ROW_BYTES_MAX).unwrap_or(text));
            let written = writeln!(report, "{},{},{reason},{}", quoted(file), place.line, quoted(&text));
            if let Err(error) = written {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Ends the report.
    ///
    /// # Errors
    /// If a row of it could not be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)?;
        self.report.as_mut().map_or(Ok(()), Write::flush)
    }

    /// How many there are, by reason.
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.counts.iter().map(|(reason, (count, _))| (*reason, *count))
    }

    /// Writes a line for each reason.
    ///
    /// # Errors
    /// If `to` takes no more.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        for (reason, (count, examples)) in &self.counts {
            let mut shown = String::new();
            let mut file = usize::MAX;
            for place in examples {
                if place.file != file {
                    file = place.file;
                    let name = self.files.get(file).map_or("", String::as_str);
                    shown += &format!("{}{name}, line {}", if shown.is_empty() { "" } else { "; " }, place.line);
                } else {
                    shown += &format!(", {}", place.line);
                }
            }
            let more = if *count > examples.len() as u64 { ", …" } else { "" };
            writeln!(to, "{:<32}{count:>12}  {shown}{more}", format!("refused: {reason}"))?;
        }
        Ok(())
    }
}

/// A text as a field of a CSV file.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
