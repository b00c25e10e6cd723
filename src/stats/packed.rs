//! Numbers in as few bytes as they need, and lists without much spare room: what a live session is kept in.

/// Makes room for so many more in a list that holds at most `max`: a quarter of the next power of two at a time,
/// which is how allocators hand memory out, so that little of it lies idle.
pub fn make_room<T>(list: &mut Vec<T>, more: usize, max: usize) {
    let want = list.len().saturating_add(more);
    if list.capacity() >= want {
        return;
    }
    let step = (want.next_power_of_two() / 8).max(4);
    let room = want.div_ceil(step).saturating_mul(step).min(max).max(want);
    list.reserve_exact(room - list.len());
}

/// Bytes of one thing, written one after another; what does not fit into the `N` is left out.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Bytes<N> {
    /// Appends a byte.
    pub const fn byte(&mut self, byte: u8) {
        if self.length < N {
            self.bytes[self.length] = byte;
            self.length += 1;
        }
    }

    /// Appends four bytes.
    pub fn word(&mut self, word: u32) {
        word.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    /// Appends a number in one to five bytes, seven bits each.
    pub const fn number(&mut self, mut number: u32) {
        while number > 0x7f {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// What was written.
    pub fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Reads what [`Bytes`] wrote; none at the end.
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'b>(pub &'b [u8]);

impl Unpack<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// The next four bytes.
    pub fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*word))
    }

    /// The next number.
    pub fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Some(number)
    }
}

/// A signed number as one that is small where it was near zero.
pub const fn zigzag(number: i32) -> u32 {
    ((number << 1) ^ (number >> 31)) as u32
}

/// The number that [`zigzag`] was given.
pub const fn unzigzag(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_has_little_spare_room_and_none_when_full() {
        let mut list = Vec::new();
        for number in 0..96 {
            make_room(&mut list, 1, 96);
            list.push(number);
            let spare = list.capacity() - list.len();
            assert!(spare <= 4.max(list.len() / 4), "{spare} of {}", list.capacity());
        }
        assert_eq!(list.capacity(), 96);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut bytes = Bytes::<5>::default();
        bytes.word(1);
        bytes.number(300);
        assert_eq!(bytes.get().len(), 5);
    }

    proptest! {
        #[test]
        fn numbers_survive(numbers: Vec<u32>, signed: i32) {
            let mut all = Vec::new();
            for number in &numbers {
                let mut bytes = Bytes::<16>::default();
                bytes.number(*number);
                bytes.word(*number);
                bytes.byte(7);
                all.extend_from_slice(bytes.get());
            }
            let mut read = Unpack(&all);
            for number in &numbers {
                prop_assert_eq!((read.number(), read.word(), read.byte()), (Some(*number), Some(*number), Some(7)));
            }
            prop_assert_eq!(read.byte(), None);
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }
}
