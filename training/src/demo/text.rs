//! Little stories and sums, made up from a seed: regular enough that a tiny target learns them in minutes.

use std::path::Path;

use crate::Result;
use crate::error::IoContext;
use crate::folder;
use crate::random::Stream;

const NAMES: [&str; 12] =
    ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Lily", "Max"];
const ANIMALS: [&str; 8] = ["dog", "cat", "rabbit", "pony", "bird", "frog", "hedgehog", "goat"];
const THINGS: [&str; 10] = ["ball", "kite", "book", "basket", "drum", "boat", "hat", "lamp", "bell", "cake"];
const COLOURS: [&str; 8] = ["red", "blue", "green", "yellow", "white", "black", "brown", "golden"];
const PLACES: [&str; 8] = [
    "in the garden",
    "by the river",
    "in the wood",
    "at school",
    "on the hill",
    "in the barn",
    "at the market",
    "by the sea",
];
const FEELINGS: [&str; 6] = ["happy", "proud", "curious", "tired", "brave", "surprised"];

/// Stories and questions that are written.
const DOCUMENTS: usize = 2400;

/// Writes `stories.txt` and `sums.txt` to `folder`, always the same.
///
/// # Errors
/// `Io`.
pub(super) fn write(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).at(folder)?;
    let documents = |kind: u64, make: fn(&mut Stream) -> String| {
        (0..DOCUMENTS)
            .map(|index| make(&mut Stream::new(1, kind, index as u64)))
            .collect::<Vec<_>>()
            .join("\n<|endoftext|>\n")
    };
    folder::write_file(&folder.join("stories.txt"), documents(1, story).as_bytes())?;
    folder::write_file(&folder.join("sums.txt"), documents(2, sum).as_bytes())
}

fn pick<'a>(stream: &mut Stream, words: &[&'a str]) -> &'a str {
    words[stream.below(words.len())]
}

fn story(stream: &mut Stream) -> String {
    let (name, animal, thing) = (pick(stream, &NAMES), pick(stream, &ANIMALS), pick(stream, &THINGS));
    let (colour, place, feeling) = (pick(stream, &COLOURS), pick(stream, &PLACES), pick(stream, &FEELINGS));
    let opening = match stream.below(3) {
        0 => format!("Once upon a time there was a child named {name} who had a {animal}."),
        1 => format!("One day {name} and a little {animal} went out to play {place}."),
        _ => format!("{name} was looking for a {colour} {thing}."),
    };
    let middle = match stream.below(4) {
        0 => format!("They found a {colour} {thing} {place}, and the {animal} wanted to carry it home."),
        1 => format!("The {animal} lost the {colour} {thing}, and {name} felt sad."),
        2 => format!("\"Whose {thing} is this?\" asked {name}. \"It is mine,\" said the {animal}."),
        _ => format!("{name} gave the {thing} to the {animal}, because friends share."),
    };
    let end = match stream.below(3) {
        0 => format!("In the evening {name} was {feeling}, and the {animal} slept beside the {colour} {thing}."),
        1 => format!("Then {name} and the {animal} went home together, and everyone was {feeling}."),
        _ => format!("{name} smiled. From that day on the {animal} was always {feeling}."),
    };
    format!("{opening} {middle} {end}")
}

fn sum(stream: &mut Stream) -> String {
    let (name, thing) = (pick(stream, &NAMES), pick(stream, &THINGS));
    let (first, second) = (2 + stream.below(18), 1 + stream.below(9));
    let (verb, sign, result) = match (stream.below(2), first > second) {
        (1, true) => ("gives away", '-', first - second),
        _ => ("buys", '+', first + second),
    };
    format!(
        "Question: {name} has {first} {thing}s and {verb} {second}. How many {thing}s does {name} have now?\n\
         Answer: {name} has {first} {sign} {second} = {result} {thing}s.\n#### {result}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_always_the_same_and_sums_are_right() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            write(folder.path()).unwrap();
        }
        for name in ["stories.txt", "sums.txt"] {
            let [one, two] = folders.each_ref().map(|folder| std::fs::read(folder.path().join(name)).unwrap());
            assert_eq!(one, two);
        }
        for index in 0..50 {
            let text = sum(&mut Stream::new(1, 2, index));
            let line = text.lines().find(|line| line.contains('=')).unwrap();
            let numbers: Vec<i64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let expected = if line.contains('+') { numbers[0] + numbers[1] } else { numbers[0] - numbers[1] };
            assert_eq!(numbers[2], expected, "{text}");
        }
    }
}
