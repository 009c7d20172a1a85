//! What pool and worker say to each other: a tag, a length, and so many bytes.
//!
//! Values are postcard's, which is compact and specified: <https://postcard.jamesmunns.com/wire-format>. Both ends are the same
//! program, so there is nothing to negotiate.

use std::io::{self, Read};

use serde::Serialize;

/// The bytes before the body: the tag, and the body's length, little-endian.
pub(super) const HEAD: usize = 9;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// Worker: it takes jobs.
    Ready = 1,
    /// Pool: a function's name, and its argument.
    Run,
    /// Worker: it has the whole job and begins it.
    Begun,
    /// Worker: the function's output.
    Output,
    /// Worker: what the function's panic said.
    Panicked,
    /// Worker: why the argument cannot be read.
    BadArgument,
    /// Worker: why the output cannot be written.
    BadOutput,
    /// Worker: there is no function of that name.
    Unknown,
}

impl Tag {
    const ALL: [Tag; 8] = [
        Tag::Ready,
        Tag::Run,
        Tag::Begun,
        Tag::Output,
        Tag::Panicked,
        Tag::BadArgument,
        Tag::BadOutput,
        Tag::Unknown,
    ];

    fn of(byte: u8) -> Option<Tag> {
        Self::ALL.into_iter().find(|tag| *tag as u8 == byte)
    }
}

/// Tag and length of the frame that begins with these bytes.
pub(super) fn parse(head: [u8; HEAD]) -> io::Result<(Tag, usize)> {
    let [tag, length @ ..] = head;
    let length = usize::try_from(u64::from_le_bytes(length)).ok();
    Tag::of(tag).zip(length).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("what came from a worker is no answer: {head:?}"))
    })
}

/// A frame with this text.
pub(super) fn text(tag: Tag, text: &str) -> Vec<u8> {
    let mut frame = begin(tag);
    frame.extend_from_slice(text.as_bytes());
    end(frame)
}

/// A frame with this value.
pub(super) fn value<T: Serialize>(tag: Tag, value: &T) -> postcard::Result<Vec<u8>> {
    postcard::to_extend(value, begin(tag)).map(end)
}

/// The frame that asks for a function of an argument.
pub(super) fn request<A: Serialize>(function: &str, argument: &A) -> postcard::Result<Vec<u8>> {
    let named = postcard::to_extend(function, begin(Tag::Run))?;
    postcard::to_extend(argument, named).map(end)
}

/// The function's name and its argument's bytes, from the body of a request.
pub(super) fn parse_request(body: &[u8]) -> postcard::Result<(&str, &[u8])> {
    postcard::take_from_bytes(body)
}

/// Reads the next frame, blocking.
pub(super) fn read(mut from: impl Read) -> io::Result<(Tag, Vec<u8>)> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let (tag, length) = parse(head)?;
    let mut body = Vec::new();
    // The memory grows with what comes, whatever the length says.
    let count = from.take(length as u64).read_to_end(&mut body)?;
    if count == length { Ok((tag, body)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn begin(tag: Tag) -> Vec<u8> {
    let mut frame = vec![0; HEAD];
    frame[0] = tag as u8;
    frame
}

fn end(mut frame: Vec<u8>) -> Vec<u8> {
    let length = (frame.len() - HEAD) as u64;
    frame[1..HEAD].copy_from_slice(&length.to_le_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_what_it_is_and_how_long() {
        for tag in Tag::ALL {
            let frame = text(tag, "what");
            assert_eq!(read(&*frame).expect("it is whole"), (tag, b"what".to_vec()));
        }
        assert_eq!(text(Tag::Begun, "").len(), HEAD);
    }

    #[test]
    fn a_request_gives_back_name_and_argument() {
        let frame = request("a::function", &(7u32, vec!["b", "c"])).expect("it can be written");
        let (tag, body) = read(&*frame).expect("it is whole");
        let (name, argument) = parse_request(&body).expect("it begins with a name");
        assert_eq!((tag, name), (Tag::Run, "a::function"));
        let argument: (u32, Vec<&str>) = postcard::from_bytes(argument).expect("it was written as this");
        assert_eq!(argument, (7, vec!["b", "c"]));
    }

    #[test]
    fn what_is_cut_off_or_no_frame_is_an_error() {
        let frame = text(Tag::Output, "cut off");
        for length in 0..frame.len() {
            let error = read(&frame[..length]).expect_err("something is missing");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        let mut huge = [0xff; HEAD];
        huge[0] = Tag::Output as u8;
        assert_eq!(read(&huge[..]).expect_err("it is not there").kind(), io::ErrorKind::UnexpectedEof);
        for tag in [0, Tag::ALL.len() as u8 + 1, b'h'] {
            let error = read(&[tag; HEAD][..]).expect_err("there is no such tag");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn what_serde_cannot_write_is_an_error() {
        struct Never;
        impl Serialize for Never {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("never"))
            }
        }
        assert!(value(Tag::Output, &Never).is_err());
        assert!(request("f", &Never).is_err());
    }
}
