//! As much of Thrift's compact protocol as Parquet's metadata needs to be written.

/// A struct being written: fields in ascending order.
#[derive(Debug, Default)]
pub(super) struct Struct {
    out: Vec<u8>,
    last: i16,
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

impl Struct {
    fn field(&mut self, id: i16, kind: u8) {
        // Ids here are close together: the short form always fits.
        let delta = (id - self.last).clamp(1, 15) as u8;
        self.out.push(delta << 4 | kind);
        self.last = id;
    }

    /// A 32-bit number or an enum.
    pub(super) fn i32(mut self, id: i16, value: i32) -> Self {
        self.field(id, I32);
        varint(&mut self.out, zigzag(value.into()));
        self
    }

    /// A 64-bit number.
    pub(super) fn i64(mut self, id: i16, value: i64) -> Self {
        self.field(id, I64);
        varint(&mut self.out, zigzag(value));
        self
    }

    /// A text.
    pub(super) fn text(mut self, id: i16, value: &str) -> Self {
        self.field(id, BINARY);
        bytes(&mut self.out, value);
        self
    }

    /// A struct within.
    pub(super) fn nested(mut self, id: i16, value: Self) -> Self {
        self.field(id, STRUCT);
        self.out.extend(value.finish());
        self
    }

    /// A list of structs.
    pub(super) fn structs(mut self, id: i16, values: impl ExactSizeIterator<Item = Self>) -> Self {
        self.field(id, LIST);
        list(&mut self.out, values.len(), STRUCT);
        values.for_each(|value| self.out.extend(value.finish()));
        self
    }

    /// A list of texts.
    pub(super) fn texts(mut self, id: i16, values: &[&str]) -> Self {
        self.field(id, LIST);
        list(&mut self.out, values.len(), BINARY);
        values.iter().for_each(|value| bytes(&mut self.out, value));
        self
    }

    /// A list of enums.
    pub(super) fn enums(mut self, id: i16, values: &[i32]) -> Self {
        self.field(id, LIST);
        list(&mut self.out, values.len(), I32);
        values.iter().for_each(|value| varint(&mut self.out, zigzag((*value).into())));
        self
    }

    /// The bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push(0);
        self.out
    }
}

fn list(out: &mut Vec<u8>, length: usize, kind: u8) {
    if length < 15 {
        out.push((length as u8) << 4 | kind);
    } else {
        out.push(0xf0 | kind);
        varint(out, length as u64);
    }
}

fn bytes(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// A number in groups of seven bits, the lowest first.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        assert_eq!(
            Struct::default().i32(1, 1).i64(3, -2).text(4, "ab").finish(),
            [0x15, 2, 0x26, 3, 0x18, 2, b'a', b'b', 0]
        );
        let inner = || Struct::default().i32(1, 150);
        assert_eq!(
            Struct::default().structs(2, [inner(), inner()].into_iter()).finish(),
            [0x29, 0x2c, 0x15, 0xac, 0x02, 0, 0x15, 0xac, 0x02, 0, 0]
        );
        let many = Struct::default().enums(1, &[0; 20]).finish();
        assert_eq!(many[..3], [0x19, 0xf5, 20]);
    }
}
