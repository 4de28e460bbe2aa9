//! A fragment's number as AWS's clients see it.
//!
//! At AWS it is a decimal number of 47 digits, which clients compare as texts or as numbers, and hand back:
//!
//! ```text
//! 2^156 + sequence · 2^92 + milliseconds of arrival · 2^28 + 28 bits that mean nothing
//! ```
//!
//! Here the sequence is the archive's number, which ascends as AWS's does, the milliseconds are those in it, and the 28 bits are 0.
//! The leading 2^156 keeps the length constant (for 55,000 years), so that the order of texts is that of numbers.

use fragment::FragmentNumber;

use super::refusal::Refusal;

/// A number as 160 bits, its lowest 32 first.
type Limbs = [u32; 5];

/// What clients read.
pub(crate) fn format(number: FragmentNumber) -> String {
    let mut limbs = limbs(number);
    let mut digits = Vec::with_capacity(48);
    while limbs != [0; 5] {
        digits.push(char::from(b'0' + take_digit(&mut limbs)));
    }
    digits.into_iter().rev().collect()
}

/// The fragment that is meant, or `None` for what is no number of ours, AWS's own included.
pub(crate) fn parse(text: &str) -> Option<FragmentNumber> {
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut found = [0; 5];
    for digit in text.bytes() {
        put_digit(&mut found, digit - b'0')?;
    }
    // Without the marker above it, which is compared with all the rest.
    let sequence = u64::from(found[4] & 0x0fff_ffff) << 36 | u64::from(found[3]) << 4 | u64::from(found[2] >> 28);
    let number = FragmentNumber(sequence);
    (limbs(number) == found).then_some(number)
}

/// The same for a member of a request, which the refusal names.
pub(super) fn read(text: &str, member: &str) -> Result<FragmentNumber, Refusal> {
    parse(text)
        .ok_or_else(|| Refusal::InvalidArgument(format!("{member}: {text} is no fragment number of this server")))
}

fn limbs(number: FragmentNumber) -> Limbs {
    let sequence = u128::from(number.0) | 1 << 64;
    // Milliseconds of microseconds take 54 of their 64 bits.
    let low = u128::from(number.0 / 1000) << 28;
    let word = |bits: u128| u32::try_from(bits & 0xffff_ffff).expect("32 bits");
    [word(low), word(low >> 32), word(sequence << 28 | low >> 64), word(sequence >> 4), word(sequence >> 36)]
}

/// Divides by ten; gives the remainder.
fn take_digit(limbs: &mut Limbs) -> u8 {
    let mut remainder = 0;
    for limb in limbs.iter_mut().rev() {
        let dividend = remainder << 32 | u64::from(*limb);
        *limb = u32::try_from(dividend / 10).expect("the remainder is below ten");
        remainder = dividend % 10;
    }
    u8::try_from(remainder).expect("below ten")
}

/// Multiplies by ten and adds a digit, unless that is more than 160 bits.
fn put_digit(limbs: &mut Limbs, digit: u8) -> Option<()> {
    let mut carry = u64::from(digit);
    for limb in limbs.iter_mut() {
        let product = u64::from(*limb) * 10 + carry;
        *limb = u32::try_from(product & 0xffff_ffff).expect("32 bits");
        carry = product >> 32;
    }
    (carry == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_and_order_as_texts(a in 0..1_u64 << 60, b in 0..1_u64 << 60) {
            let texts = [a, b].map(|number| format(FragmentNumber(number)));
            prop_assert_eq!(texts[0].len(), 47);
            prop_assert_eq!(texts[0].cmp(&texts[1]), a.cmp(&b));
            prop_assert_eq!(parse(&texts[0]), Some(FragmentNumber(a)));
        }

        #[test]
        fn any_digits_are_a_number_or_none(text in "[0-9]{0,128}") {
            if let Some(number) = parse(&text) {
                prop_assert_eq!(format(number), text);
            }
        }
    }

    #[test]
    fn a_number_is_laid_out_as_at_aws() {
        assert_eq!(format(FragmentNumber(0)), "91343852333181432387730302044767688728495783936");
        // AWS's own 91343852333182522497921856555094773623291269982 has sequence 220,146; its milliseconds and its 28 bits
        // make the difference of 1,613,136,727,826 · 2^28 + 0x426535e, less the 220 ms that are in the number here.
        assert_eq!(format(FragmentNumber(220_146)), "91343852333182522497921856122071680557957251072");
        let at_aws: u128 = 556_555_094_773_623_291_269_982 - 556_122_071_680_557_957_251_072;
        assert_eq!(at_aws, ((1_613_136_727_826 - 220) << 28) + 0x426_535e);
        assert_eq!(format(FragmentNumber(1_613_136_727_826_123)), "91351840199358303429709005236649622909013196800");
    }

    #[test]
    fn what_is_no_number_of_ours_is_told() {
        let ours = format(FragmentNumber(1_613_136_727_826_123));
        let zero_in_front = format!("0{ours}");
        let other_milliseconds = format!("{}9", &ours[..46]);
        let others = [
            "",
            "12",
            "91343852333182522497921856555094773623291269982",
            "+1351840199358303429709005236649622909013196800",
            &zero_in_front,
            &other_milliseconds,
            &ours[1..],
            &"9".repeat(128),
        ];
        for text in others {
            assert_eq!(parse(text), None, "{text}");
            assert!(read(text, "member").is_err_and(|refusal| refusal.to_string().starts_with("member: ")));
        }
        assert_eq!(parse(&format(FragmentNumber(u64::MAX))), Some(FragmentNumber(u64::MAX)));
    }
}
