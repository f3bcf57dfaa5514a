//! Reads a recording, a line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::{FORMAT, Head, Line, Secrets, SecretsHead, secrets_file};
use crate::wasm::witness::Blob;

/// The longest line that is read, in bytes: a step with a body of [the most](crate::wasm::body::MAX_EDITED_LEN) before
/// and after it, in base64.
const MAX_LINE: u64 = 512 << 20;

/// How many bytes of lines are handed over at once, about, and how often that is done before they are looked at.
const BATCH: usize = 256 << 10;
const MAX_BATCHES: usize = 16;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is something else.
    #[error(
        "{} is not a recording: its first line does not say so; `tidegate dev --record FILE` makes one",
        file.display()
    )]
    NotOne {
        /// Which.
        file: PathBuf,
    },
    /// It came later.
    #[error("{} is a recording of format {found}, and this tidegate reads format {FORMAT}: use a newer one", file.display())]
    Format {
        /// Which.
        file: PathBuf,
        /// Its form.
        found: u32,
    },
    /// The file with the secrets is another recording's.
    #[error(
        "{} has the secrets of another recording than {}: `--secrets FILE` names the one that belongs to it; where there is \
         none, take this one away, and it is replayed with its secrets masked",
        secrets.display(),
        file.display()
    )]
    OtherSecrets {
        /// The recording.
        file: PathBuf,
        /// The file with the secrets.
        secrets: PathBuf,
    },
    /// A line cannot be read.
    #[error("{}:{line}: {message}", file.display())]
    Line {
        /// In which file.
        file: PathBuf,
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader {
    file: PathBuf,
    lines: BufReader<File>,
    line: u64,
    text: Vec<u8>,
    head: Head,
    secrets: Option<Secrets>,
}

impl Reader {
    /// Opens a recording. Its secrets are put back where `secrets`, or the file beside it, has them.
    ///
    /// # Errors
    ///
    /// It cannot be read, is none, or is of a later form.
    pub fn open(file: &Path, secrets: Option<&Path>) -> Result<Reader, ReadError> {
        let lines = open(file)?;
        let head = Head { format: FORMAT, tidegate: String::new(), masked: false, id: None };
        let mut reader =
            Reader { file: file.to_owned(), lines, line: 0, text: Vec::new(), head, secrets: None };
        let not_one = || ReadError::NotOne { file: file.to_owned() };
        if !reader.read_line()? {
            return Err(not_one());
        }
        #[derive(serde::Deserialize)]
        struct First {
            recording: Form,
        }
        #[derive(serde::Deserialize)]
        struct Form {
            format: u32,
        }
        let First { recording: Form { format } } =
            serde_json::from_slice(&reader.text).map_err(|_| not_one())?;
        if format > FORMAT {
            return Err(ReadError::Format { file: file.to_owned(), found: format });
        }
        match serde_json::from_slice(&reader.text) {
            Ok(Line::Recording(head)) => reader.head = head,
            _ => return Err(not_one()),
        }
        let beside = secrets_file(file);
        let secrets = secrets.or_else(|| beside.is_file().then_some(&*beside));
        if let Some(secrets) = secrets.filter(|_| reader.head.masked) {
            let (of, words) = read_secrets(secrets)?;
            if of != reader.head.id {
                return Err(ReadError::OtherSecrets { file: file.to_owned(), secrets: secrets.to_owned() });
            }
            reader.secrets = Some(words);
        }
        Ok(reader)
    }

    /// What the recording is.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether secrets are missing from it.
    pub fn is_masked(&self) -> bool {
        self.head.masked && self.secrets.is_none()
    }

    /// The next line; none at the end. A last line without an end is one that was not written whole, and left out.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        if !self.read_line()? {
            return Ok(None);
        }
        let mut line = match serde_json::from_slice(&self.text) {
            Ok(line) => line,
            Err(_) if !self.text.ends_with(b"\n") => return Ok(None),
            Err(error) => return Err(self.wrong(error.to_string())),
        };
        if let Some(secrets) = &self.secrets {
            match &mut line {
                Line::Instance { given, .. } => secrets.reveal(&mut **given),
                Line::Step { did, .. } => secrets.reveal(&mut **did),
                Line::Recording(_) | Line::Gone { .. } | Line::Cut { .. } => {}
            }
        }
        Ok(Some(line))
    }

    /// All lines to the end, which a thread of its own reads while the last ones are looked at. The first error ends it.
    pub fn read_ahead(mut self) -> impl Iterator<Item = Result<Line, ReadError>> {
        let (sender, receiver) = mpsc::sync_channel::<Vec<_>>(MAX_BATCHES);
        std::thread::spawn(move || {
            let mut is_over = false;
            while !is_over {
                let (mut batch, mut bytes) = (Vec::new(), 0);
                while bytes < BATCH && !is_over {
                    let line = self.next_line();
                    is_over = !matches!(line, Ok(Some(_)));
                    batch.extend(line.transpose());
                    bytes += self.text.len();
                }
                is_over |= sender.send(batch).is_err(); // nobody looks at them any more
            }
        });
        receiver.into_iter().flatten()
    }

    fn read_line(&mut self) -> Result<bool, ReadError> {
        self.text.clear();
        self.line += 1;
        let read = (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut self.text);
        let read = read.map_err(|source| ReadError::Io { file: self.file.clone(), source })?;
        if read as u64 == MAX_LINE {
            return Err(self.wrong("the line is longer than any that is written".to_owned()));
        }
        Ok(read > 0)
    }

    fn wrong(&self, message: String) -> ReadError {
        let message = super::compare::plain(&message).into_owned();
        ReadError::Line { file: self.file.clone(), line: self.line, message }
    }
}

fn open(file: &Path) -> Result<BufReader<File>, ReadError> {
    let opened = File::open(file).map_err(|source| ReadError::Io { file: file.to_owned(), source })?;
    Ok(BufReader::with_capacity(1 << 18, opened))
}

/// What a file of secrets has, and whose they are, where it says so. A last line without an end was not written whole.
fn read_secrets(file: &Path) -> Result<(Option<String>, Secrets), ReadError> {
    let (mut lines, mut secrets, mut of) = (open(file)?, Secrets::default(), None);
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = (&mut lines).take(MAX_LINE).read_until(b'\n', &mut text);
        read.map_err(|source| ReadError::Io { file: file.to_owned(), source })?;
        if !text.ends_with(b"\n") && text.len() as u64 != MAX_LINE {
            break;
        }
        if line == 1
            && let Ok(SecretsHead { secrets_of }) = serde_json::from_slice(&text)
        {
            of = Some(secrets_of);
            continue;
        }
        let (word, secret): (Blob, Blob) = serde_json::from_slice(&text).map_err(|error| {
            let message = format!("it is no word and what it stands for: {error}");
            ReadError::Line { file: file.to_owned(), line, message }
        })?;
        secrets.add(&word, &secret);
    }
    Ok((of, secrets))
}
