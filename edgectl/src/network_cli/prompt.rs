//! The prompt: lines with history and completion.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::{CommandFactory as _, Parser as _};
use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::Validator,
};

use super::{Line, perform, site::Site};
use crate::{
    client::Client,
    failure::{self, Failure},
    output,
};

/// Lines that are remembered.
const HISTORY_MAX: usize = 1000;

/// Reads lines and performs them, until the end of input, `quit` or `exit`.
pub(super) async fn run(client: &Client) -> Result<(), Failure> {
    let mut editor = editor()?;
    let at_terminal = io::stdin().is_terminal();
    let history = history_file().filter(|_| at_terminal);
    let (mut all, mut failed) = (0, 0);
    if let Some(file) = &history {
        // None yet: it begins now.
        let _ = editor.load_history(file);
    }
    if at_terminal {
        output::note("the site's virtual network; help tells the commands, TAB completes, quit ends");
    }
    loop {
        // Names come and go while one works.
        match Site::read(client).await {
            Ok(site) => set_names(&mut editor, site.names()),
            Err(error) => output::note(&format!("network-cli: {}", failure::line(&error))),
        }
        // The terminal is read in a thread of its own, so that an end of the process is not held up.
        let (returned, line) = tokio::task::spawn_blocking(move || {
            let line = editor.readline("network> ");
            (editor, line)
        })
        .await
        .map_err(|error| Failure::Failed(error.to_string()))?;
        editor = returned;
        let line = match line {
            Ok(line) => line,
            // Control-C leaves the line, not the prompt.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Failure::Failed(format!("the terminal can't be read: {error}"))),
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if matches!(line, "quit" | "exit") {
            break;
        }
        // It may be a line of before, which is remembered already.
        let _ = editor.add_history_entry(line);
        match line {
            "help" | "?" => help()?,
            line => {
                all += 1;
                failed += usize::from(!obey(client, line).await?);
            }
        }
    }
    if let Some(file) = history {
        remember(&mut editor, &file);
    }
    // A person has seen it; a script that sent lines looks at the end.
    if failed > 0 && !at_terminal { Err(Failure::Some { failed, all }) } else { Ok(()) }
}

fn editor() -> Result<Editor<Words, FileHistory>, Failure> {
    let terminal = |error: ReadlineError| Failure::Failed(format!("the terminal can't be used: {error}"));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY_MAX)
        .map_err(terminal)?
        .auto_add_history(false)
        .build();
    let mut editor = Editor::with_config(config).map_err(terminal)?;
    editor.set_helper(Some(Words::default()));
    Ok(editor)
}

fn set_names(editor: &mut Editor<Words, FileHistory>, names: Vec<String>) {
    if let Some(words) = editor.helper_mut() {
        words.names = names;
    }
}

/// Whether it was done. What fails is told, and the prompt goes on; but for output that is gone.
async fn obey(client: &Client, line: &str) -> Result<bool, Failure> {
    let line = match Line::try_parse_from(line.split_whitespace()) {
        Ok(line) => line,
        Err(error) => {
            output::note(error.to_string().trim_end());
            return Ok(false);
        }
    };
    match perform(client, line.command).await {
        Err(failure @ Failure::Output(_)) => Err(failure),
        Err(failure) => {
            output::note(&format!("network-cli: {}", failure::line(&failure)));
            Ok(false)
        }
        Ok(()) => Ok(true),
    }
}

fn help() -> Result<(), Failure> {
    let mut text = String::new();
    for command in commands() {
        text.push_str(&format!(
            "{:<10}  {}\n",
            command.get_name(),
            command.get_about().map(ToString::to_string).unwrap_or_default()
        ));
    }
    text.push_str("quit        Ends\n\nEach takes a name, and -o json: ports web, routes edge -o json\n");
    output::print(&text)
}

fn commands() -> Vec<clap::Command> {
    Line::command().get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect()
}

/// Source of the place: XDG Base Directory Specification, `XDG_STATE_HOME`.
fn history_file() -> Option<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("edgectl/network-cli-history"))
}

fn remember(editor: &mut Editor<Words, FileHistory>, file: &PathBuf) {
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    let saved = made.map_err(ReadlineError::from).and_then(|()| editor.save_history(file));
    if let Err(error) = saved {
        output::note(&format!("network-cli: the history can't be kept in {}: {error}", file.display()));
    }
}

/// What can be typed: a command first, then names.
#[derive(Default)]
struct Words {
    names: Vec<String>,
}

impl Words {
    /// The words that fit, and where the word begins that they are for.
    fn fitting(&self, before: &str) -> (usize, Vec<String>) {
        let begin = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = before.get(begin..).unwrap_or_default();
        let is_first = before.get(..begin).is_none_or(|before| before.trim().is_empty());
        let all = if is_first {
            let names = commands().into_iter().map(|command| command.get_name().to_owned());
            names.chain(["help", "quit"].map(str::to_owned)).collect()
        } else {
            self.names.clone()
        };
        (begin, all.into_iter().filter(|one| one.starts_with(word)).collect())
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (begin, words) = self.fitting(line.get(..at).unwrap_or(line));
        let pair = |word: String| Pair { display: word.clone(), replacement: word };
        Ok((begin, words.into_iter().map(pair).collect()))
    }
}

impl Helper for Words {}
impl Highlighter for Words {}
impl Hinter for Words {
    type Hint = String;
}
impl Validator for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_first_and_names_after_it() {
        let words = Words { names: vec!["vm:web".into(), "web".into(), "wide".into()] };
        assert_eq!(words.fitting("to"), (0, vec!["topology".into()]));
        assert_eq!(words.fitting("ports we"), (6, vec!["web".into()]));
        assert_eq!(words.fitting("trace vm:"), (6, vec!["vm:web".into()]));
        assert!(words.fitting("").1.contains(&"quit".to_owned()));
    }

    #[test]
    fn every_command_can_be_typed_at_the_prompt() {
        for line in [
            "topology",
            "ports web",
            "routes -o json",
            "trace vm:a b tcp/22",
            "ping a --from network:blue -c 2",
            "counters",
        ] {
            assert!(Line::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
        for line in ["topolgy", "trace a", "remove-vm a"] {
            assert!(Line::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
