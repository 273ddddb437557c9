//! Frames as they come.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use halovae::{
    Cancel, Control, Error, Event, Frame, HostTensor, Observer, PerFrame, Strategy, Vae,
};
use halovae_engine::tensor::Shape;
use halovae_tests::compare::assert_same_bytes;
use halovae_tests::decode::{long_video, random_tensor};

use super::{golden, one_thread};

fn joined(frames: Vec<Frame>, like: &HostTensor) -> HostTensor {
    let Shape { frames: per_video, .. } = like.shape();
    let places: Vec<_> = frames.iter().map(|frame| (frame.image, frame.index)).collect();
    let expected: Vec<_> =
        (0..like.shape().images()).map(|at| (at / per_video, at % per_video)).collect();
    assert_eq!(places, expected);
    let data = frames.into_iter().flat_map(|frame| frame.pixels.into_data()).collect();
    HostTensor::new(like.shape(), data).expect("as many values")
}

#[test]
fn a_stream_has_every_frame_once_in_order() {
    let (vae, latents) = golden("wan");
    let Shape { height, width, channels, .. } = latents.shape();
    let two = random_tensor(Shape::new(2, height, width, channels).over(3), 3);
    for strategy in [Strategy::Whole, Strategy::Tiled, Strategy::Sharded] {
        let ranks = if strategy == Strategy::Whole { 1 } else { 2 };
        let decoder = Arc::new(vae.decoder(&one_thread().ranks(ranks).strategy(strategy)).unwrap());
        let expected = decoder.decode(&two).unwrap();
        let written = Arc::new(Written::default());
        let mut stream = decoder.frames_with(two.clone(), written.clone(), Cancel::new()).unwrap();
        assert_eq!(stream.shape(), expected.shape());
        assert!(stream.done().is_none());
        let pulled: Result<Vec<Frame>, _> = stream.by_ref().collect();
        assert_same_bytes("pulled", &joined(pulled.unwrap(), &expected), &expected);
        assert!(stream.done().is_some_and(|done| !done.share.pieces.is_empty()));
        assert!(stream.next().is_none() && stream.done().is_some());
        let rows = expected.shape().images() * expected.shape().height;
        assert_eq!(written.rows.load(Ordering::SeqCst), rows);
        let mut pushed = Vec::new();
        let mut sink = PerFrame::new(|frame| {
            pushed.push(frame);
            Ok(())
        });
        decoder.decode_into(&two, &mut sink, &Control::default()).unwrap();
        let frame = pushed.first().expect("a frame");
        let bytes = frame.to_bytes();
        // In numpy's arithmetic, as diffusers writes pictures.
        let byte = |value: &f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even();
        let expected_bytes: Vec<f32> = frame.pixels.data().iter().map(byte).collect();
        assert_eq!(bytes.iter().copied().map(f32::from).collect::<Vec<_>>(), expected_bytes);
        assert_same_bytes("pushed", &joined(pushed, &expected), &expected);
    }
}

/// Counts frames of which all rows are written.
#[derive(Default)]
struct Written {
    rows: AtomicUsize,
}

impl Observer for Written {
    fn event(&self, event: Event) {
        if let Event::RowsWritten { rows } = event {
            self.rows.fetch_add(rows as usize, Ordering::SeqCst);
        }
    }
}

/// A stream that is dropped ends the decode, and the decoder decodes on.
#[test]
fn a_dropped_stream_ends_its_decode() {
    let (vae, _) = golden("wan");
    let decoder = Arc::new(vae.decoder(&one_thread()).unwrap());
    let latents = long_video();
    let mut frames = decoder.frames(latents.clone()).unwrap();
    let first = frames.next().expect("a frame").expect("no failure");
    assert_eq!((first.image, first.index), (0, 0));
    // Returns when the thread has ended, which is long before the last frame.
    drop(frames);
    assert_eq!(Arc::strong_count(&decoder), 1, "the decode has ended");
    let again = decoder.frames(latents).unwrap().next().expect("a frame").expect("no failure");
    assert_eq!(again, first);
}

#[test]
fn what_ends_a_decode_is_told() {
    let (vae, latents) = golden("wan");
    let decoder = Arc::new(vae.decoder(&one_thread()).unwrap());
    // Latents of another VAE.
    let wrong = HostTensor::zeros(Shape::new(1, 4, 4, 7)).unwrap();
    let told: Vec<_> = decoder.frames(wrong).unwrap().collect();
    assert!(matches!(told[..], [Err(Error::Decode(_))]), "{told:?}");
    // What cannot be planned is told at once.
    let none = HostTensor::zeros(Shape::new(0, 4, 4, latents.shape().channels)).unwrap();
    assert!(matches!(decoder.frames(none), Err(Error::Option(_))));
    // A cancelled stream ends with that.
    let cancel = Cancel::new();
    let observer = Arc::new(Written::default());
    let mut frames = decoder.frames_with(long_video(), observer, cancel.clone()).unwrap();
    frames.next().expect("a frame").expect("no failure");
    cancel.cancel();
    let last = frames.by_ref().find_map(Result::err);
    assert!(matches!(last, Some(Error::Cancelled)), "{last:?}");
    assert!(frames.next().is_none() && frames.done().is_none());
    // A sink that takes no more, after which the decoder decodes on.
    let mut sink = PerFrame::new(|frame: Frame| match frame.index {
        2 => Err(io::Error::other("enough")),
        _ => Ok(()),
    });
    let error = decoder.decode_into(&latents, &mut sink, &Control::default()).unwrap_err();
    assert!(error.to_string().contains("enough"), "{error}");
    let cancel = Cancel::new();
    cancel.cancel();
    let mut taken = 0;
    let mut sink = PerFrame::new(|_| {
        taken += 1;
        Ok(())
    });
    let cancelled = decoder.decode_into(&latents, &mut sink, &Control::new(cancel));
    assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    assert_eq!(taken, 0);
    let written = Written::default();
    let mut sink = PerFrame::new(|_| Ok(()));
    let control = Control::default().observed(&written);
    decoder.decode_into(&latents, &mut sink, &control).unwrap();
    let rows = decoder.decode(&latents).unwrap().shape();
    assert_eq!(written.rows.into_inner(), rows.images() * rows.height);
}

/// An observer that fails.
struct Panics;

impl Observer for Panics {
    fn event(&self, event: Event) {
        if let Event::RowsWritten { .. } = event {
            panic!("an observer that fails");
        }
    }
}

/// A stream whose thread panics does not look like one that is complete.
#[test]
fn a_panic_ends_a_stream_with_an_error() {
    let (vae, latents) = golden("wan");
    let decoder = Arc::new(vae.decoder(&one_thread()).unwrap());
    let mut frames = decoder.frames_with(latents, Arc::new(Panics), Cancel::new()).unwrap();
    let last = frames.by_ref().find_map(Result::err);
    match last {
        Some(Error::Panicked(message)) => assert!(message.contains("observer"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(frames.next().is_none() && frames.done().is_none());
}

/// What a decoder is shared by: threads, one after the other.
#[test]
fn types_go_from_thread_to_thread() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    shared::<Vae>();
    shared::<halovae::Decoder>();
    shared::<Error>();
    sent::<halovae::Frames>();
}
