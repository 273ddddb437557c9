// A four of a conv's input as the conv reads it: each row and column UP times, with norm (NORM) and SiLU
// (SILU) applied, zeros around. As it is stored, so that all kernels that stage make the same numbers.
struct Norm {
    scale: vec4f,
    shift: vec4f,
}

fn norm_of(quad: u32) -> Norm {
    var norm: Norm;
@if NORM
    norm.scale = affine[p.affine + quad];
    norm.shift = affine[p.affine + p.quads + quad];
@end
    return norm;
}

// A negative row or column is a large number too.
fn staged(row: u32, column: u32, quad: u32, norm: Norm) -> E4 {
    var value = vec4f(0.0);
    if row < p.in_rows && column < p.in_width * ${UP}u {
        let source = row / ${UP}u * p.in_width + column / ${UP}u;
        value = vec4f(input[p.input + source * p.quads + quad]);
@if NORM
        value = fma(value, norm.scale, norm.shift);
@end
@if SILU
        value = silu(value);
@end
    }
    return E4(value);
}
