// Multiply-adds in registers and nothing else: the most that an adapter can do.
struct Params {
    turns: u32,
    x: f32,
    y: f32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let x = vec4f(p.x);
    let y = vec4f(p.y);
    // Three fours are twelve independent chains: enough to hide the latency of each, few enough for
    // the registers of a CPU.
@for i 3
    var sum${i} = vec4f(f32(lane + ${i}u));
@end
    for (var turn = 0u; turn < p.turns; turn++) {
@for k 32
@for i 3
        sum${i} = fma(sum${i}, x, y);
@end
@end
    }
    // Without a use the compiler would leave all of it out.
    out[group.x * ${GROUP}u + lane] = sum0 + sum1 + sum2;
}
