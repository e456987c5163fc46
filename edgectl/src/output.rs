//! What goes to standard output, and how: tables, sheets, colour.

use std::io::{self, IsTerminal, Write};

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use comfy_table::{Attribute, Color, ContentArrangement, Table, presets};

use crate::{clock, failure::Failure, json};

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people, with ids and exact times.
    Wide,
    /// The API's JSON, unchanged.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names only.
    Name,
}

/// How texts for people are to look.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Ids and exact times too.
    pub wide: bool,
    /// With colour, which only ever repeats what words say.
    pub colour: bool,
    /// The present, for ages.
    pub now: DateTime<Utc>,
}

impl View {
    /// For standard output.
    pub fn stdout(format: Format) -> Self {
        Self { wide: format == Format::Wide, colour: colour_wanted(io::stdout().is_terminal()), now: Utc::now() }
    }

    /// A time: local with its age, or exact when wide.
    pub fn time(&self, time: DateTime<Utc>) -> String {
        if self.wide {
            clock::exact(time)
        } else {
            let age = clock::age(self.now, time);
            format!("{} ({age} ago)", clock::local(time))
        }
    }

    /// A time in a column.
    pub fn column_time(&self, time: DateTime<Utc>) -> String {
        if self.wide { clock::exact(time) } else { clock::local(time) }
    }

    /// An age in a column.
    pub fn age(&self, time: DateTime<Utc>) -> String {
        clock::age(self.now, time)
    }
}

/// Source of the rule: no-color.org; `TERM=dumb` knows no colour either.
fn colour_wanted(terminal: bool) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    terminal && !no_color && !dumb
}

/// Writes to standard output at once.
///
/// # Errors
/// [`Failure::Output`], which a closed pipe makes a quiet end.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// [`print`] for bytes as they came.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// Prints a JSON document of the API in a machine's format, or else what `people` says.
///
/// # Errors
/// As [`print`], and when `people` fails.
pub fn print_document(
    format: Format,
    raw: &str,
    name: &str,
    people: impl FnOnce(View) -> Result<String, Failure>,
) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Wide => print(&people(View::stdout(format))?),
        Format::Json => print(&json::pretty(raw)),
        Format::Yaml => print(&json::to_yaml(raw)?),
        Format::Name => print(&format!("{name}\n")),
    }
}

/// A hint, warning or progress line. Standard error may be closed; that is nobody's failure.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says which moment is shown, on standard error.
pub fn note_moment(moment: Option<&str>) {
    if let Some(moment) = moment {
        note(&format!("as it was {moment}"));
    }
}

/// How good a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// No judgement.
    Plain,
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Someone should look.
    Bad,
}

impl Tone {
    /// Of a state's word, whichever kind it is of.
    pub fn of_state(state: &str) -> Self {
        match state {
            "running" | "active" | "ready" | "available" | "online" => Self::Good,
            "back_off" | "failed" | "not_ready" | "offline" | "error" => Self::Bad,
            "stopped" | "paused" => Self::Plain,
            _ => Self::Busy,
        }
    }

    fn colour(self) -> Option<Color> {
        match self {
            Self::Plain => None,
            Self::Good => Some(Color::Green),
            Self::Busy => Some(Color::Yellow),
            Self::Bad => Some(Color::Red),
        }
    }

    fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => 32,
            Self::Busy => 33,
            Self::Bad => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How good that is.
    pub tone: Tone,
}

impl Cell {
    /// A state.
    pub fn state(state: &str) -> Self {
        Self { text: state.to_owned(), tone: Tone::of_state(state) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

/// A table: a head line, then a line for each row, columns two spaces apart. An empty cell is `-`.
pub fn table(headers: &[&str], rows: Vec<Vec<Cell>>, colour: bool) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(
        headers.iter().map(|text| {
            let cell = comfy_table::Cell::new(text);
            if colour { cell.add_attribute(Attribute::Bold) } else { cell }
        }),
    );
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in rows {
        table.add_row(row.into_iter().map(|cell| {
            let text = match cell.text.as_str() {
                "" => "-".to_owned(),
                text => text.replace(['\n', '\r', '\t'], " "),
            };
            let styled = comfy_table::Cell::new(text);
            match cell.tone.colour() {
                Some(colour) => styled.fg(colour),
                None => styled,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if colour {
        text = text.replace(" \x1b[0m\n", "\x1b[0m\n");
    }
    text
}

/// Keys and values of one thing, in sections.
#[derive(Debug, Default)]
pub struct Sheet {
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Section(&'static str),
    Pair(String, Cell),
}

impl Sheet {
    /// Begins a section.
    pub fn section(&mut self, title: &'static str) {
        self.lines.push(Line::Section(title));
    }

    /// A key and what there is to say about it.
    pub fn pair(&mut self, key: &str, value: impl Into<Cell>) {
        self.lines.push(Line::Pair(key.to_owned(), value.into()));
    }

    /// The same where there may be nothing to say.
    pub fn pair_if(&mut self, key: &str, value: Option<impl Into<Cell>>) {
        if let Some(value) = value {
            self.pair(key, value);
        }
    }

    /// The text; values in one column, sections without content left out.
    pub fn render(&self, colour: bool) -> String {
        let key_width = self
            .lines
            .iter()
            .filter_map(|line| match line {
                Line::Section(_) => None,
                Line::Pair(key, _) => Some(key.chars().count()),
            })
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        let mut indent = "";
        for (index, line) in self.lines.iter().enumerate() {
            match line {
                Line::Section(title) => {
                    if !matches!(self.lines.get(index + 1), Some(Line::Pair(..))) {
                        continue;
                    }
                    indent = "  ";
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    if colour {
                        text.push_str(&format!("\x1b[1m{title}\x1b[0m\n"));
                    } else {
                        text.push_str(&format!("{title}\n"));
                    }
                }
                Line::Pair(key, value) => {
                    let words = match value.text.as_str() {
                        "" => "-",
                        words => words,
                    };
                    let words = if colour { value.tone.paint(words) } else { words.to_owned() };
                    let pad = " ".repeat(key_width - key.chars().count() + 4 - indent.len());
                    text.push_str(&format!("{indent}{key}{pad}{words}\n"));
                }
            }
        }
        text
    }
}

/// Labels as people type them.
pub fn labels(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A length in bytes, in binary units.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// MiB, as GiB where that is a whole number.
pub fn mebibytes(count: u64) -> String {
    if count >= 1024 && count.is_multiple_of(1024) { format!("{} GiB", count / 1024) } else { format!("{count} MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_end_without_blanks() {
        let rows = vec![
            vec!["a".into(), Cell::state("running"), "".into()],
            vec!["long-name".into(), Cell::state("failed"), "x\ny".into()],
        ];
        assert_eq!(
            table(&["NAME", "STATE", "NODE"], rows, false),
            "NAME       STATE    NODE\na          running  -\nlong-name  failed   x y\n"
        );
    }

    #[test]
    fn colour_repeats_the_word_and_never_stands_alone() {
        let rows = vec![vec![Cell::state("running")]];
        let text = table(&["STATE"], rows, true);
        assert!(text.contains("running") && text.contains("\x1b["), "{text:?}");
    }

    #[test]
    fn sheets_leave_empty_sections_out() {
        let mut sheet = Sheet::default();
        sheet.pair("name", "hello");
        sheet.section("Nothing");
        sheet.section("Disk");
        sheet.pair("size", "4 GiB");
        sheet.pair_if("volume", None::<String>);
        assert_eq!(sheet.render(false), "name    hello\n\nDisk\n  size  4 GiB\n");
    }
}
