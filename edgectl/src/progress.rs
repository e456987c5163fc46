//! The progress line on standard error: a spinner or bar on a terminal, plain
//! lines elsewhere, each thing said once.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{client::Sent, output};

/// A line that tells how far waiting has come.
pub struct Progress {
    spinner: Option<ProgressBar>,
    said: String,
}

impl Progress {
    /// Begins quietly.
    pub fn new() -> Self {
        let spinner = io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Self { spinner, said: String::new() }
    }

    /// Says where things are; the same `key` again is not news. What went wrong
    /// stays on a terminal, where the spinner's one line may be too short for it.
    pub fn say(&mut self, key: &str, text: &str, went_wrong: bool) {
        let news = key != self.said;
        match &self.spinner {
            Some(spinner) => {
                if news && went_wrong {
                    spinner.println(text);
                }
                spinner.set_message(text.to_owned());
            }
            None if news => output::note(text),
            None => {}
        }
        key.clone_into(&mut self.said);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// A bar over bytes that are sent. The closure takes each chunk's length, `None` at a new attempt.
pub fn upload(name: &str, length: u64) -> (ProgressBar, Sent) {
    let bar = if io::stderr().is_terminal() {
        let bar = ProgressBar::new(length);
        let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar
    } else {
        output::note(&format!("{name}: sending {}", output::bytes(length)));
        ProgressBar::hidden()
    };
    let told = bar.clone();
    let progress = Arc::new(move |chunk: Option<usize>| match chunk {
        Some(length) => told.inc(length as u64),
        None => told.set_position(0),
    });
    (bar, progress)
}
