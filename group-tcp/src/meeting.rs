//! How processes come together.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use halovae_engine::group::{Reach, own_cores};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How long all processes may take to come. Those of several machines do not start at once.
const MEETING_LIMIT: Duration = Duration::from_secs(60);

/// How long a process that has connected may take to say which rank it is.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// From one look for others to the next.
const POLL: Duration = Duration::from_millis(5);

/// The longest that is said at a meeting: a line for each of some thousand processes.
const MAX_BYTES: u32 = 1 << 20;

/// Which process this is, and where all of them meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Which one this is.
    pub rank: u32,
    /// How many there are.
    pub size: u32,
    /// Rank 0's machine: a name or an address.
    pub host: String,
    /// Where rank 0 listens there.
    pub port: u16,
}

/// Why processes do not come together over TCP.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// A rank that is none of those that there are.
    #[error("this is rank {rank} of {size}; ranks are 0 to SIZE - 1")]
    Rank {
        /// The rank.
        rank: u32,
        /// How many there are.
        size: u32,
    },
    /// Rank 0 cannot listen there.
    #[error("rank 0 cannot listen at {host}, port {port}; MASTER_PORT names another one")]
    Listen {
        /// As the meeting has it.
        host: String,
        /// As the meeting has it.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// Rank 0 is not there.
    #[error("rank 0 is not reached at {host}, port {port} (MASTER_ADDR, MASTER_PORT)")]
    Reach {
        /// As the meeting has it.
        host: String,
        /// As the meeting has it.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// Not all came.
    #[error("rank {rank} did not come within {MEETING_LIMIT:?}")]
    Missing {
        /// The first of them.
        rank: u32,
    },
    /// Another process does not fit this one.
    #[error("{0}")]
    Refused(String),
    /// A connection ended, or the system gives no thread.
    #[error("the processes lost each other while they met")]
    Lost(#[from] io::Error),
    /// The ranks cannot watch over each other.
    #[error("the ranks cannot reach each other over TCP, by which they notice if one fails")]
    Watch(#[source] io::Error),
}

/// What a process says to rank 0.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// What both must have the same of.
    program: String,
    size: u32,
    rank: u32,
    /// Where it listens for those behind it.
    port: u16,
    cores: Cores,
}

/// The cores that a process runs on: its machine, and which of them.
pub(crate) type Cores = (String, String);

/// What rank 0 answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Welcome(Welcome),
    Refused(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Welcome {
    /// By which they know each other.
    token: String,
    /// Where each of them listens; no address where it is rank 0's machine.
    addresses: Vec<(Option<IpAddr>, u16)>,
    cores: Vec<Cores>,
}

/// What one process says to another.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    token: String,
    rank: u32,
}

/// Processes that have met.
pub(crate) struct Met {
    /// The connection to each of them, none to oneself.
    pub(crate) streams: Vec<Option<TcpStream>>,
    pub(crate) cores: Vec<Cores>,
    pub(crate) reach: Reach,
}

fn say(stream: &mut TcpStream, what: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(what)?;
    let mut frame = (text.len() as u32).to_le_bytes().to_vec();
    frame.extend(text);
    stream.write_all(&frame)
}

fn hear<T: DeserializeOwned>(stream: &mut TcpStream, limit: Duration) -> io::Result<T> {
    stream.set_read_timeout(Some(limit))?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > MAX_BYTES {
        return Err(io::Error::other("another program answers there"));
    }
    let mut text = vec![0; len as usize];
    stream.read_exact(&mut text)?;
    stream.set_read_timeout(None)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Version and byte order: values travel as they lie in memory.
fn program() -> String {
    let order = if cfg!(target_endian = "big") { "big" } else { "little" };
    format!("halovae {}, {order} endian", env!("CARGO_PKG_VERSION"))
}

fn cores() -> Cores {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let machine = read("/proc/sys/kernel/hostname") + &read("/proc/sys/kernel/random/boot_id");
    (machine, own_cores())
}

/// Listens where those can connect that reach this machine by such an address.
fn listen(near: &[IpAddr], port: u16) -> io::Result<TcpListener> {
    let listener = match near.iter().all(IpAddr::is_loopback) {
        true if near.iter().all(IpAddr::is_ipv6) => TcpListener::bind(("::1", port)),
        true => TcpListener::bind((Ipv4Addr::LOCALHOST, port)),
        false if near.iter().all(IpAddr::is_ipv6) => TcpListener::bind(("::", port)),
        false => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
    }?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The next process that connects; none after the deadline.
fn accept(listener: &TcpListener, deadline: Instant) -> Option<TcpStream> {
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((stream, _)) => {
                // On some systems a connection inherits the mode of the listener.
                let set = stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true));
                if set.is_ok() {
                    return Some(stream);
                }
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
    None
}

impl Meeting {
    pub(crate) fn meet(&self) -> Result<Met, TcpError> {
        let Self { rank, size, .. } = *self;
        if rank >= size {
            return Err(TcpError::Rank { rank, size });
        }
        match rank {
            0 => self.host_all(),
            _ => self.join_all(),
        }
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// Rank 0 learns where every rank listens, and tells all.
    fn host_all(&self) -> Result<Met, TcpError> {
        let deadline = Instant::now() + MEETING_LIMIT;
        let failed = |source| TcpError::Listen { host: self.host.clone(), port: self.port, source };
        let near: Vec<IpAddr> =
            self.addresses().map_err(failed)?.iter().map(SocketAddr::ip).collect();
        let listener = listen(&near, self.port).map_err(failed)?;
        let mut streams: Vec<Option<TcpStream>> = (0..self.size).map(|_| None).collect();
        let mut addresses = vec![(None, self.port); self.size as usize];
        let mut all_cores = vec![cores(); self.size as usize];
        while let Some(missing) = (1..).zip(&streams[1..]).find(|(_, stream)| stream.is_none()) {
            let (rank, _) = missing;
            let mut stream = accept(&listener, deadline).ok_or(TcpError::Missing { rank })?;
            // Strangers are turned away, and what they say is no error of ours.
            let Ok(hello) = hear::<Hello>(&mut stream, HELLO_LIMIT) else { continue };
            if let Err(why) = self.suits(&hello, &streams) {
                // If it has gone, it knows.
                let _ = say(&mut stream, &Answer::Refused(why.clone()));
                return Err(TcpError::Refused(why));
            }
            let address = stream.peer_addr()?.ip();
            let rank = hello.rank as usize;
            addresses[rank] = ((!address.is_loopback()).then_some(address), hello.port);
            all_cores[rank] = hello.cores;
            streams[rank] = Some(stream);
        }
        let half = || RandomState::new().hash_one(self.port);
        let token = format!("{:016x}{:016x}", half(), half());
        let welcome = Welcome { token, addresses, cores: all_cores.clone() };
        for stream in streams.iter_mut().flatten() {
            say(stream, &Answer::Welcome(welcome.clone()))?;
        }
        let is_near = welcome.addresses.iter().all(|(address, _)| address.is_none());
        let reach = if is_near { Reach::ThisMachine } else { Reach::Network };
        Ok(Met { streams, cores: all_cores, reach })
    }

    /// Why a process cannot be one of these.
    fn suits(&self, hello: &Hello, streams: &[Option<TcpStream>]) -> Result<(), String> {
        let Hello { program: other, size, rank, .. } = hello;
        let own = program();
        if *other != own {
            return Err(format!(
                "rank 0 is {own}, rank {rank} is {other}; start all with one program"
            ));
        }
        if *size != self.size {
            return Err(format!(
                "rank 0 is one of {} ranks, rank {rank} is one of {size}",
                self.size
            ));
        }
        match streams.get(*rank as usize) {
            Some(None) if *rank > 0 => Ok(()),
            _ => Err(format!("two processes were started as rank {rank}")),
        }
    }

    /// Another rank tells rank 0 where it listens, and connects to all before it.
    fn join_all(&self) -> Result<Met, TcpError> {
        let deadline = Instant::now() + MEETING_LIMIT;
        let mut root = self.reach_root(deadline)?;
        let near = root.local_addr()?.ip();
        let listener = listen(&[near], 0)?;
        let port = listener.local_addr()?.port();
        let (rank, size) = (self.rank, self.size);
        say(&mut root, &Hello { program: program(), size, rank, port, cores: cores() })?;
        let Welcome { token, addresses, cores } = match hear(&mut root, MEETING_LIMIT)? {
            Answer::Welcome(welcome) => welcome,
            Answer::Refused(why) => return Err(TcpError::Refused(why)),
        };
        let root_address = root.peer_addr()?.ip();
        let is_near = addresses.iter().all(|(address, _)| address.is_none());
        let reach = if is_near { Reach::ThisMachine } else { Reach::Network };
        let mut streams: Vec<Option<TcpStream>> = (0..size).map(|_| None).collect();
        streams[0] = Some(root);
        for (before, &(address, port)) in addresses.iter().enumerate().take(rank as usize).skip(1) {
            let to = SocketAddr::new(address.unwrap_or(root_address), port);
            let mut stream = TcpStream::connect_timeout(&to, MEETING_LIMIT)?;
            stream.set_nodelay(true)?;
            say(&mut stream, &Greeting { token: token.clone(), rank })?;
            streams[before] = Some(stream);
        }
        while let Some(missing) = (rank + 1..size).find(|&rank| streams[rank as usize].is_none()) {
            let stream = accept(&listener, deadline);
            let mut stream = stream.ok_or(TcpError::Missing { rank: missing })?;
            let Ok(greeting) = hear::<Greeting>(&mut stream, HELLO_LIMIT) else { continue };
            if greeting.token == token && (rank + 1..size).contains(&greeting.rank) {
                streams[greeting.rank as usize] = Some(stream);
            }
        }
        Ok(Met { streams, cores, reach })
    }

    fn reach_root(&self, deadline: Instant) -> Result<TcpStream, TcpError> {
        loop {
            let connected = self.addresses().and_then(|addresses| {
                let mut last = io::Error::other("it has no address");
                for address in addresses {
                    match TcpStream::connect_timeout(&address, HELLO_LIMIT) {
                        Ok(stream) => return Ok(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            });
            match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(source) if Instant::now() > deadline => {
                    return Err(TcpError::Reach {
                        host: self.host.clone(),
                        port: self.port,
                        source,
                    });
                }
                // It may not have started yet.
                Err(_) => std::thread::sleep(10 * POLL),
            }
        }
    }
}
