//! What one message of the stream holds: a commit, or several as JSON Lines, in their order.
//!
//! A commit has no line feed ([`check_entry`](crate::chain::check_entry) refuses one that has), so a message of a single
//! commit is a single line, and whoever reads lines reads both.

use bytes::Bytes;
use serde::Deserialize;

/// The commits of a message, each byte for byte as it was appended, without copying.
pub(super) fn split(payload: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = Some(payload.clone());
    std::iter::from_fn(move || {
        let mut line = rest.take()?;
        if let Some(end) = memchr::memchr(b'\n', &line) {
            rest = Some(line.split_off(end + 1));
            line.truncate(end);
        }
        Some(line)
    })
}

/// How many commits a message holds.
pub(super) fn count(payload: &Bytes) -> u64 {
    memchr::memchr_iter(b'\n', payload).count() as u64 + 1
}

/// What the first commit says of its own place; `None` when it is no commit. A hint where to look, never a proof: the
/// chain is that.
pub(super) fn first_sequence(payload: &Bytes) -> Option<u64> {
    #[derive(Deserialize)]
    struct Place {
        sequence: u64,
    }
    let first = split(payload).next()?;
    serde_json::from_slice::<Place>(&first).ok().map(|place| place.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_the_lines_it_holds() {
        for (payload, lines) in
            [("a", vec!["a"]), ("a\nb\nc", vec!["a", "b", "c"]), ("", vec![""]), ("a\n", vec!["a", ""])]
        {
            let payload = Bytes::from_static(payload.as_bytes());
            assert_eq!(split(&payload).collect::<Vec<_>>(), lines, "{payload:?}");
            assert_eq!(count(&payload), lines.len() as u64, "{payload:?}");
        }
    }

    #[test]
    fn the_first_commit_tells_where_the_message_stands() {
        let of = |text: &'static str| first_sequence(&Bytes::from_static(text.as_bytes()));
        assert_eq!(of("{\"id\":\"x\",\"sequence\":7}\n{\"sequence\":8}"), Some(7));
        assert_eq!(of("junk\n{\"sequence\":8}"), None);
    }
}
