//! Protobuf wire format, read from a stream: lengths are checked and nothing is kept that is not asked for.
//!
//! Format: <https://protobuf.dev/programming-guides/encoding/>.

use std::io::{BufReader, Read, Seek};

/// What is wrong at a byte of the stream.
#[derive(Debug)]
pub(crate) struct WireError {
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

pub(crate) type WireResult<T> = std::result::Result<T, WireError>;

/// Value of a field. A `Len` payload is still unread: it must be read, entered or skipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Payload {
    Varint(u64),
    Fixed,
    Len(u64),
}

/// Fields visited at most in one file, so that a hostile one ends in an error and not in minutes of work.
const FIELDS_MAX: u64 = 50_000_000;
/// Bytes of names read at most in one file.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// A stream of `len` bytes and the place in it.
pub(crate) struct Wire<R> {
    reader: BufReader<R>,
    position: u64,
    len: u64,
    fields: u64,
    text_bytes: u64,
}

impl<R: Read + Seek> Wire<R> {
    /// Reads `reader` from its present place, which counts as byte 0.
    pub(crate) fn new(reader: R, len: u64) -> Self {
        Self { reader: BufReader::with_capacity(64 << 10, reader), position: 0, len, fields: 0, text_bytes: 0 }
    }

    /// The place in the stream.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// End of the stream.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn error<T>(&self, reason: impl Into<String>) -> WireResult<T> {
        Err(WireError { offset: self.position, reason: reason.into() })
    }

    fn byte(&mut self, end: u64) -> WireResult<u8> {
        if self.position >= end {
            return self.error("the file ends within a field");
        }
        let mut byte = [0];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    fn fill(&mut self, bytes: &mut [u8]) -> WireResult<()> {
        if let Err(error) = self.reader.read_exact(bytes) {
            return self.error(error.to_string());
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// A base-128 number of at most ten bytes.
    pub(crate) fn varint(&mut self, end: u64) -> WireResult<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(end)?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.error("a number is longer than 64 bits; this is not an ONNX file")
    }

    /// The next field before `end`, or `None` at `end`.
    pub(crate) fn field(&mut self, end: u64) -> WireResult<Option<(u64, Payload)>> {
        if self.position == end {
            return Ok(None);
        }
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return self.error(format!("more than {FIELDS_MAX} fields"));
        }
        let key = self.varint(end)?;
        let payload = match key & 7 {
            0 => Payload::Varint(self.varint(end)?),
            1 => self.advance(8, end).map(|()| Payload::Fixed)?,
            2 => {
                let len = self.varint(end)?;
                if len > end - self.position {
                    let left = end - self.position;
                    return self.error(format!("a field of {len} bytes where {left} are left; the file is cut short"));
                }
                Payload::Len(len)
            }
            5 => self.advance(4, end).map(|()| Payload::Fixed)?,
            other => return self.error(format!("wire type {other}; this is not an ONNX file")),
        };
        match key >> 3 {
            0 => self.error("field number 0; this is not an ONNX file"),
            number => Ok(Some((number, payload))),
        }
    }

    fn advance(&mut self, bytes: u64, end: u64) -> WireResult<()> {
        if bytes > end - self.position {
            return self.error("the file ends within a field");
        }
        let Ok(offset) = i64::try_from(bytes) else { return self.error("a field is too long") };
        if let Err(error) = self.reader.seek_relative(offset) {
            return self.error(error.to_string());
        }
        self.position += bytes;
        Ok(())
    }

    /// Passes over what a field holds, without reading it.
    pub(crate) fn skip(&mut self, payload: Payload) -> WireResult<()> {
        match payload {
            Payload::Len(len) => self.advance(len, self.len),
            Payload::Varint(_) | Payload::Fixed => Ok(()),
        }
    }

    /// End of the message of `len` bytes that begins here.
    pub(crate) fn enter(&self, len: u64) -> u64 {
        // `field` checked that the message lies within the stream.
        self.position + len
    }

    /// Text of `len` bytes, at most `bytes_max`.
    pub(crate) fn text(&mut self, len: u64, bytes_max: u64) -> WireResult<String> {
        if len > bytes_max {
            return self.error(format!("a name of {len} bytes, at most {bytes_max} are sound"));
        }
        self.text_bytes += len;
        if self.text_bytes > TEXT_BYTES_MAX {
            return self.error(format!("more than {TEXT_BYTES_MAX} bytes of names"));
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => self.error("a name is not UTF-8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn wire(bytes: &[u8]) -> Wire<Cursor<&[u8]>> {
        Wire::new(Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn numbers_end_after_64_bits() {
        assert_eq!(wire(&[0xac, 0x02]).varint(2).unwrap(), 300);
        let mut longest = [0xff; 10];
        longest[9] = 1;
        assert_eq!(wire(&longest).varint(10).unwrap(), u64::MAX);
        longest[9] = 2;
        assert!(wire(&longest).varint(10).is_err());
        assert!(wire(&[0x80; 11]).varint(11).is_err());
    }

    #[test]
    fn a_field_longer_than_the_file_is_refused_without_being_read() {
        // Field 1 of wire type 2 that claims 2^60 bytes.
        let error = wire(&[0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 1]).field(11).unwrap_err();
        assert!(error.reason.contains("cut short"), "{}", error.reason);
    }

    #[test]
    fn groups_and_field_zero_are_refused() {
        assert!(wire(&[0x0b]).field(1).is_err());
        assert!(wire(&[0x00, 0x00]).field(2).is_err());
    }
}
