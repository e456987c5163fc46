//! Where a message ends.
//!
//! OVSDB servers send JSON objects back to back, with nothing between them (RFC 7047 section 4). An object ends where
//! its braces are balanced, outside of strings; every byte is looked at once, however many pieces a message comes in.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest message that is taken, bytes; the first copy of a large database is the longest that there is.
pub const MESSAGE_MAX: usize = 256 << 20;

/// How much room is made for the next piece, bytes.
const PIECE: usize = 64 << 10;

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub(super) struct Frames {
    /// What came and is not yet part of a whole message; whitespace between messages is dropped.
    buffer: BytesMut,
    /// How much of the buffer has been looked at.
    scanned: usize,
    /// How many braces are open there.
    depth: usize,
    within: Within,
    message_max: usize,
}

#[derive(Clone, Copy, Debug)]
enum Within {
    Structure,
    String,
    /// In a string, after a backslash.
    Escape,
}

/// Why the stream cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FramingError {
    #[error("a message begins with byte {0:#04x} instead of a brace")]
    NoObject(u8),
    #[error("a message is longer than {0} bytes")]
    TooLong(usize),
}

impl Frames {
    pub fn new() -> Self {
        Self::with_limit(MESSAGE_MAX)
    }

    fn with_limit(message_max: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, depth: 0, within: Within::Structure, message_max }
    }

    /// Where to put the next bytes: at the end of this buffer, which has room for some.
    pub fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < PIECE / 4 {
            self.buffer.reserve(PIECE);
        }
        &mut self.buffer
    }

    /// The next whole message, if there is one.
    pub fn next(&mut self) -> Result<Option<Bytes>, FramingError> {
        if self.scanned == 0 {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.advance(blank);
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'{') => {}
                Some(other) => return Err(FramingError::NoObject(*other)),
            }
        }
        let length = self.scan();
        if length.unwrap_or(self.buffer.len()) > self.message_max {
            return Err(FramingError::TooLong(self.message_max));
        }
        let Some(length) = length else { return Ok(None) };
        self.scanned = 0;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Looks at what was not yet looked at; answers with the length of the message if it ends there.
    fn scan(&mut self) -> Option<usize> {
        while let Some(rest) = self.buffer.get(self.scanned..)
            && !rest.is_empty()
        {
            let found = match self.within {
                Within::Structure => memchr::memchr3(b'{', b'}', b'"', rest),
                Within::String => memchr::memchr2(b'"', b'\\', rest),
                Within::Escape => Some(0),
            };
            let Some(found) = found else {
                self.scanned = self.buffer.len();
                return None;
            };
            self.scanned += found + 1;
            self.within = match (self.within, rest[found]) {
                (Within::Structure, b'{') => {
                    self.depth += 1;
                    Within::Structure
                }
                (Within::Structure, b'}') => {
                    // A message begins with a brace that opens, so one is open here.
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(self.scanned);
                    }
                    Within::Structure
                }
                (Within::String, b'\\') => Within::Escape,
                (Within::String, _) => Within::Structure,
                (Within::Structure | Within::Escape, _) => Within::String,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames) -> Result<Vec<String>, FramingError> {
        let mut messages = Vec::new();
        while let Some(message) = frames.next()? {
            messages.push(String::from_utf8(message.to_vec()).unwrap());
        }
        Ok(messages)
    }

    const MESSAGES: [&str; 5] = [
        "{}",
        r#"{"a":{"b":[{},{}]}}"#,
        r#"{"braces in texts":"}}}{{{\"}\\"}"#,
        r#"{"\\":"\\\\\"","ü":"{ü}"}"#,
        "{ \"spaces\" :\n [ ] }",
    ];

    #[test]
    fn messages_are_found_in_whatever_pieces_they_come() {
        for between in ["", "\n", " \r\n\t"] {
            let stream = MESSAGES.map(|message| format!("{between}{message}")).concat();
            for piece in 1..stream.len() {
                let mut frames = Frames::new();
                let mut found = Vec::new();
                for bytes in stream.as_bytes().chunks(piece) {
                    frames.room().extend_from_slice(bytes);
                    found.extend(all(&mut frames).unwrap());
                }
                assert_eq!(found, MESSAGES, "in pieces of {piece} bytes");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (stream, byte) in [("[]", b'['), ("}", b'}'), ("{}x", b'x'), ("\0", 0)] {
            let mut frames = Frames::new();
            frames.room().extend_from_slice(stream.as_bytes());
            assert_eq!(all(&mut frames), Err(FramingError::NoObject(byte)), "{stream}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_ends() {
        let mut frames = Frames::with_limit(8);
        frames.room().extend_from_slice(br#"{"a": 1}{"a": "#);
        assert_eq!(frames.next().unwrap().unwrap(), r#"{"a": 1}"#);
        assert_eq!(frames.next(), Ok(None));
        frames.room().extend_from_slice(b"100");
        assert_eq!(frames.next(), Err(FramingError::TooLong(8)));
    }
}
