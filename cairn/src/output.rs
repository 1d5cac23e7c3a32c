//! What commands print: one JSON value or lines for people on stdout, progress on stderr.
//!
//! Invariant: with `--json` stdout holds one value and nothing else; a bar is drawn only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::request::Step;

/// Prints one JSON value on stdout.
pub fn print_json(value: &impl Serialize) {
    let mut out = io::stdout().lock();
    // A reader that went away has what it wanted.
    if serde_json::to_writer_pretty(&mut out, value).is_ok() {
        let _ = writeln!(out);
    }
}

/// Prints one JSON value on one line, for programs that read on.
pub fn print_json_line(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        print_line(line);
    }
}

/// Prints a line on stdout; a reader that went away is no failure.
pub fn print_line(line: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", line.as_ref());
    let _ = out.flush();
}

/// Prints a line on stderr: what a person should know beside the answer.
pub fn print_note(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
}

/// The words of a text in lines of at most `width` characters, the first after `first` and the others indented by `indent`. A
/// word that is longer has a line of its own.
pub fn wrapped(first: &str, text: &str, indent: usize, width: usize) -> Vec<String> {
    let (mut lines, mut line, mut empty) = (Vec::new(), first.to_owned(), true);
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// A table: columns as wide as their widest cell, numbers to the right.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these headings; those that begin with `>` stand to the right.
    pub fn new(headings: &[&str]) -> Self {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let first = headings
            .iter()
            .map(|heading| heading.trim_start_matches('>').to_owned())
            .collect();
        Self {
            rows: vec![first],
            right,
        }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows
            .push(cells.into_iter().map(|cell| printable(cell.into())).collect());
    }

    /// The lines, each indented by `indent` spaces.
    pub fn lines(&self, indent: usize) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .zip(&widths)
                .zip(&self.right)
                .map(|((cell, width), right)| {
                    if *right {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                });
            let cells: Vec<String> = cells.collect();
            format!("{:indent$}{}", "", cells.join("  "))
                .trim_end()
                .to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints the table.
    pub fn print(&self, indent: usize) {
        for line in self.lines(indent) {
            print_line(line);
        }
    }
}

/// Names come from clients: what could steer a terminal is shown as its code.
pub fn printable(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.escape_debug().to_string()
    } else {
        text
    }
}

/// A bar on stderr for long work, if stderr is a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar named after the work.
    pub fn new(name: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::new_spinner().with_prefix(name);
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Shows a step.
    pub fn show(&self, step: Step) {
        if step.total > 0 && self.bar.length() != Some(step.total) {
            let template = "{prefix} [{bar:32}] {pos}/{len} {msg}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.set_length(step.total);
        }
        self.bar.set_position(step.done);
        let unit = match step.unit.strip_suffix('s') {
            Some(one) if step.total == 1 => one,
            _ => &step.unit,
        };
        let note = if step.note.is_empty() {
            unit.to_owned()
        } else {
            format!("{unit}, {}", step.note)
        };
        self.bar.set_message(note);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

const TICK: Duration = Duration::from_millis(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["drive", ">live"]);
        table.row(["0", "1.50 MiB"]);
        table.row(["ten", "9 B"]);
        assert_eq!(
            table.lines(2),
            ["  drive      live", "  0      1.50 MiB", "  ten         9 B"]
        );
    }

    #[test]
    fn lines_are_no_longer_than_they_may_be_and_words_stay_whole() {
        let lines = wrapped("packs  ", "six of them  and an-unbreakable-word", 7, 15);
        assert_eq!(
            lines,
            ["packs  six of", "       them and", "       an-unbreakable-word"]
        );
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb".to_owned()), "a\\u{1b}[2Jb");
        assert_eq!(printable("gr\u{fc}n".to_owned()), "gr\u{fc}n");
    }
}
