//! The members of a request, held to the model's rules as they are read.
//!
//! What AWS's clients need: `null` is as if the member were not there, members that are not known are passed over, and who breaks
//! a rule is told which member it was, in AWS's words.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use fragment::WallTime;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::rules::Text;

/// The members of a request, or of a structure in it.
pub(super) struct Members<'a> {
    map: &'a Map<String, Value>,
    /// Where they stand, with a dot behind it; empty in the request itself.
    path: String,
}

/// Times that can be told, in seconds since 1970: to the end of the year 9999, which clients take for the end of time.
const TIMES_SECONDS: RangeInclusive<f64> = 0.0..=253_402_300_800.0;

/// Reads the body of a request. None at all is a request without members.
pub(super) fn parse(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|error| Refusal::NotJson(error.to_string()))
}

impl<'a> Members<'a> {
    /// Those of a request.
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, path: String::new() }
    }

    /// A text.
    pub(super) fn text(&self, name: &str, rule: &Text) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let text = value.as_str().ok_or_else(|| breaks(value, &place, "be a string"))?;
        check(text, &place, rule)?;
        Ok(Some(text))
    }

    /// A whole number.
    pub(super) fn integer(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let number = value.as_i64().ok_or_else(|| breaks(value, &place, "be an integer"))?;
        if number < i64::from(*range.start()) {
            let rule = format!("have value greater than or equal to {}", range.start());
            return Err(breaks(value, &place, &rule));
        }
        let number = u32::try_from(number).ok().filter(|number| number <= range.end());
        let rule = format!("have value less than or equal to {}", range.end());
        Ok(Some(number.ok_or_else(|| breaks(value, &place, &rule))?))
    }

    /// Yes or no.
    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        Ok(Some(value.as_bool().ok_or_else(|| breaks(value, &self.place(name), "be true or false"))?))
    }

    /// A moment: seconds since 1970, with or without a fraction, of which microseconds count. Clients have it in milliseconds or,
    /// from a number of this kind, about as fine as that.
    pub(super) fn timestamp(&self, name: &str) -> Result<Option<WallTime>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| TIMES_SECONDS.contains(seconds));
        let seconds = seconds.ok_or_else(|| breaks(value, &self.place(name), "be a time in seconds since 1970"))?;
        #[expect(clippy::cast_possible_truncation, reason = "within the range, and rounded")]
        let micros = (seconds * 1e6).round() as i64;
        Ok(Some(WallTime::from_nanos(micros.saturating_mul(1000))))
    }

    /// One of these words, as what it stands for.
    pub(super) fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let chosen = words.iter().find(|(word, _)| value.as_str() == Some(word)).map(|(_, meaning)| *meaning);
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let rule = format!("satisfy enum value set: [{}]", words.join(", "));
        Ok(Some(chosen.ok_or_else(|| breaks(value, &self.place(name), &rule))?))
    }

    /// A structure.
    pub(super) fn structure(&self, name: &str) -> Result<Option<Members<'a>>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let map = value.as_object().ok_or_else(|| breaks(value, &place, "be a structure"))?;
        Ok(Some(Members { map, path: format!("{place}.") }))
    }

    /// Texts by their keys.
    pub(super) fn map(&self, name: &str, key: &Text, text: &Text) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let map = value.as_object().ok_or_else(|| breaks(value, &place, "be a map"))?;
        if map.is_empty() {
            return Err(breaks(value, &place, "have length greater than or equal to 1"));
        }
        let mut texts = BTreeMap::new();
        for (name, value) in map {
            check(name, &place, key)?;
            let place = format!("{place}.{name}");
            let value = value.as_str().ok_or_else(|| breaks(value, &place, "be a string"))?;
            check(value, &place, text)?;
            texts.insert(name.clone(), value.to_owned());
        }
        Ok(Some(texts))
    }

    /// Texts, so many.
    pub(super) fn list(
        &self,
        name: &str,
        rule: &Text,
        length: RangeInclusive<usize>,
    ) -> Result<Option<Vec<&'a str>>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let list = value.as_array().ok_or_else(|| breaks(value, &place, "be a list"))?;
        if !length.contains(&list.len()) {
            return Err(breaks(value, &place, &length_rule(&length, list.len())));
        }
        let item = |(at, value): (usize, &'a Value)| {
            let place = format!("{place}.{}.member", at + 1);
            let text = value.as_str().ok_or_else(|| breaks(value, &place, "be a string"))?;
            check(text, &place, rule)?;
            Ok(text)
        };
        list.iter().enumerate().map(item).collect::<Result<_, _>>().map(Some)
    }

    /// What has to be there.
    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| breaks(&Value::Null, &self.place(name), "not be null"))
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Where a member stands, as AWS's texts name it: with a small letter in front.
    fn place(&self, name: &str) -> String {
        let mut letters = name.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        format!("{}{}", self.path, first.into_iter().chain(letters).collect::<String>())
    }
}

fn check(text: &str, place: &str, rule: &Text) -> Result<(), Refusal> {
    let length = text.chars().count();
    if !rule.length.contains(&length) {
        return Err(breaks(&text, place, &length_rule(&rule.length, length)));
    }
    if !(rule.fits)(text) {
        let rule = format!("satisfy regular expression pattern: {}", rule.pattern);
        return Err(breaks(&text, place, &rule));
    }
    Ok(())
}

fn length_rule(length: &RangeInclusive<usize>, found: usize) -> String {
    if found < *length.start() {
        format!("have length greater than or equal to {}", length.start())
    } else {
        format!("have length less than or equal to {}", length.end())
    }
}

fn breaks(value: &dyn fmt::Display, place: &str, rule: &str) -> Refusal {
    const SHOWN: usize = 100;
    let shown: String = value.to_string().chars().take(SHOWN).collect();
    Refusal::InvalidArgument(format!(
        "1 validation error detected: Value '{}' at '{place}' failed to satisfy constraint: Member must {rule}",
        shown.trim_matches('"')
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rules::{STREAM_NAME, TAG_KEY, TAG_VALUE};
    use super::*;

    #[test]
    fn null_is_as_if_the_member_were_not_there() {
        let map = map(&json!({ "StreamName": null, "MaxResults": null, "Tags": null, "Unknown": [1] }));
        let members = Members::new(&map);
        assert!(members.text("StreamName", &STREAM_NAME).unwrap().is_none());
        assert!(members.integer("MaxResults", 1..=10).unwrap().is_none());
        assert!(members.map("Tags", &TAG_KEY, &TAG_VALUE).unwrap().is_none());
        let missing = members.required::<&str>("StreamName", None).unwrap_err().to_string();
        assert!(
            missing.ends_with("Value 'null' at 'streamName' failed to satisfy constraint: Member must not be null")
        );
    }

    #[test]
    fn who_breaks_a_rule_is_told_which_member_it_was() {
        let name = |value: Value| {
            let map = map(&json!({ "StreamName": value }));
            Members::new(&map).text("StreamName", &STREAM_NAME).map(drop).unwrap_err().to_string()
        };
        assert!(name(json!("a b")).ends_with(
            "Value 'a b' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: \
             [a-zA-Z0-9_.-]+"
        ));
        assert!(name(json!("")).ends_with("Member must have length greater than or equal to 1"));
        assert!(name(json!("a".repeat(257))).ends_with("Member must have length less than or equal to 256"));
        assert!(
            name(json!(5)).ends_with("Value '5' at 'streamName' failed to satisfy constraint: Member must be a string")
        );
    }

    #[test]
    fn numbers_words_and_structures_are_held_to_their_rules() {
        let map = map(&json!({
            "Low": 0, "High": 11, "Good": 10, "Half": 1.5, "Huge": 5_000_000_000_u64, "Negative": -1,
            "Operator": "ENDS_WITH", "Condition": { "Operator": "BEGINS_WITH", "Value": "a b" },
        }));
        let members = Members::new(&map);
        assert_eq!(members.integer("Good", 1..=10).unwrap(), Some(10));
        for (name, rule) in [
            ("Low", "greater than or equal to 1"),
            ("Negative", "greater than or equal to 1"),
            ("High", "less than or equal to 10"),
            ("Huge", "less than or equal to 10"),
            ("Half", "be an integer"),
        ] {
            let refusal = members.integer(name, 1..=10).unwrap_err().to_string();
            assert!(refusal.ends_with(rule), "{name}: {refusal}");
        }
        let words = [("BEGINS_WITH", 1)];
        let refusal = members.choice("Operator", &words).unwrap_err().to_string();
        assert!(refusal.ends_with("satisfy enum value set: [BEGINS_WITH]"), "{refusal}");
        let condition = members.structure("Condition").unwrap().unwrap();
        assert_eq!(condition.choice("Operator", &words).unwrap(), Some(1));
        let refusal = condition.text("Value", &STREAM_NAME).unwrap_err().to_string();
        assert!(refusal.contains("at 'condition.value'"), "{refusal}");
        assert!(members.structure("Operator").is_err());
    }

    #[test]
    fn a_time_is_a_number_of_seconds_however_it_is_written() {
        let map = map(&json!({
            "Micros": 1_767_225_600.123_456, "Whole": 1_767_225_600, "Exponent": 1.551_924_009_774e9, "Zero": 0,
            "Text": "2026-01-01T00:00:00Z", "Negative": -1, "Huge": 1e30,
        }));
        let members = Members::new(&map);
        for (name, micros) in [
            ("Micros", 1_767_225_600_123_456),
            ("Whole", 1_767_225_600_000_000),
            ("Exponent", 1_551_924_009_774_000),
            ("Zero", 0),
        ] {
            assert_eq!(members.timestamp(name).unwrap(), Some(WallTime::from_nanos(micros * 1000)), "{name}");
        }
        for name in ["Text", "Negative", "Huge"] {
            let refusal = members.timestamp(name).unwrap_err().to_string();
            assert!(refusal.ends_with("Member must be a time in seconds since 1970"), "{name}: {refusal}");
        }
        assert_eq!(members.timestamp("None").unwrap(), None);
    }

    #[test]
    fn maps_and_lists_are_held_to_the_rules_of_what_is_in_them() {
        let map = map(&json!({
            "Tags": { "a": "b" }, "None": {}, "Odd": { "a,b": "c" }, "Number": { "a": 1 }, "List": ["a"], "Two": ["a", "b,"],
        }));
        let members = Members::new(&map);
        let tags = |name: &str| members.map(name, &TAG_KEY, &TAG_VALUE);
        assert_eq!(tags("Tags").unwrap().unwrap()["a"], "b");
        for name in ["None", "Odd", "Number", "List"] {
            assert!(tags(name).is_err(), "{name}");
        }
        assert_eq!(members.list("List", &TAG_KEY, 1..=2).unwrap(), Some(vec!["a"]));
        assert!(members.list("Two", &TAG_KEY, 1..=1).is_err());
        let refusal = members.list("Two", &TAG_KEY, 1..=2).unwrap_err().to_string();
        assert!(refusal.contains("at 'two.2.member'"), "{refusal}");
    }

    #[test]
    fn a_body_is_an_object_or_nothing() {
        assert!(parse(b"").unwrap().is_empty());
        assert_eq!(parse(b"{\n\t\"a\": 1}").unwrap().len(), 1);
        for body in ["[]", "null", "{", "5", "{} {}"] {
            assert!(matches!(parse(body.as_bytes()), Err(Refusal::NotJson(_))), "{body}");
        }
    }

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }
}
