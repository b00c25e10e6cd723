//! Requests of one connection that are open: which calls wait for a decision, which run, which lists are awaited.

use super::peek::Id;
use std::collections::BTreeMap;

/// Calls open at a time on one connection.
pub const CALLS_MAX: usize = 1_024;
/// Bytes of calls that wait for a decision on one connection.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// Other requests followed at a time on one connection; the tools of a list beyond it are not registered.
pub const FOLLOWED_MAX: usize = 256;

/// A call whose outcome is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket<T> {
    /// The id it was asked about with.
    pub call_id: String,
    /// When it was let through.
    pub since: T,
}

#[derive(Debug)]
enum Open<T> {
    /// Waits for its decision; so many bytes are kept.
    Held(usize),
    /// Runs.
    Runs(Ticket<T>),
}

/// What a server's answer is to.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered<T> {
    /// A call that ran.
    Call(Ticket<T>),
    /// A request to list tools.
    List,
    /// A client's introduction.
    Initialize,
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    List,
    Initialize,
}

/// What is open.
#[derive(Debug)]
pub struct Book<T> {
    calls: BTreeMap<Id, Open<T>>,
    followed: BTreeMap<Id, Followed>,
    held_bytes: usize,
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self { calls: BTreeMap::new(), followed: BTreeMap::new(), held_bytes: 0 }
    }
}

impl<T> Book<T> {
    /// Holds a call of so many bytes. An error says why there is no room for it.
    pub fn hold(&mut self, id: &Id, bytes: usize) -> Result<(), &'static str> {
        if self.calls.contains_key(id) {
            return Err("another call with this id is open");
        }
        if self.calls.len() >= CALLS_MAX {
            return Err("1,024 calls are open on this connection");
        }
        if self.held_bytes + bytes > HELD_BYTES_MAX {
            return Err("64 MiB of calls wait for decisions on this connection");
        }
        self.held_bytes += bytes;
        self.calls.insert(id.clone(), Open::Held(bytes));
        Ok(())
    }

    /// Whether a call is still held: nobody took it back.
    pub fn is_held(&self, id: &Id) -> bool {
        matches!(self.calls.get(id), Some(Open::Held(_)))
    }

    /// Lets a held call run; false if it was taken back meanwhile.
    pub fn run(&mut self, id: &Id, ticket: Ticket<T>) -> bool {
        match self.calls.get_mut(id) {
            Some(open @ Open::Held(_)) => {
                if let Open::Held(bytes) = std::mem::replace(open, Open::Runs(ticket)) {
                    self.held_bytes -= bytes;
                }
                true
            }
            _ => false,
        }
    }

    /// Ends a held call that is not to run; false if it was taken back meanwhile.
    pub fn refuse(&mut self, id: &Id) -> bool {
        let is_held = self.is_held(id);
        if is_held {
            self.remove(id);
        }
        is_held
    }

    /// Follows a request to list tools.
    pub fn list(&mut self, id: Id) {
        self.follow(id, Followed::List);
    }

    /// Follows an introduction.
    pub fn initialize(&mut self, id: Id) {
        self.follow(id, Followed::Initialize);
    }

    fn follow(&mut self, id: Id, what: Followed) {
        if self.followed.len() < FOLLOWED_MAX {
            self.followed.insert(id, what);
        }
    }

    /// Whether an answer that is not known yet may be a list of tools.
    pub fn awaits_list(&self) -> bool {
        self.followed.values().any(|what| *what == Followed::List)
    }

    /// The request that an answer with this id is to; it is not open any more.
    pub fn answered(&mut self, id: &Id) -> Answered<T> {
        match self.followed.remove(id) {
            Some(Followed::List) => return Answered::List,
            Some(Followed::Initialize) => return Answered::Initialize,
            None => {}
        }
        match self.calls.get(id) {
            Some(Open::Runs(_)) => self.remove(id).map_or(Answered::Other, Answered::Call),
            // A server that answers what it was not asked does not end the waiting for a decision.
            _ => Answered::Other,
        }
    }

    /// Takes a request back. A call that ran comes out; whether it was held is told beside it.
    pub fn cancel(&mut self, id: &Id) -> (bool, Option<Ticket<T>>) {
        self.followed.remove(id);
        let was_held = self.is_held(id);
        (was_held, self.remove(id))
    }

    /// Everything that runs; nothing is open afterwards.
    pub fn close(&mut self) -> Vec<Ticket<T>> {
        self.followed.clear();
        self.held_bytes = 0;
        let open = std::mem::take(&mut self.calls);
        open.into_values()
            .filter_map(|open| match open {
                Open::Runs(ticket) => Some(ticket),
                Open::Held(_) => None,
            })
            .collect()
    }

    /// Whether a call runs.
    pub fn runs_any(&self) -> bool {
        self.calls.values().any(|open| matches!(open, Open::Runs(_)))
    }

    fn remove(&mut self, id: &Id) -> Option<Ticket<T>> {
        match self.calls.remove(id)? {
            Open::Held(bytes) => {
                self.held_bytes -= bytes;
                None
            }
            Open::Runs(ticket) => Some(ticket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Id {
        Id::parse(&number.to_string()).unwrap()
    }

    fn ticket(name: &str) -> Ticket<u32> {
        Ticket { call_id: name.to_owned(), since: 0 }
    }

    #[test]
    fn a_call_is_held_runs_and_is_answered_once() {
        let mut book = Book::default();
        book.hold(&id(1), 10).unwrap();
        assert!(book.hold(&id(1), 10).is_err(), "an id is used once at a time");
        assert_eq!(book.answered(&id(1)), Answered::Other, "it has not been asked yet");
        assert!(book.run(&id(1), ticket("a")) && !book.run(&id(1), ticket("b")));
        assert_eq!(book.answered(&id(1)), Answered::Call(ticket("a")));
        assert_eq!(book.answered(&id(1)), Answered::Other);
    }

    #[test]
    fn taken_back_calls_do_not_run() {
        let mut book = Book::default();
        book.hold(&id(1), 10).unwrap();
        assert_eq!(book.cancel(&id(1)), (true, None));
        assert!(!book.run(&id(1), ticket("a")) && !book.refuse(&id(1)));
        book.hold(&id(2), 10).unwrap();
        assert!(book.run(&id(2), ticket("b")));
        assert_eq!(book.cancel(&id(2)), (false, Some(ticket("b"))));
        assert_eq!(book.close(), []);
    }

    #[test]
    fn there_is_an_end_to_what_is_held() {
        let mut book: Book<u32> = Book::default();
        assert!(book.hold(&id(0), HELD_BYTES_MAX + 1).is_err());
        (0..CALLS_MAX).for_each(|number| book.hold(&id(number), 1).unwrap());
        assert!(book.hold(&id(CALLS_MAX), 1).is_err());
        assert!(book.refuse(&id(3)));
        book.hold(&id(CALLS_MAX), 1).unwrap();
        assert!(!book.runs_any() && book.close().is_empty());
    }

    #[test]
    fn lists_are_known_by_their_answers() {
        let mut book: Book<u32> = Book::default();
        book.list(id(1));
        book.initialize(id(2));
        assert!(book.awaits_list());
        assert_eq!(book.answered(&id(2)), Answered::Initialize);
        assert_eq!(book.answered(&id(1)), Answered::List);
        assert!(!book.awaits_list());
        (0..FOLLOWED_MAX + 5).for_each(|number| book.list(id(number)));
        assert_eq!(book.followed.len(), FOLLOWED_MAX);
    }
}
