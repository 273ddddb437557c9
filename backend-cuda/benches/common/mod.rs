//! What the benches of this crate are asked for.

use halovae_cuda::Precision;

/// The numbers among the arguments, in their order.
pub(crate) fn numbers() -> Vec<usize> {
    std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect()
}

/// Whether a word is among them.
pub(crate) fn is_asked(word: &str) -> bool {
    std::env::args().any(|arg| arg == word)
}

/// The types among them, or all if there are none.
pub(crate) fn types() -> Vec<Precision> {
    let all = [Precision::F32, Precision::F16, Precision::Bf16];
    let asked: Vec<_> = all.into_iter().filter(|of| is_asked(&of.to_string())).collect();
    if asked.is_empty() { all.to_vec() } else { asked }
}
