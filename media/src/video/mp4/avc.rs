//! NAL units of H.264 (ITU-T H.264, annex B) as the samples of an `.mp4` (ISO/IEC 14496-15).

use std::io;

/// What a decoder needs before the first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParameterSets {
    sequence: Vec<u8>,
    picture: Vec<u8>,
}

const SEQUENCE: u8 = 7;
const PICTURE: u8 = 8;
/// Delimits frames in a stream, which samples do by themselves.
const DELIMITER: u8 = 9;

/// A unit without its start code.
fn without_start_code(unit: &[u8]) -> io::Result<&[u8]> {
    let rest = unit.strip_prefix(&[0, 0, 0, 1]).or_else(|| unit.strip_prefix(&[0, 0, 1]));
    rest.filter(|rest| !rest.is_empty()).ok_or_else(|| corrupt("a unit without a start code"))
}

fn corrupt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the encoder of H.264 gave {what}"))
}

impl ParameterSets {
    /// Appends a unit of a frame to its sample; sets of parameters are kept instead.
    ///
    /// # Errors
    /// That it is no unit, or that it changes the parameters of the video.
    pub(super) fn sort(&mut self, unit: &[u8], sample: &mut Vec<u8>) -> io::Result<()> {
        let unit = without_start_code(unit)?;
        let keep = |kept: &mut Vec<u8>| match kept.as_slice() {
            [] => {
                *kept = unit.to_vec();
                Ok(())
            }
            kept if kept == unit => Ok(()),
            _ => Err(corrupt("other parameters in the middle of the video")),
        };
        match unit[0] & 0x1f {
            SEQUENCE => keep(&mut self.sequence),
            PICTURE => keep(&mut self.picture),
            DELIMITER => Ok(()),
            _ => {
                let length = u32::try_from(unit.len()).map_err(|_| corrupt("a unit too long"))?;
                sample.extend(length.to_be_bytes());
                sample.extend_from_slice(unit);
                Ok(())
            }
        }
    }

    /// The content of an `avcC` box: lengths of four bytes in samples, one set of each kind.
    ///
    /// # Errors
    /// That the encoder gave none, or of a profile whose box has more.
    pub(super) fn configuration(&self) -> io::Result<Vec<u8>> {
        let (&[_, profile, compatibility, level, ..], [_, ..]) =
            (&self.sequence[..], &self.picture[..])
        else {
            return Err(corrupt("no parameters"));
        };
        // High and above tell more about chroma; the encoder is not asked for these.
        if !matches!(profile, 66 | 77 | 88) {
            return Err(corrupt("a profile that was not asked for"));
        }
        let mut content = vec![1, profile, compatibility, level, 0b1111_1111];
        for (count, set) in [(0b1110_0001, &self.sequence), (1, &self.picture)] {
            let length = u16::try_from(set.len()).map_err(|_| corrupt("parameters too long"))?;
            content.push(count);
            content.extend(length.to_be_bytes());
            content.extend_from_slice(set);
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_frames_are_told_apart() {
        let mut sets = ParameterSets::default();
        let mut sample = Vec::new();
        assert!(sets.configuration().is_err());
        for unit in [
            &[0, 0, 0, 1, 0x67, 66, 0xc0, 31, 5][..],
            &[0, 0, 1, 0x68, 6],
            &[0, 0, 0, 1, 9, 0xf0],
            &[0, 0, 0, 1, 0x65, 1, 2],
            &[0, 0, 0, 1, 0x67, 66, 0xc0, 31, 5],
            &[0, 0, 1, 0x65, 3],
        ] {
            sets.sort(unit, &mut sample).unwrap();
        }
        assert_eq!(sample, [0, 0, 0, 3, 0x65, 1, 2, 0, 0, 0, 2, 0x65, 3]);
        let content = sets.configuration().unwrap();
        let expected =
            [&[1, 66, 0xc0, 31, 0xff, 0xe1, 0, 5, 0x67, 66, 0xc0, 31, 5][..], &[1, 0, 2, 0x68, 6]];
        assert_eq!(content, expected.concat());

        for wrong in [&[][..], &[1, 2, 3], &[0, 0, 1], &[0, 0, 1, 0x68, 7]] {
            let error = sets.sort(wrong, &mut sample).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{wrong:?}");
        }
    }
}
