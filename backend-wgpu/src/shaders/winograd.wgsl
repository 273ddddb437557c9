// Winograd's transforms of a line, as Toom and Cook's at the points 0, 1, -1 and infinity
// (F(2, 3), OUTPUTS 2), or 0, 3/4, -3/4, 3/2, -3/2 and infinity (F(4, 3), OUTPUTS 4). With these the
// sums of F(4, 3) round about twice as much as those of a plain conv; with the usual 1 and 2 three times.
@if SIX
const a = 0.75;
const b = 1.5;

fn windowed(d: array<vec4f, 6>) -> array<vec4f, 6> {
    let even_a = d[4] - b * b * d[2];
    let odd_a = a * (d[3] - b * b * d[1]);
    let even_b = d[4] - a * a * d[2];
    let odd_b = b * (d[3] - a * a * d[1]);
    return array(
        d[4] - (a * a + b * b) * d[2] + a * a * b * b * d[0],
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        d[5] - (a * a + b * b) * d[3] + a * a * b * b * d[1],
    );
}

fn outputs(m: array<vec4f, 6>) -> array<vec4f, 4> {
    let even_a = m[1] + m[2];
    let odd_a = m[1] - m[2];
    let even_b = m[3] + m[4];
    let odd_b = m[3] - m[4];
    return array(
        m[0] + even_a + even_b,
        a * odd_a + b * odd_b,
        a * a * even_a + b * b * even_b,
        a * a * a * odd_a + b * b * b * odd_b + m[5],
    );
}
@else
fn windowed(d: array<vec4f, 4>) -> array<vec4f, 4> {
    return array(d[2] - d[0], d[2] + d[1], d[2] - d[1], d[3] - d[1]);
}

fn outputs(m: array<vec4f, 4>) -> array<vec4f, 2> {
    return array(m[0] + m[1] + m[2], m[1] - m[2] + m[3]);
}
@end
