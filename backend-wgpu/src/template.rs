//! WGSL out of a template: one source for f32 and f16, for every register tile, for what is fused.
//!
//! - `${NAME}` stands for a number or a word that is set, or for `NAME` with `+`, `-`, `*` and
//!   another number or name: `${i*4+1}`, from left to right.
//! - `@if NAME` ... `@else` ... `@end`: kept if NAME, or the number it is, is not 0; a name that is not
//!   set is 0. `@if !NAME` the other way.
//! - `@for i COUNT` ... `@end`: repeated with `i` from 0. A loop over registers must be gone before
//!   a compiler sees it: an array indexed by a variable does not live in registers.
//! - `@include file`: another template.

use std::collections::BTreeMap;

/// What the names of a template stand for.
pub(crate) type Names = BTreeMap<String, String>;

/// Makes names out of numbers.
pub(crate) fn names<const N: usize>(pairs: [(&str, u32); N]) -> Names {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
}

/// Writes a template out.
///
/// # Panics
/// If the template is wrong: templates are part of the program, and the tests write out all.
pub(crate) fn write(source: &str, include: &dyn Fn(&str) -> &'static str, names: &Names) -> String {
    let lines: Vec<&str> = source.lines().collect();
    let mut out = String::new();
    block(&lines, include, &mut names.clone(), &mut out);
    out
}

fn block(
    lines: &[&str],
    include: &dyn Fn(&str) -> &'static str,
    names: &mut Names,
    out: &mut String,
) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_start();
        if let Some(file) = line.strip_prefix("@include ") {
            let lines: Vec<&str> = include(file.trim()).lines().collect();
            block(&lines, include, names, out);
            at += 1;
        } else if line.starts_with("@if ") || line.starts_with("@for ") {
            let (middle, end) = extent(&lines[at..]);
            let body = &lines[at + 1..at + middle.unwrap_or(end)];
            match line.strip_prefix("@if ") {
                Some(condition) => {
                    let mut written = String::new();
                    substitute(condition.trim(), names, &mut written);
                    if holds(&written, names) {
                        block(body, include, names, out);
                    } else if let Some(middle) = middle {
                        block(&lines[at + middle + 1..at + end], include, names, out);
                    }
                }
                None => repeat(line, body, include, names, out),
            }
            at += end + 1;
        } else {
            substitute(lines[at], names, out);
            out.push('\n');
            at += 1;
        }
    }
}

fn repeat(
    head: &str,
    body: &[&str],
    include: &dyn Fn(&str) -> &'static str,
    names: &mut Names,
    out: &mut String,
) {
    let mut words = head.split_whitespace().skip(1);
    let (name, count) = (words.next().expect("@for NAME COUNT"), words.next());
    let count = value(count.expect("@for NAME COUNT"), names);
    for turn in 0..count {
        names.insert(name.to_owned(), turn.to_string());
        block(body, include, names, out);
    }
    names.remove(name);
}

/// Where the block that begins at the first line has its `@else` and its `@end`.
fn extent(lines: &[&str]) -> (Option<usize>, usize) {
    let mut depth = 0;
    let mut middle = None;
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim();
        match line {
            "@end" => {
                depth -= 1;
                if depth == 0 {
                    return (middle, at);
                }
            }
            "@else" if depth == 1 => middle = Some(at),
            _ if line.starts_with("@if ") || line.starts_with("@for ") => depth += 1,
            _ => {}
        }
    }
    panic!("`{}` has no @end", lines[0]);
}

fn holds(condition: &str, names: &Names) -> bool {
    let number = |name: &str| name.parse::<u32>().is_ok_and(|value| value != 0);
    let set = |name: &str| names.get(name).map_or_else(|| number(name), |value| number(value));
    match condition.strip_prefix('!') {
        Some(name) => !set(name),
        None => set(condition),
    }
}

fn value(word: &str, names: &Names) -> u32 {
    let word = names.get(word).map_or(word, String::as_str);
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

fn substitute(line: &str, names: &Names, out: &mut String) {
    let mut rest = line;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let behind = &rest[start + 2..];
        let end = behind.find('}').unwrap_or_else(|| panic!("`{line}` lacks a brace"));
        out.push_str(&expression(&behind[..end], names));
        rest = &behind[end + 1..];
    }
    out.push_str(rest);
}

fn expression(text: &str, names: &Names) -> String {
    if !text.contains(['+', '-', '*']) {
        return names.get(text).unwrap_or_else(|| panic!("`{text}` is not set")).clone();
    }
    let mut result = 0;
    let mut operator = '+';
    let mut rest = text;
    loop {
        let end = rest.find(['+', '-', '*']).unwrap_or(rest.len());
        let operand = value(&rest[..end], names);
        match operator {
            '+' => result += operand,
            '-' => result -= operand,
            _ => result *= operand,
        }
        match rest[end..].chars().next() {
            Some(next) => operator = next,
            None => return result.to_string(),
        }
        rest = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str, set: &Names) -> String {
        write(source, &|_| "included ${N}", set)
    }

    #[test]
    fn loops_conditions_and_sums() {
        let set = names([("N", 2), ("A", 1), ("B", 0)]);
        let source = "@for i N\n@for j 2\nx${i}${j} = ${i*2+j};\n@end\n@if ${i}\nlater\n@end\n@end\n\
                      @if A\na\n@if B\nb\n@else\nnot b\n@end\n@end\n@if !B\nc\n@end\n@include f";
        let lines = "x00 = 0;\nx01 = 1;\nx10 = 2;\nx11 = 3;\nlater\na\nnot b\nc\nincluded 2\n";
        assert_eq!(written(source, &set), lines);
    }

    #[test]
    #[should_panic(expected = "no @end")]
    fn a_block_without_end() {
        written("@if A\nx", &Names::new());
    }
}
