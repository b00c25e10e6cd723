//! Messages out of a stream of server-sent events, read while its bytes pass.

/// Bytes of a field's name that tell it apart.
const NAME_BYTES: usize = 5;

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes of a message.
    Data(&'a [u8]),
    /// The message is whole.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Name,
    /// Behind the colon, where one space is no part of the value.
    Colon,
    Data,
    Rest,
}

/// Reads a stream of events.
#[derive(Debug)]
pub struct Events {
    place: Place,
    name: [u8; NAME_BYTES],
    length: usize,
    after_return: bool,
    has_data: bool,
    has_ids: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            place: Place::Start,
            name: [0; NAME_BYTES],
            length: 0,
            after_return: false,
            has_data: false,
            has_ids: false,
        }
    }
}

impl Events {
    /// Whether events had ids: then the stream may be taken up again.
    pub const fn has_ids(&self) -> bool {
        self.has_ids
    }

    /// Whether the next byte begins an event.
    pub fn is_between(&self) -> bool {
        self.place == Place::Start && !self.has_data
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Part<'_>)) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let follows_return = std::mem::take(&mut self.after_return);
            match (self.place, byte) {
                (Place::Start, b'\n') if follows_return => {}
                (_, b'\r' | b'\n') => {
                    self.after_return = byte == b'\r';
                    self.line_ends(&mut each);
                }
                (Place::Start, _) => {
                    self.length = 0;
                    self.place = Place::Name;
                    continue;
                }
                (Place::Name, b':') => self.name_ends(&mut each),
                (Place::Name, _) => {
                    if let Some(slot) = self.name.get_mut(self.length) {
                        *slot = byte;
                        self.length += 1;
                    }
                }
                (Place::Colon, b' ') => self.place = Place::Data,
                (Place::Colon | Place::Data, _) => {
                    self.place = Place::Data;
                    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                    let (run, left) = bytes.split_at(end.unwrap_or(bytes.len()));
                    each(Part::Data(run));
                    bytes = left;
                    continue;
                }
                (Place::Rest, _) => {}
            }
            bytes = rest;
        }
    }

    fn name(&self) -> &[u8] {
        self.name.get(..self.length).unwrap_or_default()
    }

    fn name_ends(&mut self, each: &mut impl FnMut(Part<'_>)) {
        let is_data = self.name() == b"data";
        self.has_ids |= self.name() == b"id";
        self.place = if is_data { Place::Colon } else { Place::Rest };
        if is_data && std::mem::replace(&mut self.has_data, true) {
            each(Part::Data(b"\n"));
        }
    }

    fn line_ends(&mut self, each: &mut impl FnMut(Part<'_>)) {
        if self.place == Place::Start && std::mem::take(&mut self.has_data) {
            each(Part::End);
        }
        self.place = Place::Start;
    }
}

/// A message as an event.
pub fn event(message: &[u8]) -> Vec<u8> {
    [b"event: message\ndata: ", message, b"\n\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
        let (mut events, mut found, mut message) = (Events::default(), Vec::new(), Vec::new());
        for part in text.chunks(step) {
            events.feed(part, |part| match part {
                Part::Data(bytes) => message.extend_from_slice(bytes),
                Part::End => found.push(std::mem::take(&mut message)),
            });
        }
        (found, events.has_ids())
    }

    #[test]
    fn messages_are_read_whatever_ends_a_line() {
        let text = b": hello\n\nevent: message\nid: 1\ndata: {\"a\":1}\n\ndata:x\r\ndata: y\r\n\r\ndata: z\r\rdatas: no\ndata: half";
        for step in [1, 2, 5, 1_000] {
            let (found, has_ids) = messages(text, step);
            assert_eq!(found, [b"{\"a\":1}".to_vec(), b"x\ny".to_vec(), b"z".to_vec()], "{step}");
            assert!(has_ids);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (found, has_ids) = messages(&[event(b"{}"), event(b"[1]")].concat(), 3);
        assert_eq!(found, [b"{}".to_vec(), b"[1]".to_vec()]);
        assert!(!has_ids);
    }
}
