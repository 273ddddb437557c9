//! What travels between a rank and the hub: frames of a length (u32, little endian) and JSON.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde::{Deserialize, Serialize};

use crate::group::{Failure, GroupError};

/// The longest frame that is read: a rank's report of a decode of many pieces.
const MAX_FRAME_BYTES: u32 = 64 << 20;

/// The longest first frame of a connection, whose other end may be a stranger.
const MAX_HELLO_BYTES: u32 = 256;

/// What all ranks must have the same of: its name, and a digest of it.
pub type Fact = (String, String);

/// One frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// The first one of a rank.
    Hello { token: String, rank: u32 },
    /// The hub's answer to it.
    Welcome,
    /// The sender is alive; whether its worker waits for others, and how far it is.
    Beat { progress: u64, waiting: bool },
    /// A rank failed. From a rank: it or another, as it thinks; from the hub: the verdict.
    Failed(Failure),
    /// A caller cancelled.
    Cancelled,
    /// What a rank was started with.
    Facts(Vec<Fact>),
    /// All have the same facts.
    Agreed,
    /// A rank has done its part; what it reports.
    Done(String),
    /// All ranks have done their part.
    AllDone,
    /// The sender goes, and nothing is wrong.
    Left,
}

impl From<GroupError> for Message {
    fn from(verdict: GroupError) -> Self {
        match verdict {
            GroupError::Failed(failure) => Self::Failed(failure),
            GroupError::Cancelled => Self::Cancelled,
        }
    }
}

impl Message {
    /// Writes one frame.
    pub(super) fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let len = u32::try_from(json.len()).ok().filter(|&len| len <= MAX_FRAME_BYTES);
        let len = len.ok_or_else(|| io::Error::other("a message too long to send"))?;
        let mut frame = len.to_le_bytes().to_vec();
        frame.extend(json);
        stream.write_all(&frame)
    }

    /// Reads one frame of a rank that has shown the token.
    pub(super) fn read(stream: &mut TcpStream) -> io::Result<Self> {
        read_up_to(stream, MAX_FRAME_BYTES)
    }

    /// Reads the first frame of a connection.
    pub(super) fn read_hello(stream: &mut TcpStream) -> io::Result<Self> {
        read_up_to(stream, MAX_HELLO_BYTES)
    }
}

fn read_up_to(stream: &mut TcpStream, max: u32) -> io::Result<Message> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of impossible length"));
    }
    let mut json = vec![0; len as usize];
    stream.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}
