//! Winograd's transforms of a 3x3 kernel (Lavin and Gray, "Fast algorithms for convolutional neural
//! networks", arXiv 1509.09308), as Toom and Cook's for a list of points and infinity.

/// F(outputs x outputs, 3x3): so many outputs of a window, with a product for each of its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transform {
    /// 16 products instead of 36.
    F2,
    /// 36 products instead of 144. Windows grow up to 32 times in the transform, which costs f16
    /// too many bits.
    F4,
}

impl Transform {
    /// Outputs of a window, each way.
    pub(crate) const fn outputs(self) -> usize {
        match self {
            Transform::F2 => 2,
            Transform::F4 => 4,
        }
    }

    /// Positions of a window, each way.
    pub(crate) const fn window(self) -> usize {
        self.outputs() + 2
    }

    /// Positions of a window.
    pub(crate) const fn matrices(self) -> usize {
        self.window() * self.window()
    }

    /// The points beside infinity. `winograd.wgsl` has them too.
    fn points(self) -> &'static [f64] {
        match self {
            Transform::F2 => &[0.0, 1.0, -1.0],
            Transform::F4 => &[0.0, 0.75, -0.75, 1.5, -1.5],
        }
    }

    /// What a line of a kernel is at each point: its polynomial there, divided by the distances from
    /// the other points.
    fn line(self, [a, b, c]: [f64; 3]) -> impl Iterator<Item = f64> {
        let points = self.points();
        let finite = points.iter().map(move |&p| {
            let distances = points.iter().filter(|&&other| other != p).map(|other| p - other);
            (a + b * p + c * p * p) / distances.product::<f64>()
        });
        finite.chain([c])
    }

    /// `G g G^T` of a 3x3 kernel, row by row.
    pub(crate) fn of(self, g: [f32; 9]) -> Vec<f32> {
        // In f64: the products are summed with these weights, and rounding here would stay.
        let g = g.map(f64::from);
        let columns = [0, 1, 2].map(|x| self.line([g[x], g[3 + x], g[6 + x]]).collect::<Vec<_>>());
        let row = |y: usize| self.line([columns[0][y], columns[1][y], columns[2][y]]);
        (0..self.window()).flat_map(row).map(|value| value as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The polynomial with these roots, its lowest coefficient first.
    fn with_roots(roots: impl Iterator<Item = f64>) -> Vec<f64> {
        roots.fold(vec![1.0], |polynomial, root| {
            let mut next = vec![0.0; polynomial.len() + 1];
            for (power, coefficient) in polynomial.into_iter().enumerate() {
                next[power + 1] += coefficient;
                next[power] -= root * coefficient;
            }
            next
        })
    }

    /// `B^T` and `A^T` of a transform, by their definition.
    fn matrices(transform: Transform) -> [Vec<Vec<f64>>; 2] {
        let (points, window) = (transform.points(), transform.window());
        let without = |p: f64| with_roots(points.iter().copied().filter(move |&other| other != p));
        let mut windowed: Vec<_> = points.iter().map(|&p| without(p)).collect();
        windowed.push(with_roots(points.iter().copied()));
        for row in &mut windowed {
            row.resize(window, 0.0);
        }
        let outputs = (0..transform.outputs()).map(|power| {
            let last = f64::from(u8::from(power + 1 == transform.outputs()));
            points.iter().map(|p| p.powi(power as i32)).chain([last]).collect()
        });
        [windowed, outputs.collect()]
    }

    /// `m x m^T` for a square `x`.
    fn both_ways(m: &[Vec<f64>], x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let n = x.len();
        let weight = |i: usize, j: usize, y: usize, z: usize| m[i][y] * x[y][z] * m[j][z];
        let cell = |i: usize, j: usize| {
            (0..n * n).map(|place| weight(i, j, place / n, place % n)).sum::<f64>()
        };
        (0..m.len()).map(|i| (0..m.len()).map(|j| cell(i, j)).collect()).collect()
    }

    #[test]
    fn transforms_make_a_conv() {
        let g: [f32; 9] = std::array::from_fn(|i| (i as f32 - 3.0) * 0.37);
        for transform in [Transform::F2, Transform::F4] {
            let window = transform.window();
            let value = |y: usize, x: usize| ((5 * y + 3 * x) % 7) as f64 - 2.5;
            let d: Vec<Vec<f64>> =
                (0..window).map(|y| (0..window).map(|x| value(y, x)).collect()).collect();
            let [windowed, outputs] = matrices(transform);
            let u = transform.of(g);
            let mut products = both_ways(&windowed, &d);
            for (place, u) in u.iter().enumerate() {
                products[place / window][place % window] *= f64::from(*u);
            }
            let got = both_ways(&outputs, &products);
            for (y, row) in got.iter().enumerate() {
                for (x, got) in row.iter().enumerate() {
                    let taps = (0..9).map(|t| f64::from(g[t]) * d[y + t / 3][x + t % 3]);
                    let expected: f64 = taps.sum();
                    assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
                }
            }
        }
    }
}
