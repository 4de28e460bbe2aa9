//! What is wrong with a configuration, in words; and whether that may pass by itself.

use std::ops::Deref;

/// Everything that is wrong with a configuration. Reads as a list of sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    words: Vec<String>,
    /// How many of them are files that could not be read.
    unreadable: usize,
}

impl Problems {
    pub(super) fn push(&mut self, problem: String) {
        self.words.push(problem);
    }

    /// A file that the configuration names can't be read now: it may lie on a disk that is mounted later.
    pub(super) fn unreadable(&mut self, problem: String) {
        self.push(problem);
        self.unreadable += 1;
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = String>) {
        self.words.extend(problems);
    }

    pub(super) fn append(&mut self, others: Self) {
        self.words.extend(others.words);
        self.unreadable += others.unreadable;
    }

    /// Takes in what was found in one place.
    pub(super) fn found(&mut self, place: &str, found: Self) {
        self.extend(found.words.into_iter().map(|problem| format!("{place}: {problem}")));
        self.unreadable += found.unreadable;
    }

    /// Whether nothing is wrong but files that can't be read now, so that it may be well at the next look.
    pub fn may_pass(&self) -> bool {
        !self.words.is_empty() && self.unreadable == self.words.len()
    }
}

impl From<String> for Problems {
    fn from(problem: String) -> Self {
        Self { words: vec![problem], unreadable: 0 }
    }
}

impl Deref for Problems {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.words
    }
}
