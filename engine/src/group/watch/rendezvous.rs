//! Where the hub of a watch is found.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::wire::Message;

/// How far away the other ranks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All are on this machine: no other machine can connect.
    ThisMachine,
    /// Some are on other machines.
    Network,
}

/// Where the hub listens, and the token by which hub and ranks know each other. Travels to the
/// ranks by whatever connects them already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendezvous {
    token: String,
    port: u16,
    /// Names and addresses of the hub's machine, the likeliest first.
    hosts: Vec<String>,
}

/// How long a rank tries to reach the hub, and the hub waits for a rank.
pub(super) const JOIN_LIMIT: Duration = Duration::from_secs(30);

/// How long one address may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long a write may block: the other end does not read, and others must not wait for it.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

impl Rendezvous {
    /// Opens a port for the other ranks.
    pub(super) fn open(reach: Reach) -> io::Result<(TcpListener, Self)> {
        let (address, hosts) = match reach {
            Reach::ThisMachine => (Ipv4Addr::LOCALHOST, vec![Ipv4Addr::LOCALHOST.to_string()]),
            Reach::Network => (Ipv4Addr::UNSPECIFIED, own_hosts()),
        };
        let listener = TcpListener::bind((address, 0))?;
        let port = listener.local_addr()?.port();
        // Keys of hash maps come from the system's source of randomness.
        let half = || RandomState::new().hash_one(port);
        let token = format!("{:016x}{:016x}", half(), half());
        Ok((listener, Self { token, port, hosts }))
    }

    /// Another place where the hub's machine may be found, likelier than all others.
    pub(super) fn look_first_at(&mut self, address: IpAddr) {
        self.hosts.insert(0, address.to_string());
    }

    /// Connects to the hub as rank `rank`.
    pub(super) fn connect(&self, rank: u32) -> io::Result<TcpStream> {
        let start = Instant::now();
        loop {
            let mut last = io::Error::other("it has no address");
            for address in self.addresses() {
                match self.greet(address, rank) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            if start.elapsed() > JOIN_LIMIT {
                let hosts = self.hosts.join(", ");
                let message = format!("rank 0 is not reached at port {} of {hosts}", self.port);
                return Err(io::Error::new(last.kind(), format!("{message}: {last}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let of = |host: &String| (host.as_str(), self.port).to_socket_addrs();
        self.hosts.iter().filter_map(|host| of(host).ok()).flatten().collect()
    }

    fn greet(&self, address: SocketAddr, rank: u32) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        set_up(&stream)?;
        Message::Hello { token: self.token.clone(), rank }.write(&mut stream)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        match Message::read_hello(&mut stream)? {
            Message::Welcome => {}
            _ => return Err(io::Error::other("another program answers there")),
        }
        stream.set_read_timeout(None)?;
        Ok(stream)
    }

    /// The rank at the other end of a new connection; an error if it is none of ours.
    pub(super) fn receive(&self, stream: &mut TcpStream) -> io::Result<u32> {
        // On some systems a connection inherits the mode of the listener.
        stream.set_nonblocking(false)?;
        set_up(stream)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        match Message::read_hello(stream)? {
            Message::Hello { token, rank } if token == self.token => {
                stream.set_read_timeout(None)?;
                Ok(rank)
            }
            _ => Err(io::Error::other("not a rank of this group")),
        }
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))
}

/// Loopback for the ranks beside the hub, then what others may know this machine by.
fn own_hosts() -> Vec<String> {
    let mut hosts = vec![Ipv4Addr::LOCALHOST.to_string()];
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    hosts.extend(name.ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
    hosts.extend(own_address().map(|address| address.to_string()));
    hosts
}

/// The address of this machine on the way out. Nothing is sent: connecting a UDP socket only looks
/// the way up.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address reserved for documentation (RFC 5737): any that is not local does.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
