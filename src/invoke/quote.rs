//! Go's `%q`, in which libcni's messages show what a plugin printed.

use std::fmt::Write;

/// A double-quoted string as Go's `strconv.Quote` writes it; bytes that are not UTF-8 become `\xNN`.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            push(&mut quoted, letter);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

fn push(quoted: &mut String, letter: char) {
    let short = match letter {
        '"' => '"',
        '\\' => '\\',
        '\x07' => 'a',
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\x0b' => 'v',
        _ => return push_long(quoted, letter),
    };
    quoted.push('\\');
    quoted.push(short);
}

fn push_long(quoted: &mut String, letter: char) {
    let _ = match u32::from(letter) {
        code @ (0..0x20 | 0x7f) => write!(quoted, "\\x{code:02x}"),
        _ if is_printable(letter) => write!(quoted, "{letter}"),
        code @ ..0x1_0000 => write!(quoted, "\\u{code:04x}"),
        code => write!(quoted, "\\U{code:08x}"),
    };
}

fn is_printable(letter: char) -> bool {
    // Rust's own table, by the only door to it. A letter goes before, since a mark at the start is always escaped.
    letter.is_ascii() || ['a', letter].iter().collect::<String>().escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_as_go_does() {
        // The right-hand sides are what strconv.Quote printed.
        for (bytes, quoted) in [
            (&b""[..], r#""""#),
            (b"a 'b' \"c\" \\", r#""a 'b' \"c\" \\""#),
            (b"\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            (b"\0\x1b\x7f", r#""\x00\x1b\x7f""#),
            (b"\xff\xe2\x82", r#""\xff\xe2\x82""#),
            ("é世\u{301}😀".as_bytes(), "\"é世\u{301}😀\""),
            ("\u{a0}\u{200b}\u{feff}\u{e0001}".as_bytes(), r#""\u00a0\u200b\ufeff\U000e0001""#),
        ] {
            assert_eq!(quote(bytes), quoted);
        }
    }
}
