//! Law 6: views are disposable, and come back the same, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod broken;
mod reading;
mod rebuilt;
mod searching;
mod story;
