// What becomes of a register tile: rows `row0`.. of which those are written that are `wanted0`.., from
// `column` on, in product `batch`.
@for i TM
    if wanted${i} {
        let to = p.out + batch * p.out_next + row${i} * p.columns + column;
@for j TN
@if EDGE
        if column + ${j}u < p.columns {
@else
        {
@end
            var value = sum${i}_${j};
@if BIAS
            value += bias[column + ${j}u];
@end
@if DECAY
            value = fma(vec4f(out[to + ${j}u]), vec4f(decay[row${i}]), value);
@end
@if RESIDUAL
            value += vec4f(out[to + ${j}u]);
@end
            out[to + ${j}u] = O4(value);
        }
@end
    }
@end
