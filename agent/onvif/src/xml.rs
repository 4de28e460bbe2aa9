//! Answers as trees, read by local names: cameras choose the prefixes, and some the namespaces as well.

use roxmltree::{Document, Node, ParsingOptions};

use crate::limits;

/// Why an answer is no XML that is taken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadXml {
    /// Its elements lie too deep in each other.
    #[error("its elements lie deeper in each other than {} levels", limits::ANSWER_DEPTH_MAX)]
    TooDeep,
    /// It is not XML, or too much of it.
    #[error("it is not XML: {0}")]
    Syntax(String),
}

/// Reads a document. Entities of its own are refused, as is what would take much memory or stack.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, BadXml> {
    if depth(text) > limits::ANSWER_DEPTH_MAX {
        return Err(BadXml::TooDeep);
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: limits::ANSWER_NODES_MAX, ..Default::default() };
    Document::parse_with_options(text, options).map_err(|error| BadXml::Syntax(error.to_string()))
}

/// No less than the depth of the elements in `text`. A look before parsing, since the parser descends by calls.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for tag in text.split('<').skip(1) {
        match tag.as_bytes().first() {
            Some(b'/') => depth = depth.saturating_sub(1),
            Some(b'?' | b'!') | None => {}
            // An element that is closed at once lies in its parent only.
            Some(_) => {
                deepest = deepest.max(depth + 1);
                if !tag.split_once('>').is_some_and(|(tag, _)| tag.ends_with('/')) {
                    depth += 1;
                }
            }
        }
    }
    deepest
}

/// All elements of this name below `node`.
pub(crate) fn all<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'a str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.descendants().filter(move |node| node.is_element() && node.tag_name().name() == name)
}

/// The first element of this name below `node`.
pub(crate) fn first<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'a str) -> Option<Node<'a, 'i>> {
    all(node, name).next()
}

/// The text of the first element of this name below `node`, if it is fit to be shown.
pub(crate) fn text<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'a str) -> Option<String> {
    first(node, name).and_then(|node| node.text()).and_then(fit)
}

/// A number likewise.
pub(crate) fn number<'a, 'i: 'a, T: std::str::FromStr>(node: Node<'a, 'i>, name: &'a str) -> Option<T> {
    text(node, name)?.parse().ok()
}

/// A text of a camera, as it may be shown and used: neither empty nor long, without control characters, which could
/// rewrite what a terminal shows or begin a line of their own in a configuration.
pub(crate) fn fit(text: &str) -> Option<String> {
    let text: String = text.trim().chars().filter(|char| !char.is_control()).collect();
    (!text.is_empty() && text.chars().count() <= limits::TEXT_CHARS_MAX).then_some(text)
}

/// A text as it stands in XML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_whatever_their_prefix() {
        let document = parse("<a:x xmlns:a='u'><a:y> one </a:y><y>2</y></a:x>").unwrap();
        assert_eq!(text(document.root(), "y"), Some("one".to_owned()));
        assert_eq!(all(document.root(), "y").count(), 2);
    }

    #[test]
    fn a_hundred_thousand_elements_in_each_other_are_refused_and_overflow_nothing() {
        assert_eq!(parse(&"<a>".repeat(100_000)).unwrap_err(), BadXml::TooDeep);
        let closed = "<a>".repeat(50_000) + &"</a>".repeat(50_000);
        assert_eq!(parse(&closed).unwrap_err(), BadXml::TooDeep);
    }

    #[test]
    fn entities_that_multiply_are_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]><a>&c;</a>";
        assert!(matches!(parse(bomb), Err(BadXml::Syntax(_))));
    }

    #[test]
    fn too_many_elements_are_refused() {
        let wide = format!("<a>{}</a>", "<b/>".repeat(60_000));
        assert!(matches!(parse(&wide), Err(BadXml::Syntax(_))));
    }

    #[test]
    fn what_would_rewrite_a_terminal_is_left_out() {
        assert_eq!(fit("ACME\u{1b}[2J\nname = \"x\""), Some("ACME[2Jname = \"x\"".to_owned()));
        assert_eq!(fit(&"x".repeat(600)), None);
        assert_eq!(fit(" \n "), None);
    }

    #[test]
    fn a_password_may_hold_what_xml_is_made_of() {
        let password = "<&>\"'";
        let document = format!("<p>{}</p>", escaped(password));
        assert_eq!(text(parse(&document).unwrap().root(), "p").as_deref(), Some(password));
    }
}
