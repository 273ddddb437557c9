@if F16
enable f16;
@end
@if MATRICES
enable wgpu_cooperative_matrix;
@end

// Four channels as they are stored. Sums are always f32.
alias E4 = vec4<${E}>;

// x * sigmoid(x). The bound keeps the exponential finite; far below it the result is 0 anyway.
fn silu(x: vec4f) -> vec4f {
    return x / (1.0 + exp(min(-x, vec4f(80.0))));
}

// The place of an invocation in a dispatch that is spread over rows of workgroups.
fn place(group: vec3u, groups: vec3u, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * ${GROUP}u + lane;
}
