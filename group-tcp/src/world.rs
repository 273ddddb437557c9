//! All processes that were started together.

use std::fmt;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use halovae_engine::group::{
    Answer, Cancel, Expected, Limits, Neighbours, Payload, ProcessRank, Reach, Tag, Transport,
    TransportEnded, UnderWay, Watch,
};

use crate::meeting::{Meeting, Met, TcpError};
use crate::peer::Peer;

/// How long rank 0 may take to say where it watches.
const WATCH_LIMIT: Duration = Duration::from_secs(30);

/// How long messages under way may take at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// One process's end of a group over TCP.
pub type TcpRank = ProcessRank<Messages>;

/// The connections to the other processes; none to oneself.
type Peers = Vec<Option<Peer>>;

/// This process among all that were started together.
pub struct World {
    rank: u32,
    neighbours: Neighbours,
    reach: Reach,
    /// Where rank 0 is, for the others.
    root: Option<IpAddr>,
    peers: Arc<Peers>,
    groups: AtomicU32,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {} processes over TCP", self.rank, self.size())
    }
}

impl World {
    /// Meets the other processes. All call this at about the same time.
    ///
    /// # Errors
    /// [`TcpError`].
    pub fn join(meeting: &Meeting) -> Result<Self, TcpError> {
        let Met { streams, cores, reach } = meeting.meet()?;
        let root = streams[0].as_ref().map(TcpStream::peer_addr).transpose()?;
        let root = root.map(|address| address.ip());
        let peers = streams
            .into_iter()
            .enumerate()
            .map(|(rank, stream)| stream.map(|stream| Peer::new(rank, stream)).transpose());
        let peers = Arc::new(peers.collect::<io::Result<Peers>>()?);
        let neighbours = Neighbours::of(meeting.rank as usize, &cores);
        let groups = AtomicU32::new(0);
        Ok(Self { rank: meeting.rank, neighbours, reach, root, peers, groups })
    }

    /// This process's rank.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// How many processes there are.
    pub fn size(&self) -> u32 {
        self.peers.len() as u32
    }

    /// The processes that share this one's cores.
    pub fn neighbours(&self) -> Neighbours {
        self.neighbours
    }

    /// A group of the first `size` processes, or of all if there are fewer; `None` in the others. All
    /// processes call this, with the same arguments and as often.
    ///
    /// # Errors
    /// [`TcpError::Watch`].
    pub fn group(
        &self,
        size: u32,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<Option<TcpRank>, TcpError> {
        let group = self.groups.fetch_add(1, Ordering::Relaxed);
        let size = size.min(self.size());
        if self.rank >= size {
            return Ok(None);
        }
        let watch = Watch::begin(self.rank, size, self.reach, limits, self.root, |text| {
            self.broadcast(text, size)
        });
        let watch = watch.map_err(TcpError::Watch)?;
        let messages = Messages { group, peers: self.peers.clone() };
        Ok(Some(TcpRank::new(watch, messages, cancel)))
    }

    fn broadcast(&self, text: Vec<u8>, size: u32) -> io::Result<Vec<u8>> {
        if self.rank > 0 {
            let root = self.peers[0].as_ref().and_then(|root| root.text(WATCH_LIMIT));
            return root.ok_or_else(|| io::Error::other("nothing was heard of rank 0"));
        }
        for peer in self.peers[..size as usize].iter().flatten() {
            peer.send_text(text.clone()).map_err(|_| io::ErrorKind::NotConnected)?;
        }
        Ok(text)
    }

    /// Ends the connections, when what is under way has arrived.
    pub fn finish(self) {
        let until = Instant::now() + FLUSH_LIMIT;
        self.peers.iter().flatten().for_each(Peer::close);
        self.peers.iter().flatten().for_each(|peer| peer.join(until));
    }
}

/// The messages of a group.
pub struct Messages {
    group: u32,
    peers: Arc<Peers>,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "messages of group {}", self.group)
    }
}

impl Messages {
    fn peer(&self, rank: u32) -> Result<&Peer, TransportEnded> {
        self.peers.get(rank as usize).and_then(Option::as_ref).ok_or(TransportEnded)
    }
}

impl Transport for Messages {
    const NAME: &'static str = "TCP";

    fn send(
        &self,
        to: u32,
        tag: Tag,
        payload: Payload,
        under_way: UnderWay,
    ) -> Result<(), TransportEnded> {
        self.peer(to)?.send(self.group, tag, payload, to, under_way)
    }

    fn receive(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
        answer: Answer,
    ) -> Result<(), TransportEnded> {
        self.peer(from)?.mailbox.want((self.group, tag), expected, answer);
        Ok(())
    }

    fn leave(&self) {
        self.peers.iter().flatten().for_each(|peer| peer.mailbox.leave(self.group));
    }
}
