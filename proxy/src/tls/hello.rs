//! What a client says first, read without answering: whether it is TLS, and which host is asked for (RFC 8446, 4.1.2;
//! RFC 6066, 3). Versions that are not spoken here are read as well: who passes a connection on does not choose for it.

/// The records and the message that matter.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// The longest name that a host can have, in bytes (RFC 1035, 2.3.4, as it is written).
const LONGEST_HOST: usize = 253;

/// The longest first message that is read, in bytes, as in Envoy.
pub(crate) const LONGEST_HELLO: usize = 16 << 10;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// Not TLS.
    Other,
    /// The beginning of TLS, of which more is needed.
    Incomplete,
    /// TLS, and the host that is asked for, in lower case, if one is. A message that nobody could read has none.
    Tls(Option<String>),
}

/// How far a connection's first bytes were read, of which there may be more each time: what is behind is not read again.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Where the next record begins.
    next: usize,
    /// What the records before that have of the message.
    message: Vec<u8>,
}

impl Reading {
    /// Looks at the first bytes of a connection: those that it was given before, and more.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Hello {
        // The major version is 3 in all there ever was.
        match bytes {
            [] => return Hello::Incomplete,
            [HANDSHAKE] | [HANDSHAKE, 3, ..] => {}
            _ => return Hello::Other,
        }
        match self.read(bytes) {
            Ok(Some(hello)) => hello,
            Ok(None) if bytes.len() < LONGEST_HELLO => Hello::Incomplete,
            Ok(None) | Err(Garbled) => Hello::Tls(None),
        }
    }

    /// Reads the records that are whole, until the first message is.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<Hello>, Garbled> {
        while let Some((header, rest)) = bytes[self.next..].split_at_checked(RECORD_HEADER) {
            if header[0] != HANDSHAKE {
                return Err(Garbled);
            }
            let length = usize::from(header[3]) << 8 | usize::from(header[4]);
            if length == 0 {
                return Err(Garbled); // nobody sends it (RFC 8446, 5.1), and any number of it says nothing
            }
            let Some(record) = rest.get(..length) else { return Ok(None) };
            self.message.extend_from_slice(record);
            self.next += RECORD_HEADER + length;
            if let Some(body) = body(&self.message)? {
                return Ok(Some(Hello::Tls(server_name(body))));
            }
        }
        Ok(None)
    }
}

/// It is TLS by its first bytes, and none by those behind them.
struct Garbled;

/// The first message's body, once there is all of it.
fn body(message: &[u8]) -> Result<Option<&[u8]>, Garbled> {
    let Some((header, body)) = message.split_at_checked(MESSAGE_HEADER) else { return Ok(None) };
    let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
    if header[0] != CLIENT_HELLO || length > LONGEST_HELLO {
        return Err(Garbled);
    }
    Ok(body.get(..length))
}

/// The host that is asked for.
fn server_name(message: &[u8]) -> Option<String> {
    let mut rest = message.get(2 + 32..)?; // version, random
    take_vector(&mut rest, 1)?; // session
    take_vector(&mut rest, 2)?; // ciphers
    take_vector(&mut rest, 1)?; // compression
    let mut extensions = take_vector(&mut rest, 2)?;
    loop {
        let kind = take_number(&mut extensions, 2)?;
        let mut extension = take_vector(&mut extensions, 2)?;
        if kind != usize::from(SERVER_NAME) {
            continue;
        }
        let mut names = take_vector(&mut extension, 2)?;
        let kind = take_number(&mut names, 1)?;
        let name = take_vector(&mut names, 2)?;
        let is_host = kind == usize::from(HOST_NAME)
            && name.len() <= LONGEST_HOST
            && name.iter().all(u8::is_ascii_graphic);
        return Some(
            str::from_utf8(name).ok().filter(|name| is_host && !name.is_empty())?.to_ascii_lowercase(),
        );
    }
}

/// A number of so many bytes.
fn take_number(bytes: &mut &[u8], size: usize) -> Option<usize> {
    let (number, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    Some(number.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// What stands behind its length, which has so many bytes.
fn take_vector<'a>(bytes: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let length = take_number(bytes, size)?;
    let (vector, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(vector)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;
    use crate::tls::PROVIDER;

    /// What a client of rustls says first.
    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(PROVIDER.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn named(name: &str) -> Hello {
        Hello::Tls(Some(name.to_owned()))
    }

    /// What these bytes are, at once and byte by byte.
    fn look(bytes: &[u8]) -> Hello {
        let at_once = Reading::default().look(bytes);
        let mut reading = Reading::default();
        let mut each = (0..=bytes.len()).map(|count| reading.look(&bytes[..count]));
        let told = each.find(|hello| *hello != Hello::Incomplete).unwrap_or(Hello::Incomplete);
        assert_eq!(told, at_once, "{}", bytes.escape_ascii());
        at_once
    }

    #[test]
    fn the_name_is_known_with_the_last_byte_and_not_before() {
        let bytes = hello("a.Example.com");
        for cut in 0..bytes.len() {
            assert_eq!(look(&bytes[..cut]), Hello::Incomplete, "{cut}");
        }
        assert_eq!(look(&bytes), named("a.example.com"));
        assert_eq!(look(&[&bytes[..], b"more"].concat()), named("a.example.com"));
        assert_eq!(look(&hello("127.0.0.1")), Hello::Tls(None), "an address is not asked for by name");
    }

    #[test]
    fn a_message_may_come_in_any_number_of_records() {
        let bytes = hello("a.example.com");
        for size in [1, 2, 3, 50, 200] {
            let record = |part: &[u8]| {
                let length = u16::try_from(part.len()).unwrap().to_be_bytes();
                [&[HANDSHAKE, 3, 1][..], &length, part].concat()
            };
            let records: Vec<u8> = bytes[RECORD_HEADER..].chunks(size).flat_map(record).collect();
            assert_eq!(look(&records), named("a.example.com"), "{size}");
            assert_eq!(look(&records[..records.len() - 1]), Hello::Incomplete, "{size}");
        }
    }

    #[test]
    fn what_is_not_tls_is_told_by_its_first_bytes() {
        for bytes in [&b"G"[..], b"PRI", b"\x80\x2e\x01", b"\x16\x02", b"\0", b"\x15\x03\x01"] {
            assert_eq!(look(bytes), Hello::Other, "{bytes:?}");
        }
    }

    #[test]
    fn nobody_waits_for_the_end_of_what_can_have_none() {
        let too_long = [&[HANDSHAKE, 3, 1, 0, 4, CLIENT_HELLO, 1, 0, 0][..]].concat();
        let empty_records = [HANDSHAKE, 3, 1, 0, 0];
        let another_message = [HANDSHAKE, 3, 1, 0, 4, 2, 0, 0, 1];
        for bytes in [&too_long[..], &empty_records, &another_message] {
            assert_eq!(look(bytes), Hello::Tls(None), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_thing_or_another(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = look(&[&[HANDSHAKE, 3, 1][..], &bytes].concat());
        }

        #[test]
        fn a_changed_byte_harms_nobody(at in 0..200_usize, to in any::<u8>()) {
            let mut bytes = hello("a.example.com");
            bytes[at] = to;
            let _ = look(&bytes);
        }
    }
}
