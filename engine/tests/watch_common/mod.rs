//! Ends of a watch, and connections that are none.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use halovae_engine::group::{GroupError, Limits, Reach, Rendezvous, Watch};

/// Far longer than anything here takes on a busy machine: only against a test that hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Ends of a watch over so many ranks.
pub(crate) fn watches(size: u32, limits: Limits) -> Vec<Watch> {
    let lobby = Watch::host(size, Reach::ThisMachine, limits).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    std::thread::scope(|scope| {
        let join = |rank| {
            let rendezvous = &rendezvous;
            scope.spawn(move || Watch::join(rendezvous, rank, size, limits).expect("rank 0"))
        };
        let joining: Vec<_> = (1..size).map(join).collect();
        let hub = lobby.assemble().expect("all ranks");
        let spokes = joining.into_iter().map(|spoke| spoke.join().expect("no panic"));
        std::iter::once(hub).chain(spokes).collect()
    })
}

/// How a watch ends.
pub(crate) fn end_of(watch: &Watch) -> GroupError {
    let start = Instant::now();
    loop {
        if let Err(end) = watch.check() {
            return end;
        }
        assert!(start.elapsed() < LIMIT, "{watch:?} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A connection that says hello to the hub, and nothing more.
pub(crate) struct Stranger {
    pub(crate) stream: TcpStream,
}

impl Stranger {
    /// Connects with that token and tells that rank.
    pub(crate) fn connect(rendezvous: &Rendezvous, token: Option<&str>, rank: u32) -> Self {
        let told: serde_json::Value = serde_json::to_value(rendezvous).expect("JSON");
        let port = told["port"].as_u64().expect("a port") as u16;
        let token = token.map_or_else(|| told["token"].to_string(), str::to_owned);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the hub listens");
        write_frame(&mut stream, &format!(r#"{{"Hello":{{"token":{token},"rank":{rank}}}}}"#));
        Self { stream }
    }

    /// Whether the hub takes it for a rank.
    pub(crate) fn is_welcome(&mut self) -> bool {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).is_ok()
    }
}

pub(crate) fn write_frame(stream: &mut TcpStream, json: &str) {
    let len = u32::try_from(json.len()).expect("a short frame");
    // The hub may have closed the connection.
    let _ = stream.write_all(&[&len.to_le_bytes(), json.as_bytes()].concat());
}
