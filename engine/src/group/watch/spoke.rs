//! The end of the watch that every rank but 0 has.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use super::pulse::{Clock, Pulse};
use super::rendezvous::Rendezvous;
use super::shared::Shared;
use super::wire::Message;
use crate::group::GroupError;

/// A connection to the hub.
pub(super) struct Spoke {
    stream: Arc<Mutex<TcpStream>>,
}

impl Spoke {
    pub(super) fn open(shared: &Arc<Shared>, rendezvous: &Rendezvous) -> io::Result<Self> {
        let reader = rendezvous.connect(shared.rank)?;
        let stream = Arc::new(Mutex::new(reader.try_clone()?));
        let pulse = Arc::new(Mutex::new(Pulse::new()));
        let spoke = Self { stream };
        let (of_reader, of_pulse) = (shared.clone(), pulse.clone());
        let back = Self { stream: spoke.stream.clone() };
        std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || back.listen(reader, &of_reader, &of_pulse))?;
        let (of_beats, beats) = (shared.clone(), Self { stream: spoke.stream.clone() });
        std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || beats.beat(&of_beats, &pulse))?;
        Ok(spoke)
    }

    /// Tells the hub. If it is gone, the listening thread finds out.
    pub(super) fn tell(&self, message: &Message) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = message.write(&mut stream);
    }

    /// Says good-bye if `in_peace`, and ends the connection.
    pub(super) fn leave(&self, in_peace: bool) {
        if in_peace {
            self.tell(&Message::Left);
        }
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Already closed is as good.
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn listen(&self, mut reader: TcpStream, shared: &Shared, pulse: &Mutex<Pulse>) {
        loop {
            match Message::read(&mut reader) {
                Ok(Message::Beat { progress, waiting }) => {
                    let mut pulse = pulse.lock().unwrap_or_else(PoisonError::into_inner);
                    pulse.beat((progress, waiting));
                }
                Ok(Message::Failed(failure)) => {
                    shared.end(GroupError::Failed(failure));
                    // The hub waits for this before its process ends.
                    self.tell(&Message::Left);
                }
                Ok(Message::Cancelled) => {
                    shared.end(GroupError::Cancelled);
                    self.tell(&Message::Left);
                }
                Ok(Message::Agreed) => shared.set(|state| state.agreed = true),
                Ok(Message::AllDone) => shared.set(|state| state.all_done = true),
                Ok(Message::Left) => {
                    shared.set(|state| state.unwatched = true);
                    return;
                }
                Ok(
                    Message::Hello { .. } | Message::Welcome | Message::Facts(_) | Message::Done(_),
                )
                | Err(_) => {
                    shared.orphan(shared.lost(0));
                    shared.set(|state| state.unwatched = true);
                    return;
                }
            }
        }
    }

    fn beat(&self, shared: &Shared, pulse: &Mutex<Pulse>) {
        let mut clock = Clock::new(shared.limits.beat());
        while !shared.is_over() {
            let (progress, waiting) = shared.beat();
            self.tell(&Message::Beat { progress, waiting });
            let late = clock.tick();
            let silent = {
                let mut pulse = pulse.lock().unwrap_or_else(PoisonError::into_inner);
                pulse.forgive(late);
                pulse.heard.elapsed() > shared.limits.silence
            };
            if silent {
                let failure = shared.silent(0);
                // Should it ever wake up, it learns that it was given up.
                self.tell(&Message::Failed(failure.clone()));
                shared.orphan(failure);
            }
        }
    }
}
