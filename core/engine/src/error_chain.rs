//! An error with all its causes on one line.

use std::error::Error;

/// `outer: cause: cause of the cause`, each layer saying its own part.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
