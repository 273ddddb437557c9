//! The connection to one other process, and the threads at this end of it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use halovae_engine::group::{Payload, Refused, Tag, TransportEnded, UnderWay};

use crate::mailbox::Mailbox;
use crate::wire::{self, Head, Kind};

/// How long the end of a connection is kept back: if its process has ended, the watch tells why.
const GRACE: Duration = Duration::from_secs(3);

/// What is sent.
enum Outgoing {
    Message { group: u32, tag: Tag, payload: Payload, to: u32, under_way: UnderWay },
    Text(Vec<u8>),
}

/// Another process.
pub(crate) struct Peer {
    pub(crate) mailbox: Arc<Mailbox>,
    outgoing: Mutex<Option<Sender<Outgoing>>>,
    /// Texts that have come.
    texts: Mutex<Receiver<Vec<u8>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Peer {
    pub(crate) fn new(rank: usize, stream: TcpStream) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let (outgoing, to_send) = channel();
        let (text, texts) = channel();
        let (of_reader, reader) = (mailbox.clone(), stream.try_clone()?);
        let read = move || listen(reader, of_reader, &text);
        let reading = std::thread::Builder::new().name(format!("from rank {rank}")).spawn(read)?;
        let write = move || send_all(stream, &to_send);
        let writing = std::thread::Builder::new().name(format!("to rank {rank}")).spawn(write)?;
        Ok(Self {
            mailbox,
            outgoing: Mutex::new(Some(outgoing)),
            texts: Mutex::new(texts),
            threads: Mutex::new(vec![writing, reading]),
        })
    }

    fn put(&self, outgoing: Outgoing) -> Result<(), TransportEnded> {
        let sender = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().ok_or(TransportEnded)?.send(outgoing).map_err(|_| TransportEnded)
    }

    pub(crate) fn send(
        &self,
        group: u32,
        tag: Tag,
        payload: Payload,
        to: u32,
        under_way: UnderWay,
    ) -> Result<(), TransportEnded> {
        self.put(Outgoing::Message { group, tag, payload, to, under_way })
    }

    pub(crate) fn send_text(&self, text: Vec<u8>) -> Result<(), TransportEnded> {
        self.put(Outgoing::Text(text))
    }

    /// Waits for a text.
    pub(crate) fn text(&self, limit: Duration) -> Option<Vec<u8>> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.recv_timeout(limit).ok()
    }

    /// Sends nothing more than what is on its way.
    pub(crate) fn close(&self) {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until both ends have [closed](Self::close), or until then.
    pub(crate) fn join(&self, until: Instant) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            while !thread.is_finished() {
                if Instant::now() > until {
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            // A panic there has been told where it happened.
            let _ = thread.join();
        }
    }
}

/// Until all senders are gone. What cannot be written is dropped: the watch knows of its receiver.
fn send_all(mut stream: TcpStream, to_send: &Receiver<Outgoing>) {
    let mut broken = false;
    for outgoing in to_send {
        let (head, body): (Head, &[u8]) = match &outgoing {
            Outgoing::Message { group, tag, payload, .. } => {
                (Head::of_message(*group, *tag, payload), payload.as_bytes())
            }
            Outgoing::Text(text) => {
                let len = text.len() as u64;
                (Head { kind: Kind::Text, group: 0, tag: Tag(0), len }, text)
            }
        };
        broken = broken || wire::write(&mut stream, head, body).is_err();
        if let Outgoing::Message { to, under_way, .. } = outgoing {
            under_way.arrived(to);
        }
    }
    // Already closed is as good.
    let _ = stream.shutdown(Shutdown::Write);
}

/// Until the other end closes.
fn listen(mut stream: TcpStream, mailbox: Arc<Mailbox>, texts: &Sender<Vec<u8>>) {
    let mut next = || -> io::Result<bool> {
        let Some(Head { kind, group, tag, len }) = Head::read(&mut stream)? else {
            return Ok(false);
        };
        match kind {
            Kind::Text => {
                // No thread waits for it if this process is about to end.
                let _ = texts.send(wire::read_bytes(&mut stream, len)?);
            }
            Kind::Values => {
                mailbox.wait_for_room();
                let values = wire::read_values(&mut stream, len)?;
                mailbox.deliver((group, tag), values.map(Payload::Values).ok_or(Refused::Memory));
            }
            Kind::Bytes => {
                mailbox.wait_for_room();
                let bytes = wire::read_bytes(&mut stream, len)?;
                mailbox.deliver((group, tag), Ok(Payload::Bytes(bytes)));
            }
        }
        Ok(true)
    };
    while let Ok(true) = next() {}
    // The end of a process that was killed looks the same as one in peace.
    std::thread::spawn(move || {
        std::thread::sleep(GRACE);
        mailbox.end();
    });
}
