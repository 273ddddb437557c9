//! Tensors that tell a family, by their names and shapes.

/// What a tensor may tell. Paths are the beginning of a name, without the VAE's prefix; `#` stands
/// for any index.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sign {
    /// It is there.
    Is(&'static str),
    /// It is the kernel of a conv over height and width.
    Is2d(&'static str),
    /// It is the kernel of a conv over time, height and width.
    Is3d(&'static str),
    /// It is the kernel of a conv over height and width, perhaps with an axis of one frame.
    IsFlat(&'static str),
    /// It is the kernel of a conv over several frames, height and width.
    IsOverTime(&'static str),
    /// It is a conv with more channels behind it than before it.
    Widens(&'static str),
    /// It is not there. Never the only sign.
    Lacks(&'static str),
}

/// The name that the last sign finds of the first list whose signs all hold. Each list is evidence
/// enough.
pub(crate) fn witness<'a>(
    evidence: &[&[Sign]],
    tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
) -> Option<&'a str> {
    let find = |sign: &Sign| tensors.clone().find(|&(name, shape)| sign.is_in(name, shape));
    evidence.iter().find_map(|signs| {
        let mut witness = None;
        for sign in signs.iter() {
            match (sign, find(sign)) {
                (Sign::Lacks(_), None) => {}
                (Sign::Lacks(_), Some(_)) | (_, None) => return None,
                (_, Some((name, _))) => witness = Some(name),
            }
        }
        witness
    })
}

impl Sign {
    fn is_in(self, name: &str, shape: &[usize]) -> bool {
        match self {
            Self::Is(path) | Self::Lacks(path) => begins(name, path),
            Self::Is2d(path) => shape.len() == 4 && begins(name, path),
            Self::Is3d(path) => shape.len() == 5 && begins(name, path),
            Self::IsFlat(path) => {
                matches!(shape, [_, _, _, _] | [_, _, 1, _, _]) && begins(name, path)
            }
            Self::IsOverTime(path) => {
                matches!(shape, [_, _, frames, _, _] if *frames > 1) && begins(name, path)
            }
            Self::Widens(path) => {
                matches!(shape, [outputs, inputs, ..] if outputs > inputs) && begins(name, path)
            }
        }
    }
}

/// Whether the parts of `path` are the first ones of `name`.
fn begins(name: &str, path: &str) -> bool {
    let mut parts = name.split('.');
    path.split('.').all(|wanted| match (wanted, parts.next()) {
        ("#", Some(part)) => !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()),
        (wanted, part) => part == Some(wanted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_of_one_list_must_hold() {
        let told = |names: &[&'static str]| {
            let evidence: &[&[Sign]] = &[
                &[Sign::Lacks("c"), Sign::Is("a"), Sign::Is("b")],
                &[Sign::Is3d("d"), Sign::Widens("d")],
            ];
            let tensors = names.iter().map(|&name| (name, &[2, 1, 1, 1, 1][..]));
            witness(evidence, tensors)
        };
        assert_eq!(told(&["b.x", "a"]), Some("b.x"));
        assert_eq!(told(&["a"]), None);
        assert_eq!(told(&["b", "a", "c.x"]), None);
        assert_eq!(told(&["c", "d.weight"]), Some("d.weight"));
        let flat: &[usize] = &[2, 1, 1, 1];
        assert_eq!(witness(&[&[Sign::Is3d("d")]], [("d", flat)].into_iter()), None);
        let is =
            |sign: Sign, shape: &[usize]| witness(&[&[sign]], [("d", shape)].into_iter()).is_some();
        for (shape, is_flat, is_over_time) in [
            (flat, true, false),
            (&[2, 1, 1, 3, 3], true, false),
            (&[2, 1, 3, 1, 1], false, true),
            (&[2, 1, 0, 3, 3], false, false),
            (&[2, 1], false, false),
        ] {
            assert_eq!(is(Sign::IsFlat("d"), shape), is_flat, "{shape:?}");
            assert_eq!(is(Sign::IsOverTime("d"), shape), is_over_time, "{shape:?}");
        }
    }

    #[test]
    fn a_path_is_compared_part_by_part() {
        assert!(begins("decoder.up.12.attn.0.q.bias", "decoder.up.#.attn.#"));
        assert!(begins("bn.running_mean", "bn"));
        assert!(!begins("bnorm.weight", "bn"));
        assert!(!begins("decoder.up.x.attn.0", "decoder.up.#.attn.#"));
        assert!(!begins("decoder.up..attn.0", "decoder.up.#.attn.#"));
        assert!(!begins("decoder.up", "decoder.up.#"));
    }
}
