//! One process's end of a group over MPI.

use std::sync::mpsc::Sender;

use halovae_engine::group::{
    Answer, Expected, Payload, ProcessRank, Tag, Transport, TransportEnded, UnderWay,
};

use crate::pump::Command;

/// One process's end of a group over MPI.
pub type MpiRank = ProcessRank<Messages>;

/// The messages of a group, by way of the pump.
#[derive(Debug)]
pub struct Messages {
    /// Which of the pump's groups this is.
    pub(crate) group: usize,
    pub(crate) commands: Sender<Command>,
}

impl Transport for Messages {
    const NAME: &'static str = "MPI";

    fn send(
        &self,
        to: u32,
        tag: Tag,
        payload: Payload,
        under_way: UnderWay,
    ) -> Result<(), TransportEnded> {
        let send = Command::Send { group: self.group, to, tag, payload, under_way };
        self.commands.send(send).map_err(|_| TransportEnded)
    }

    fn receive(
        &self,
        from: u32,
        tag: Tag,
        expected: Expected,
        answer: Answer,
    ) -> Result<(), TransportEnded> {
        let receive = Command::Receive { group: self.group, from, tag, expected, reply: answer };
        self.commands.send(receive).map_err(|_| TransportEnded)
    }

    fn leave(&self) {
        // A pump that has ended has no groups.
        let _ = self.commands.send(Command::Leave { group: self.group });
    }
}
