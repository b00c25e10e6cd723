//! The protobuf wire format, written and read by hand: tags, varints, length-delimited bytes.
//!
//! Stored events use it so that any protobuf tool reads them with `proto/askance/store/v1/event.proto`,
//! without a generated struct between the event and its bytes.

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    Truncated,
    /// A varint is longer than ten bytes.
    #[error("a varint is longer than ten bytes")]
    LongVarint,
    /// A wire type nobody writes any more.
    #[error("wire type {0} is not supported")]
    WireType(u8),
    /// A text that is not UTF-8.
    #[error("field {0} is not UTF-8")]
    NotUtf8(u32),
    /// A field has a value outside its range.
    #[error("field {0} is out of range")]
    Range(u32),
}

/// Writes fields in ascending order of number; default values are left out, as in proto3.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// A writer in the place of what `bytes` held.
    pub fn over(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes }
    }

    /// Makes room for so many bytes more.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Bytes as they are: inside a packed field.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// An unsigned integer.
    pub fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    /// An unsigned integer that is written even when zero (a proto3 `optional`).
    pub fn uint_present(&mut self, field: u32, value: Option<u64>) {
        if let Some(value) = value {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    /// A signed integer, zigzag.
    pub fn sint(&mut self, field: u32, value: i64) {
        self.uint(field, zigzag(value));
    }

    /// A signed integer that is written even when zero.
    pub fn sint_present(&mut self, field: u32, value: Option<i64>) {
        self.uint_present(field, value.map(zigzag));
    }

    /// Eight bytes, little endian.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3 | 1);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Bytes; left out when empty.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_present(field, value);
        }
    }

    /// Bytes, even when empty: an element of a repeated field.
    pub fn bytes_present(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Text; left out when empty.
    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// A packed list of fixed64.
    pub fn packed_fixed64(&mut self, field: u32, values: &[u64]) {
        if !values.is_empty() {
            self.varint(u64::from(field) << 3 | 2);
            self.varint(values.len() as u64 * 8);
            for value in values {
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// A packed list of varints.
    pub fn packed_uint(&mut self, field: u32, values: &[u32]) {
        if !values.is_empty() {
            self.message(field, |inner| values.iter().for_each(|value| inner.varint((*value).into())));
        }
    }

    /// A message inside this one.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.varint(u64::from(field) << 3 | 2);
        let start = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let length = self.bytes.len() - start - 1;
        if length < 0x80 {
            self.bytes[start] = length as u8;
        } else {
            // A longer length than there is a place for: what was written moves on.
            let more = (length.ilog2() / 7) as usize;
            let end = self.bytes.len();
            self.bytes.resize(end + more, 0);
            self.bytes.copy_within(start + 1..end, start + 1 + more);
            let mut rest = length;
            for byte in &mut self.bytes[start..=start + more] {
                *byte = rest as u8 | 0x80;
                rest >>= 7;
            }
            self.bytes[start + more] &= 0x7f;
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// A field as read.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
}

/// A value as read.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Varint or fixed integer.
    Int(u64),
    /// Length-delimited.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The value as an unsigned integer; 0 for a field of another type.
    pub fn uint(&self) -> u64 {
        match self.value {
            Value::Int(value) => value,
            Value::Bytes(_) => 0,
        }
    }

    /// The value as an unsigned integer that must fit `T`.
    pub fn fit<T: TryFrom<u64>>(&self) -> Result<T, Error> {
        T::try_from(self.uint()).map_err(|_| Error::Range(self.number))
    }

    /// The value as a zigzag integer that must fit `T`.
    pub fn sfit<T: TryFrom<i64>>(&self) -> Result<T, Error> {
        T::try_from(self.sint()).map_err(|_| Error::Range(self.number))
    }

    /// The value as a zigzag integer.
    pub fn sint(&self) -> i64 {
        let value = self.uint();
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }

    /// The value as bytes; empty for a field of another type.
    pub fn bytes(&self) -> &'a [u8] {
        match self.value {
            Value::Bytes(bytes) => bytes,
            Value::Int(_) => &[],
        }
    }

    /// The value as text.
    pub fn text(&self) -> Result<String, Error> {
        std::str::from_utf8(self.bytes()).map(str::to_owned).map_err(|_| Error::NotUtf8(self.number))
    }

    /// The value as exactly `N` bytes.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Error> {
        self.bytes().try_into().map_err(|_| Error::Range(self.number))
    }

    /// The value as a packed list of fixed64.
    pub fn packed_fixed64(&self) -> Result<Vec<u64>, Error> {
        let bytes = self.bytes();
        if !bytes.len().is_multiple_of(8) {
            return Err(Error::Range(self.number));
        }
        Ok(bytes
            .chunks_exact(8)
            .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("chunks of eight")))
            .collect())
    }
}

impl Field<'_> {
    /// The value as a packed list of varints, put into `values`; how many there are. Those beyond its length are left out.
    pub fn packed_uint_into(&self, values: &mut [u32]) -> Result<usize, Error> {
        let mut reader = Reader::new(self.bytes());
        let mut count = 0;
        while !reader.rest.is_empty() {
            let value = u32::try_from(reader.varint()?).map_err(|_| Error::Range(self.number))?;
            if let Some(place) = values.get_mut(count) {
                *place = value;
            }
            count += 1;
        }
        Ok(count)
    }
}

/// Reads the fields of a message in order.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over a whole message.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Error> {
        match self.rest.split_first() {
            // Nearly all tags and lengths.
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Error::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::LongVarint)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let length = usize::try_from(length).map_err(|_| Error::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<Field<'a>, Error> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Error::Range(0))?;
        let value = match tag as u8 & 7 {
            0 => Value::Int(self.varint()?),
            1 => Value::Int(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes"))),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Int(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")).into()),
            other => return Err(Error::WireType(other)),
        };
        Ok(Field { number, value })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Field<'a>, Error>;

    /// Ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nested_messages_of_any_length_read_back() {
        for length in [0_usize, 1, 126, 127, 128, 16_383, 16_384, 70_000] {
            let inner = vec![7_u8; length];
            let mut writer = Writer::default();
            writer.message(3, |inside| inside.bytes(1, &inner));
            let bytes = writer.finish();
            let outer = Reader::new(&bytes).next().unwrap().unwrap();
            let read: Vec<u8> =
                Reader::new(outer.bytes()).flat_map(|f| f.unwrap().bytes().to_vec()).collect();
            assert_eq!(read, inner);
        }
    }

    proptest! {
        #[test]
        fn values_read_back(unsigned: u64, signed: i64, fixed: u64, text in ".*", list: Vec<u64>) {
            let mut writer = Writer::default();
            writer.uint_present(1, Some(unsigned));
            writer.sint_present(2, Some(signed));
            writer.fixed64(3, fixed | 1);
            writer.bytes_present(4, text.as_bytes());
            writer.packed_fixed64(5, &list);
            let bytes = writer.finish();
            let fields: Vec<_> = Reader::new(&bytes).map(Result::unwrap).collect();
            prop_assert_eq!(fields[0].uint(), unsigned);
            prop_assert_eq!(fields[1].sint(), signed);
            prop_assert_eq!(fields[2].uint(), fixed | 1);
            prop_assert_eq!(fields[3].text().unwrap(), text);
            if !list.is_empty() {
                prop_assert_eq!(fields[4].packed_fixed64().unwrap(), list);
            }
        }

        #[test]
        fn any_bytes_end_in_fields_or_an_error(bytes: Vec<u8>) {
            let read = Reader::new(&bytes).count();
            prop_assert!(read <= bytes.len());
        }
    }
}
