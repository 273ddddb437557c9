//! An `.mp4` with one video, that players can begin before they have all of it: what describes the
//! frames lies before them.
//!
//! Frames are written as they come. Their number is known, so there is an upper bound of what their
//! description takes; that room is left free and filled at the end.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use super::boxes::{self, Samples};
use super::track::Track;

/// More than sets of parameters and all boxes but the tables of frames take.
const ROOM: u64 = 4096;
/// A box with a length of 64 bits.
const LONG_HEAD: u64 = 16;

/// Writes the file.
pub(super) struct Muxer<W: Write + Seek = File> {
    out: BufWriter<W>,
    track: Track,
    /// Bytes of the room, behind which the box of the frames begins.
    room: u64,
    place: u64,
    sizes: Vec<u32>,
    keys: Vec<u32>,
}

impl<W: Write + Seek> Muxer<W> {
    /// Begins an empty file.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn begin(file: W, track: Track) -> io::Result<Self> {
        let mut out = BufWriter::new(file);
        let ftyp = boxes::ftyp();
        let room = ROOM + 8 * track.frames as u64;
        let place = ftyp.len() as u64;
        out.write_all(&ftyp)?;
        let mut muxer = Self { out, track, room, place, sizes: Vec::new(), keys: Vec::new() };
        muxer.write_free(room)?;
        muxer.out.write_all(&[0, 0, 0, 1])?;
        muxer.out.write_all(b"mdat")?;
        muxer.out.write_all(&[0; 8])?;
        Ok(muxer)
    }

    /// A box without meaning, of `length` bytes or more than 8.
    fn write_free(&mut self, length: u64) -> io::Result<()> {
        let content = vec![0; length as usize - 8];
        self.out.write_all(&boxes::of(b"free", &[&content]))
    }

    /// Writes the next frame; whether it needs none before it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&mut self, sample: &[u8], is_key: bool) -> io::Result<()> {
        let too_large = |_| io::Error::other("a frame of more than 4 GiB");
        self.sizes.push(u32::try_from(sample.len()).map_err(too_large)?);
        if is_key {
            self.keys.push(self.sizes.len() as u32);
        }
        self.out.write_all(sample)
    }

    /// Completes the file; `configuration` is the content of an `avcC` box.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn finish(mut self, configuration: &[u8]) -> io::Result<W> {
        let Self { room, place, track, .. } = self;
        let start = place + room + LONG_HEAD;
        let bytes: u64 = self.sizes.iter().map(|&size| u64::from(size)).sum();
        let samples = Samples { configuration, sizes: &self.sizes, keys: &self.keys, start };
        let moov = boxes::moov(track, &samples);
        let rest = room.checked_sub(moov.len() as u64).filter(|&rest| rest >= 8);
        if let Some(rest) = rest {
            self.out.seek(SeekFrom::Start(place))?;
            self.out.write_all(&moov)?;
            self.write_free(rest)?;
        } else {
            // More frames than were told: at the end it is as good, but for players that begin early.
            self.out.write_all(&moov)?;
        }
        self.out.seek(SeekFrom::Start(place + room + 8))?;
        self.out.write_all(&(LONG_HEAD + bytes).to_be_bytes())?;
        self.out.flush()?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::frame_rate::FrameRate;

    /// The boxes in some bytes, by name, with their contents.
    fn parse(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
        let mut boxes = Vec::new();
        while !bytes.is_empty() {
            let short = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let (head, length) = match short {
                1 => (16, u64::from_be_bytes(bytes[8..16].try_into().unwrap()) as usize),
                length => (8, length),
            };
            boxes.push((bytes[4..8].try_into().unwrap(), &bytes[head..length]));
            bytes = &bytes[length..];
        }
        boxes
    }

    fn find<'a>(bytes: &'a [u8], path: &str) -> &'a [u8] {
        path.split('/').fold(bytes, |bytes, name| {
            let boxes = parse(bytes);
            boxes.iter().find(|(kind, _)| kind == name.as_bytes()).expect(name).1
        })
    }

    fn words(bytes: &[u8]) -> Vec<u32> {
        bytes.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
    }

    proptest::proptest! {
        /// A reader that knows the standard finds each frame, its time, and whether it is a key.
        #[test]
        fn frames_are_found_again(
            frames in proptest::collection::vec((1usize..300, proptest::bool::ANY), 1..40),
            told in proptest::option::of(0usize..3),
            rate in (1u32..=u32::MAX, 1u32..=u32::MAX),
            common in proptest::bool::ANY,
            sides in (1usize..=65535, 1usize..=65535),
        ) {
            let (count, per) = if common { (30000, 1001) } else { rate };
            let rate: FrameRate = format!("{count}/{per}").parse().unwrap();
            // As many as there are, or fewer than that.
            let told = told.unwrap_or(frames.len());
            let track = Track { width: sides.0, height: sides.1, frames: told, rate };
            let mut muxer = Muxer::begin(Cursor::new(Vec::new()), track).unwrap();
            let content = |index: usize, length: usize| vec![index as u8; length];
            for (index, &(length, is_key)) in frames.iter().enumerate() {
                muxer.write(&content(index, length), is_key).unwrap();
            }
            let file = muxer.finish(&[9; 40]).unwrap().into_inner();

            let kinds: Vec<_> = parse(&file).iter().map(|(kind, _)| *kind).collect();
            if told >= frames.len() {
                let expected: [&[u8; 4]; 4] = [b"ftyp", b"moov", b"free", b"mdat"];
                proptest::prop_assert!(kinds.iter().eq(expected));
            }
            let stbl = find(&file, "moov/trak/mdia/minf/stbl");
            let sizes = words(&find(stbl, "stsz")[4..]);
            proptest::prop_assert_eq!(&sizes[..2], [0, frames.len() as u32]);
            let mut at = words(find(stbl, "stco"))[2] as usize;
            for (index, (&size, &(length, _))) in sizes[2..].iter().zip(&frames).enumerate() {
                proptest::prop_assert_eq!(size as usize, length);
                proptest::prop_assert_eq!(&file[at..at + length], &content(index, length)[..]);
                at += length;
            }
            let keys = frames.iter().enumerate().filter(|(_, frame)| frame.1);
            let keys: Vec<u32> = keys.map(|(index, _)| index as u32 + 1).collect();
            proptest::prop_assert_eq!(&words(find(stbl, "stss"))[2..], &keys[..]);
            proptest::prop_assert_eq!(words(find(stbl, "stsc"))[2..].to_vec(), [1, frames.len() as u32, 1]);

            // The rate is exact, and every duration says the same.
            let stts = words(find(stbl, "stts"));
            let mdhd = find(&file, "moov/trak/mdia/mdhd");
            let time = |bytes: &[u8], at: [usize; 2], between: usize| match bytes[0] {
                0 => u64::from(words(&bytes[at[0] + between..])[0]),
                _ => u64::from_be_bytes(bytes[at[1] + between..][..8].try_into().unwrap()),
            };
            let scale = words(&mdhd[if mdhd[0] == 0 { 12 } else { 20 }..])[0];
            proptest::prop_assert_eq!(stts[2] as usize, frames.len());
            let exact = u64::from(scale) * u64::from(per) == u64::from(stts[3]) * u64::from(count);
            proptest::prop_assert!(exact);
            let all = u64::from(stts[3]) * frames.len() as u64;
            let tkhd = find(&file, "moov/trak/tkhd");
            proptest::prop_assert_eq!(time(mdhd, [12, 20], 4), all);
            proptest::prop_assert_eq!(time(find(&file, "moov/mvhd"), [12, 20], 4), all);
            proptest::prop_assert_eq!(time(tkhd, [12, 20], 8), all);
            let ends: Vec<u32> = [sides.0, sides.1].map(|side| (side as u32) << 16).into();
            proptest::prop_assert_eq!(&words(&tkhd[tkhd.len() - 8..]), &ends);

            let avc1 = &find(stbl, "stsd")[8 + 8..];
            let [width, height] = [24, 26].map(|at| usize::from(u16::from_be_bytes([avc1[at], avc1[at + 1]])));
            proptest::prop_assert_eq!((width, height), sides);
            proptest::prop_assert_eq!(find(&avc1[78..], "avcC"), &[9; 40]);
            let colr = find(&avc1[78..], "colr");
            proptest::prop_assert_eq!(colr, b"nclx\0\x01\0\x01\0\x01\0");
        }
    }
}
