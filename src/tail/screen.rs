//! One line per channel, rewritten in place on a terminal; plain lines elsewhere.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

/// See the module.
pub(super) struct Screen {
    is_terminal: bool,
    lines: Vec<String>,
    drawn: usize,
}

impl Screen {
    /// A line for each channel.
    pub(super) fn new(channels: &[String]) -> Self {
        let lines = channels.iter().map(|channel| format!("{channel}  waiting")).collect();
        Self { is_terminal: io::stdout().is_terminal(), lines, drawn: 0 }
    }

    /// Renews the line of a channel.
    pub(super) fn set(&mut self, place: usize, line: String) -> io::Result<()> {
        if !self.is_terminal {
            return print(&format!("{line}\n"));
        }
        if let Some(own) = self.lines.get_mut(place) {
            *own = line;
        }
        self.draw(None)
    }

    /// Prints a line that stays: it scrolls away above the channels' lines.
    pub(super) fn scroll(&mut self, line: &str) -> io::Result<()> {
        if self.is_terminal { self.draw(Some(line)) } else { print(&format!("{line}\n")) }
    }

    /// Tells of the connection: on standard error where standard output is no terminal.
    pub(super) fn note(&mut self, line: &str) -> io::Result<()> {
        if self.is_terminal { self.draw(Some(line)) } else { writeln!(io::stderr().lock(), "{line}") }
    }

    fn draw(&mut self, above: Option<&str>) -> io::Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        for line in above.into_iter().chain(self.lines.iter().map(String::as_str)) {
            // Cleared to its end, and not wrapped: a wrapped line would take two rows.
            let _ = writeln!(text, "\x1b[2K\x1b[?7l{line}\x1b[?7h");
        }
        self.drawn = self.lines.len();
        print(&text)
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
