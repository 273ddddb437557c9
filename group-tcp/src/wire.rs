//! What travels over a connection: a head, then values, bytes or text.

use std::io::{self, Read, Write};

use halovae_engine::group::{Length, MAX_MESSAGE_BYTES, Payload, Tag};

/// As many values are read at once into memory that grows: what a head promises may be a lie.
const READ_AT_ONCE: usize = 1 << 20;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Values of a message, in the byte order of this machine, which all have.
    Values,
    /// Bytes of a message.
    Bytes,
    /// Text for the process, not for a group.
    Text,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) group: u32,
    pub(crate) tag: Tag,
    /// Values, or bytes.
    pub(crate) len: u64,
}

impl Head {
    pub(crate) const BYTES: usize = 24;

    /// Of a message.
    pub(crate) fn of_message(group: u32, tag: Tag, payload: &Payload) -> Self {
        let (kind, len) = match payload.length() {
            Length::Values(len) => (Kind::Values, len),
            Length::Bytes(len) => (Kind::Bytes, len),
        };
        Self { kind, group, tag, len: len as u64 }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.group.to_le_bytes());
        bytes[4] = match self.kind {
            Kind::Values => 0,
            Kind::Bytes => 1,
            Kind::Text => 2,
        };
        bytes[8..16].copy_from_slice(&self.tag.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// The next head; `None` at the end of the connection.
    pub(crate) fn read(reader: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = [0; Self::BYTES];
        // An end between two messages is one in peace.
        let first = loop {
            match reader.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(some) => break some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        reader.read_exact(&mut bytes[first..])?;
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let kind = match bytes[4] {
            0 => Kind::Values,
            1 => Kind::Bytes,
            2 => Kind::Text,
            _ => return Err(io::Error::other("not a message")),
        };
        let group = u32::from_le_bytes(std::array::from_fn(|i| bytes[i]));
        Ok(Some(Self { kind, group, tag: Tag(long(8)), len: long(16) }))
    }
}

pub(crate) fn write(writer: &mut impl Write, head: Head, body: &[u8]) -> io::Result<()> {
    /// Up to here copying costs less than a packet of its own.
    const SMALL: usize = 16 << 10;
    if body.len() > SMALL {
        writer.write_all(&head.to_bytes())?;
        return writer.write_all(body);
    }
    writer.write_all(&[&head.to_bytes()[..], body].concat())
}

/// Reads so many values. `None` if there is no memory for them; then they are read all the same.
pub(crate) fn read_values(reader: &mut impl Read, len: u64) -> io::Result<Option<Vec<f32>>> {
    let mut values = Vec::new();
    let mut fits = true;
    let mut left = len;
    let mut rest = Vec::new();
    while left > 0 {
        let some = left.min(READ_AT_ONCE as u64) as usize;
        fits = fits && values.try_reserve(some).is_ok();
        let into = if fits {
            let have = values.len();
            values.resize(have + some, 0.0);
            &mut values[have..]
        } else {
            values = Vec::new();
            rest.resize(some, 0.0);
            &mut rest[..]
        };
        reader.read_exact(bytemuck::cast_slice_mut::<f32, u8>(into))?;
        left -= some as u64;
    }
    Ok(fits.then_some(values))
}

/// Reads so many bytes, of a message or a text.
pub(crate) fn read_bytes(reader: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    if len > MAX_MESSAGE_BYTES as u64 {
        return Err(io::Error::other("more bytes than any rank sends"));
    }
    let mut bytes = vec![0; len as usize];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let values: Vec<f32> = (0..READ_AT_ONCE + 5).map(|i| i as f32).collect();
        let mut written = Vec::new();
        let heads =
            [(Kind::Values, values.len()), (Kind::Text, 3), (Kind::Values, 0), (Kind::Bytes, 2)];
        let heads = heads.map(|(kind, len)| Head {
            kind,
            group: 7,
            tag: Tag(u64::MAX - 1),
            len: len as u64,
        });
        write(&mut written, heads[0], bytemuck::cast_slice(&values)).unwrap();
        write(&mut written, heads[1], b"abc").unwrap();
        write(&mut written, heads[2], &[]).unwrap();
        write(&mut written, heads[3], &[255, 0]).unwrap();
        let mut reader = &written[..];
        assert_eq!(Head::read(&mut reader).unwrap(), Some(heads[0]));
        assert_eq!(read_values(&mut reader, heads[0].len).unwrap(), Some(values));
        assert_eq!(Head::read(&mut reader).unwrap(), Some(heads[1]));
        assert_eq!(read_bytes(&mut reader, 3).unwrap(), b"abc");
        assert_eq!(Head::read(&mut reader).unwrap(), Some(heads[2]));
        assert_eq!(read_values(&mut reader, 0).unwrap(), Some(Vec::new()));
        assert_eq!(Head::read(&mut reader).unwrap(), Some(heads[3]));
        assert_eq!(read_bytes(&mut reader, 2).unwrap(), [255, 0]);
        assert_eq!(Head::read(&mut reader).unwrap(), None);
    }

    /// Whatever is cut off is an error, never a panic, and never much memory.
    #[test]
    fn what_is_cut_off_is_an_error() {
        let head = Head { kind: Kind::Values, group: 0, tag: Tag(1), len: u64::MAX / 4 };
        let bytes = head.to_bytes();
        for len in 1..bytes.len() {
            assert!(Head::read(&mut &bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(read_values(&mut &[0; 100][..], head.len).is_err());
        // Of bytes, what is promised is held against the most that there can be before it is read.
        for len in [101, MAX_MESSAGE_BYTES as u64 + 1, head.len] {
            assert!(read_bytes(&mut &[0; 100][..], len).is_err(), "{len} bytes");
        }
        let mut wrong = bytes;
        wrong[4] = 3;
        assert!(Head::read(&mut &wrong[..]).is_err());
    }
}
