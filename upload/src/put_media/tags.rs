//! The names and values that a producer gives a fragment.

use fragment::mkv::Tag;

use super::limits::Limits;

/// The name of the tag by which a fragment is whole before the next one begins.
pub const END_OF_FRAGMENT: &str = "AWS_KINESISVIDEO_END_OF_FRAGMENT";
/// The name of the tag by which images are made of a fragment.
pub const IMAGE_GENERATION: &str = "AWS_KINESISVIDEO_IMAGE_GENERATION";
/// The name of the tag that says what the names of these images begin with.
pub const IMAGE_PREFIX: &str = "AWS_KINESISVIDEO_IMAGE_PREFIX";
/// The name of the tag by which somebody is told of a fragment.
pub const NOTIFICATION: &str = "AWS_KINESISVIDEO_NOTIFICATION";

/// What begins so has a meaning to the server, or none at all.
const RESERVED: &str = "AWS";

/// The tags of one fragment.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// Of the producer.
    own: Vec<Tag>,
    /// To the server, each name once.
    special: Vec<Tag>,
}

impl Tags {
    /// Adds tags, if they may be; says why not.
    pub(super) fn add(&mut self, tags: impl IntoIterator<Item = Tag>, limits: &Limits) -> Result<(), String> {
        for tag in tags {
            check(&tag, limits)?;
            if is_special(&tag) {
                self.special.retain(|other| other.name != tag.name);
                self.special.push(tag);
                continue;
            }
            if self.own.len() >= limits.tags_max {
                return Err(format!("a fragment has at most {} tags", limits.tags_max));
            }
            self.own.push(tag);
        }
        Ok(())
    }

    /// All of them, as they are stored.
    pub(super) fn into_all(self) -> Vec<Tag> {
        [self.own, self.special].concat()
    }
}

fn check(tag: &Tag, limits: &Limits) -> Result<(), String> {
    let (name_max, value_max) = (limits.tag_name_bytes_max, limits.tag_value_bytes_max);
    if tag.name.len() > name_max {
        return Err(format!("the name of a tag has {} bytes; at most {name_max} are allowed", tag.name.len()));
    }
    if tag.value.len() > value_max {
        return Err(format!("the tag {} has {} bytes; at most {value_max} are allowed", tag.name, tag.value.len()));
    }
    if tag.name.starts_with(RESERVED) && !is_special(tag) {
        return Err(format!("the name {} is reserved: choose one that does not begin with {RESERVED}", tag.name));
    }
    Ok(())
}

fn is_special(tag: &Tag) -> bool {
    [IMAGE_GENERATION, IMAGE_PREFIX, NOTIFICATION].contains(&tag.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_bounds_and_reserved_names() {
        let mut tags = Tags::default();
        let nine = (0..9).map(|i| tag(&format!("name-{i}"), "value"));
        assert_eq!(tags.add(nine, &Limits::AWS), Ok(()));
        assert_eq!(tags.add([tag(&"n".repeat(128), &"v".repeat(256))], &Limits::AWS), Ok(()));
        assert!(tags.add([tag("more", "")], &Limits::AWS).is_err_and(|why| why.contains("at most 10 tags")));
        for bad in
            [tag(&"n".repeat(129), ""), tag("n", &"v".repeat(257)), tag("AWS", ""), tag("AWS_KINESISVIDEO_X", "")]
        {
            assert!(Tags::default().add([bad.clone()], &Limits::AWS).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_means_something_to_the_server_is_kept_once_and_not_counted() {
        let mut tags = Tags::default();
        let own: Vec<Tag> = (0..10).map(|i| tag("again", &i.to_string())).collect();
        tags.add(own.clone(), &Limits::AWS).unwrap();
        for prefix in ["a", "b"] {
            tags.add([tag(IMAGE_GENERATION, ""), tag(IMAGE_PREFIX, prefix), tag(NOTIFICATION, "")], &Limits::AWS)
                .unwrap();
        }
        let special = vec![tag(IMAGE_GENERATION, ""), tag(IMAGE_PREFIX, "b"), tag(NOTIFICATION, "")];
        assert_eq!(tags.into_all(), [own, special].concat());
    }

    fn tag(name: &str, value: &str) -> Tag {
        Tag { name: name.to_owned(), value: value.to_owned() }
    }
}
