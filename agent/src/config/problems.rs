//! What is wrong with a configuration, in words; and whether that may pass by itself.

use std::ops::Deref;

use fragment::StreamName;

/// Everything that is wrong with a configuration. Reads as a list of sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    words: Vec<String>,
    /// How many of them are files that could not be read.
    unreadable: usize,
    /// The cameras whose files these are.
    left_out: Vec<LeftOut>,
}

/// A camera that names a file which can't be read now, and of which nothing else is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The stream that it feeds.
    pub stream: StreamName,
    /// Which file, and why.
    pub why: String,
    /// How many problems that are.
    problems: usize,
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
        self.left_out.extend(others.left_out);
    }

    /// Takes in what was found in one place; of a camera, with the stream that it feeds.
    pub(super) fn found(&mut self, place: &str, stream: Option<StreamName>, found: Self) {
        if let Some(stream) = stream.filter(|_| found.may_pass()) {
            self.left_out.push(LeftOut { stream, why: found.words.join("; "), problems: found.words.len() });
        }
        self.extend(found.words.into_iter().map(|problem| format!("{place}: {problem}")));
        self.unreadable += found.unreadable;
    }

    /// The cameras that can't be recorded now.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Whether nothing is wrong but files of cameras: all else can go on without these.
    pub fn only_leave_out(&self) -> bool {
        !self.words.is_empty()
            && self.left_out.iter().map(|left_out| left_out.problems).sum::<usize>() == self.words.len()
    }

    /// Whether nothing is wrong but files that can't be read now, so that it may be well at the next look.
    pub fn may_pass(&self) -> bool {
        !self.words.is_empty() && self.unreadable == self.words.len()
    }
}

impl From<String> for Problems {
    fn from(problem: String) -> Self {
        Self { words: vec![problem], ..Self::default() }
    }
}

impl Deref for Problems {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.words
    }
}
