//! Tags: name and value pairs that travel with a fragment.

use crate::limits;

use super::ebml::{Element, write_element, write_master};
use super::elements::Id;
use super::error::Error;

/// The name of the tag that ends a fragment written by [`super::Writer`], so that its Cluster of
/// unknown size is closed and a torn fragment can be told from a whole one.
pub const END_OF_FRAGMENT: &str = "MILLRACE_END_OF_FRAGMENT";

/// A name and a value. The same name may occur several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The name.
    pub name: String,
    /// The value, often empty.
    pub value: String,
}

/// Reads all pairs in a Tags element, nested ones after the one that holds them.
pub(super) fn read(tags: Element<'_>) -> Result<Vec<Tag>, Error> {
    let mut found = Vec::new();
    for tag in tags.children() {
        let tag = tag?;
        if tag.id == Id::TAG {
            read_simple_tags(tag, 0, &mut found)?;
        }
    }
    Ok(found)
}

fn read_simple_tags(parent: Element<'_>, depth: usize, found: &mut Vec<Tag>) -> Result<(), Error> {
    for child in parent.children() {
        let child = child?;
        if child.id == Id::SIMPLE_TAG && depth < limits::TAG_DEPTH_MAX {
            read_simple_tag(child, depth, found)?;
        }
    }
    Ok(())
}

fn read_simple_tag(tag: Element<'_>, depth: usize, found: &mut Vec<Tag>) -> Result<(), Error> {
    let (mut name, mut value) = (None, String::new());
    for child in tag.children() {
        let child = child?;
        match child.id {
            Id::TAG_NAME => name = Some(child.text()),
            Id::TAG_STRING => value = child.text(),
            _ => {}
        }
    }
    let name = name.ok_or_else(|| tag.missing(Id::TAG_NAME))?;
    found.push(Tag { name, value });
    read_simple_tags(tag, depth + 1, found)
}

/// Appends a Tags element with these pairs.
pub(super) fn write<'a>(out: &mut Vec<u8>, tags: impl Iterator<Item = (&'a str, &'a str)>) {
    write_master(out, Id::TAGS, |out| {
        write_master(out, Id::TAG, |out| {
            write_element(out, Id::TARGETS, &[]);
            for (name, value) in tags {
                write_master(out, Id::SIMPLE_TAG, |out| {
                    write_element(out, Id::TAG_NAME, name.as_bytes());
                    write_element(out, Id::TAG_STRING, value.as_bytes());
                });
            }
        });
    });
}
