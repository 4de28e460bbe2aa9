//! Sizes as people write them: `8 GiB`, `500 MB`, `1048576`.

/// The size in bytes, or `None` where the text is not one.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "TB" => 1000 * 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse("8 GiB"), Some(8 << 30));
        assert_eq!(parse("500MB"), Some(500_000_000));
        assert_eq!(parse(" 42 "), Some(42));
        for bad in ["", "GiB", "1.5 GiB", "8 gigs", "99999999999 TiB", "-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
