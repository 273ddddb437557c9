//! Decodes of a size that was decoded before: the first one is taken down, the second one is captured as
//! a graph in one block of memory, and from then on the graph alone is launched.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halovae_engine::backend::BackendError;
use halovae_engine::tensor::Shape;

use super::{CudaBackend, CudaWeights};
use crate::arena::{Arena, Place};
use crate::kernels::Element;
use crate::store::{Block, Spare, Store};
use crate::stream::Graph;
use crate::tape::Tape;
use crate::value::Value;

/// Sizes that are remembered: those of tiles at the edges of a picture, of some pictures.
const MOST_KNOWN: usize = 16;

/// What is taken down of a decode at most. More of it takes so long that launches do not count.
const MOST_MOMENTS: usize = 8192;

/// Whose weights decode what.
type Key = (u64, Shape);

/// What a rank can repeat.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    known: HashMap<Key, Known>,
    /// The memory of all graphs, of which one runs at a time.
    arena: Option<Arc<Block>>,
}

#[derive(Debug)]
enum Known {
    /// What memory it asks for.
    Taped(Arena),
    /// How it is done in the arena.
    Captured { arena: Arena, graph: Graph, output: Output },
    /// It is not the same each time.
    Never,
}

/// Where the result lies.
#[derive(Clone, Copy, Debug)]
struct Output {
    shape: Shape,
    element: Element,
    place: Place,
}

impl Spare for Mutex<Repeats> {
    fn let_go(&self) -> bool {
        // The thread that holds the lock has done this.
        self.try_lock().is_ok_and(|mut repeats| repeats.let_go())
    }
}

impl Repeats {
    /// Frees the arena, and with it all graphs, unless a result in it is still in use.
    fn let_go(&mut self) -> bool {
        if self.arena.as_ref().is_none_or(|arena| Arc::strong_count(arena) > 1) {
            return false;
        }
        for known in self.known.values_mut() {
            if let Known::Captured { arena, .. } = known {
                let arena = arena.clone();
                *known = Known::Taped(arena);
            }
        }
        self.arena = None;
        true
    }

    /// The memory for so many bytes, unless a result in it is still in use. Graphs of a smaller one are gone.
    fn arena(
        &mut self,
        backend: &CudaBackend,
        bytes: u64,
    ) -> Result<Option<Arc<Block>>, BackendError> {
        if let Some(arena) = &self.arena {
            if arena.bytes() >= bytes && Arc::strong_count(arena) == 1 {
                return Ok(Some(arena.clone()));
            }
            if !self.let_go() {
                return Ok(None);
            }
        }
        let arena = Arc::new(backend.store.block("a decode that is repeated", bytes)?);
        Ok(Some(self.arena.insert(arena).clone()))
    }
}

/// Bytes of the arena, with the input behind all else; and its place.
fn with_input(arena: &Arena, input: &Value) -> (u64, Place) {
    let place = Place { offset: arena.bytes, bytes: input.bytes() };
    (place.offset + place.bytes, place)
}

impl CudaBackend {
    /// How many sizes it decodes by a graph.
    pub fn graphs(&self) -> usize {
        let captured = |known: &&Known| matches!(known, Known::Captured { .. });
        self.repeats().known.values().filter(captured).count()
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        // What a panic left is what was known before.
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn repeat_decode<E: From<BackendError>>(
        &self,
        weights: &CudaWeights,
        input: Value,
        once: &mut dyn FnMut(Value) -> Result<Value, E>,
    ) -> Result<Value, E> {
        if self.shared.options.without_graphs {
            return once(input);
        }
        let key = (weights.number, input.shape);
        let mut repeats = self.repeats();
        match repeats.known.get(&key) {
            None => self.take_down(&mut repeats, key, input, once),
            Some(Known::Never) => {
                repeats.let_go();
                once(input)
            }
            Some(Known::Taped(arena)) => {
                let arena = arena.clone();
                match self.capture(&mut repeats, &arena, &input, once) {
                    Ok(Some((graph, output, value))) => {
                        let captured = Known::Captured { arena, graph, output };
                        repeats.known.insert(key, captured);
                        Ok(value)
                    }
                    Ok(None) => once(input),
                    Err(()) => {
                        repeats.let_go();
                        let value = once(input)?;
                        // It can be done, but not captured.
                        repeats.known.insert(key, Known::Never);
                        Ok(value)
                    }
                }
            }
            Some(Known::Captured { arena, graph, output }) => {
                let (_, place) = with_input(arena, &input);
                let block = repeats.arena.as_ref().filter(|block| Arc::strong_count(block) == 1);
                let Some(block) = block else { return once(input) };
                self.store.copy(block.part(place).pointer(), input.pointer(), input.bytes())?;
                self.store.stream.launch(graph)?;
                Ok(output.of(block))
            }
        }
    }

    /// Decodes, and remembers which memory that takes.
    fn take_down<E>(
        &self,
        repeats: &mut Repeats,
        key: Key,
        input: Value,
        once: &mut dyn FnMut(Value) -> Result<Value, E>,
    ) -> Result<Value, E> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);

        // Both at once would be the memory of two decodes.
        repeats.let_go();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let tape = Tape::Writing { number, moments: Vec::new(), requests: 0 };
        let taping = Taping::begin(&self.store, tape);
        let output = once(input)?;
        let Tape::Writing { moments, .. } = taping.end() else {
            unreachable!("only this decode sets it")
        };
        if repeats.known.len() >= MOST_KNOWN {
            repeats.known.clear();
        }
        let known = match moments.len() <= MOST_MOMENTS {
            true => Known::Taped(Arena::new(&moments)),
            false => Known::Never,
        };
        repeats.known.insert(key, known);
        Ok(output)
    }

    /// Captures a decode and launches it. `None` if its memory is in use, an error if it cannot be.
    fn capture<E>(
        &self,
        repeats: &mut Repeats,
        arena: &Arena,
        input: &Value,
        once: &mut dyn FnMut(Value) -> Result<Value, E>,
    ) -> Result<Option<(Graph, Output, Value)>, ()> {
        let (bytes, place) = with_input(arena, input);
        let Some(block) = repeats.arena(self, bytes).map_err(drop)? else { return Ok(None) };
        let Value { shape, element, .. } = *input;
        let inside = Value { shape, element, block: block.part(place) };
        self.store.copy(inside.pointer(), input.pointer(), input.bytes()).map_err(drop)?;
        let places = arena.places.clone();
        let count = places.len();
        let tape = Tape::Reading { arena: block.clone(), places, next: 0 };
        let taping = Taping::begin(&self.store, tape);
        let capture = self.store.stream.capture().map_err(drop)?;
        let result = once(inside);
        let graph = capture.end();
        let was_all = matches!(taping.end(), Tape::Reading { next, .. } if next == count);
        let (Ok(value), Ok(graph), true) = (result, graph, was_all) else { return Err(()) };
        let offset = value.pointer().checked_sub(block.pointer()).ok_or(())?;
        let place = Place { offset, bytes: value.bytes() };
        let output = Output { shape: value.shape, element: value.element, place };
        self.store.stream.launch(&graph).map_err(drop)?;
        Ok(Some((graph, output, value)))
    }
}

/// A tape that is in use until this is dropped.
struct Taping<'a>(&'a Store);

impl<'a> Taping<'a> {
    fn begin(store: &'a Store, tape: Tape<Block>) -> Self {
        *store.tape() = tape;
        Self(store)
    }

    /// What has become of it.
    fn end(self) -> Tape<Block> {
        std::mem::take(&mut *self.0.tape())
    }
}

impl Drop for Taping<'_> {
    fn drop(&mut self) {
        *self.0.tape() = Tape::Off;
    }
}

impl Output {
    fn of(self, block: &Arc<Block>) -> Value {
        Value { shape: self.shape, element: self.element, block: block.part(self.place) }
    }
}
