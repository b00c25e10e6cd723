//! Lines out of a stream of bytes, one message a line, with a bound on what is kept.

/// A piece of a client's stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole line, with its end if it has one.
    Line(Vec<u8>),
    /// A line over the limit ended; its bytes are gone.
    TooLong,
}

/// Collects lines.
#[derive(Debug)]
pub struct Lines {
    line: Vec<u8>,
    most: usize,
    skipping: bool,
}

impl Lines {
    /// Lines of at most so many bytes, ends included.
    pub const fn new(most: usize) -> Self {
        Self { line: Vec::new(), most, skipping: false }
    }

    /// Takes bytes and hands over every line that they end.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Piece)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > self.most {
                self.skipping = true;
                self.line = Vec::new();
            }
            if !self.skipping {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                each(self.take());
            }
        }
    }

    /// What stands behind the last line's end, if there is anything.
    pub fn finish(mut self) -> Option<Piece> {
        (self.skipping || !self.line.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Piece {
        if std::mem::take(&mut self.skipping) {
            return Piece::TooLong;
        }
        Piece::Line(std::mem::take(&mut self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes: &[u8], at: usize, most: usize) -> Vec<Piece> {
        let mut lines = Lines::new(most);
        let mut found = Vec::new();
        for part in bytes.chunks(at.max(1)) {
            lines.push(part, |piece| found.push(piece));
        }
        found.extend(lines.finish());
        found
    }

    #[test]
    fn long_lines_are_told_and_the_next_one_is_whole() {
        let found = cut(b"ab\n0123456789\ncd\r\ne", 3, 6);
        let line = |text: &str| Piece::Line(text.as_bytes().to_vec());
        assert_eq!(found, [line("ab\n"), Piece::TooLong, line("cd\r\n"), line("e")]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_come(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..100), at in 1..20usize,
        ) {
            let whole = cut(&bytes, usize::MAX, 30);
            prop_assert_eq!(&cut(&bytes, at, 30), &whole);
            if !whole.contains(&Piece::TooLong) {
                let joined: Vec<u8> = whole.into_iter().flat_map(|piece| match piece {
                    Piece::Line(line) => line,
                    Piece::TooLong => Vec::new(),
                }).collect();
                prop_assert_eq!(joined, bytes);
            }
        }
    }
}
