//! The boxes that describe a video to its player (ISO/IEC 14496-12).

use super::track::Track;

/// A box.
pub(super) fn of(kind: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
    let length = 8 + content.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    // Tables of one video stay far below: four bytes a frame, of at most u32::MAX frames.
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(kind);
    content.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// A box with a version and flags.
fn full(kind: &[u8; 4], version: u8, flags: u32, content: &[&[u8]]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    let content: Vec<&[u8]> = std::iter::once(&head[..]).chain(content.iter().copied()).collect();
    of(kind, &content)
}

/// Numbers of 32 bits.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Numbers of 16 bits.
fn halves(halves: &[u16]) -> Vec<u8> {
    halves.iter().flat_map(|half| half.to_be_bytes()).collect()
}

/// What a file begins with: H.264 in an ISO file.
pub(super) fn ftyp() -> Vec<u8> {
    of(b"ftyp", &[b"isom", &words(&[0x200]), b"isomiso2avc1mp41"])
}

/// Turned by nothing: a 3 x 3 matrix of fixed-point numbers.
const UPRIGHT: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// What is known of a track when all of its frames are there.
pub(super) struct Samples<'a> {
    /// The content of an `avcC` box.
    pub(super) configuration: &'a [u8],
    /// Bytes of each sample.
    pub(super) sizes: &'a [u32],
    /// Which samples need none before them, from 1 on.
    pub(super) keys: &'a [u32],
    /// Where the first one begins in the file; the others follow.
    pub(super) start: u64,
}

/// Everything but the frames themselves.
pub(super) fn moov(track: Track, samples: &Samples<'_>) -> Vec<u8> {
    let time = Time::of(track, samples.sizes.len());
    of(b"moov", &[&mvhd(&time), &trak(track, &time, samples)])
}

/// Units of time in a second, of a frame, and of all.
struct Time {
    scale: u32,
    frame: u32,
    all: u64,
}

impl Time {
    /// A frame takes a whole number of units, so that the rate is exact.
    fn of(track: Track, frames: usize) -> Self {
        let (mut scale, mut frame) = (track.rate.frames(), track.rate.seconds());
        // Players round what they seek to units, and ffmpeg's own files have no coarser ones.
        while scale < 10_000 && frame < 1 << 16 {
            (scale, frame) = (2 * scale, 2 * frame);
        }
        Self { scale, frame, all: frames as u64 * u64::from(frame) }
    }

    /// The version of boxes that hold the duration, and times of creation (none), scale where there is
    /// one, and duration.
    fn fields(&self, between: &[u32]) -> (u8, Vec<u8>) {
        match u32::try_from(self.all) {
            Ok(all) => (0, [words(&[0, 0]), words(between), words(&[all])].concat()),
            Err(_) => {
                let all = self.all.to_be_bytes().to_vec();
                (1, [words(&[0; 4]), words(between), all].concat())
            }
        }
    }
}

fn mvhd(time: &Time) -> Vec<u8> {
    let (version, fields) = time.fields(&[time.scale]);
    // Normal speed, full volume, and the number of the next track.
    let rest =
        [words(&[0x1_0000, 0x100_0000, 0, 0]), words(&UPRIGHT), words(&[0, 0, 0, 0, 0, 0, 2])];
    full(b"mvhd", version, 0, &[&fields, &rest.concat()])
}

fn trak(track: Track, time: &Time, samples: &Samples<'_>) -> Vec<u8> {
    // Enabled, and part of the presentation; the track has the number 1.
    let (version, fields) = time.fields(&[1, 0]);
    let sides = [track.width, track.height].map(|side| (side as u32) << 16);
    let rest = [words(&[0; 4]), words(&UPRIGHT), words(&sides)].concat();
    let tkhd = full(b"tkhd", version, 3, &[&fields, &rest]);
    of(b"trak", &[&tkhd, &mdia(track, time, samples)])
}

fn mdia(track: Track, time: &Time, samples: &Samples<'_>) -> Vec<u8> {
    let (version, fields) = time.fields(&[time.scale]);
    // No language.
    let mdhd = full(b"mdhd", version, 0, &[&fields, &halves(&[0x55c4, 0])]);
    let hdlr = full(b"hdlr", 0, 0, &[&words(&[0]), b"vide", &words(&[0; 3]), b"VideoHandler\0"]);
    let vmhd = full(b"vmhd", 0, 1, &[&halves(&[0; 4])]);
    // The frames are in this file.
    let url = full(b"url ", 0, 1, &[]);
    let dref = full(b"dref", 0, 0, &[&words(&[1]), &url]);
    let minf = of(b"minf", &[&vmhd, &of(b"dinf", &[&dref]), &stbl(track, time, samples)]);
    of(b"mdia", &[&mdhd, &hdlr, &minf])
}

fn stbl(track: Track, time: &Time, samples: &Samples<'_>) -> Vec<u8> {
    let &Samples { configuration, sizes, keys, start } = samples;
    let count = sizes.len() as u32;
    let stsd = full(b"stsd", 0, 0, &[&words(&[1]), &avc1(track, configuration)]);
    let stts = full(b"stts", 0, 0, &[&words(&[1, count, time.frame])]);
    let stss = full(b"stss", 0, 0, &[&words(&[keys.len() as u32]), &words(keys)]);
    // All frames lie one behind the other, in one chunk.
    let stsc = full(b"stsc", 0, 0, &[&words(&[1, 1, count, 1])]);
    let stsz = full(b"stsz", 0, 0, &[&words(&[0, count]), &words(sizes)]);
    let place = match u32::try_from(start) {
        Ok(start) => full(b"stco", 0, 0, &[&words(&[1, start])]),
        Err(_) => full(b"co64", 0, 0, &[&words(&[1]), &start.to_be_bytes()]),
    };
    of(b"stbl", &[&stsd, &stts, &stss, &stsc, &stsz, &place])
}

fn avc1(track: Track, configuration: &[u8]) -> Vec<u8> {
    let sides = [track.width, track.height].map(|side| side as u16);
    let [width, height] = sides;
    let resolution = words(&[0x48_0000, 0x48_0000, 0]);
    let entry = [
        // The first of the places in `dref`.
        halves(&[0, 0, 0, 1]),
        vec![0; 16],
        halves(&[width, height]),
        resolution,
        halves(&[1]),
        // No name of a compressor; colour without alpha.
        vec![0; 32],
        halves(&[24, 0xffff]),
    ];
    // BT.709 for primaries, transfer and matrix; limited range.
    let colr = of(b"colr", &[b"nclx", &halves(&[1, 1, 1]), &[0]]);
    let pasp = of(b"pasp", &[&words(&[1, 1])]);
    of(b"avc1", &[&entry.concat(), &of(b"avcC", &[configuration]), &colr, &pasp])
}
