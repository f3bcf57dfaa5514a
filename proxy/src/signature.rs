//! Signatures of modules: Ed25519, in the format of the WebAssembly tool conventions
//! (<https://github.com/WebAssembly/tool-conventions/blob/main/Signatures.md>), which other tools write and read too.
//!
//! A signature stands in the module's first section, a custom section `signature`, or in a file of its own, which holds
//! what that section would. It covers every byte behind the module's header and that section. The conventions also let
//! a part of a module be verified; here a module is signed as a whole or not at all.
//!
//! What is read here comes from anywhere: nothing is allocated by what it says of its own length.

use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use wasm_encoder::{CustomSection, Encode as _, Section as _};
use wasmparser::BinaryReader;

/// What every module begins with: the magic number and version 1 of the binary format.
const HEADER: [u8; 8] = *b"\0asm\x01\0\0\0";
/// The custom section that holds signatures.
pub(crate) const SECTION: &str = "signature";
/// What a signed text begins with, so that a signature is of nothing else: the domain, the version of the format, that
/// it is of a module, and that hashes are SHA-256.
const DOMAIN: &[u8] = b"wasmsig\x01\x01\x01";
/// Version of the format, kind of content, hash function: the beginning of a signature section.
const KIND: [u8; 3] = [1, 1, 1];
/// Ed25519, as the format numbers algorithms.
const ED25519: u8 = 1;
/// Signatures take no more than this, in bytes: each of them may have to be held against each trusted key.
pub(crate) const SIGNATURES_LIMIT: usize = 16 << 10;

/// A key that signatures are verified with.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

/// A key that modules are signed with.
pub struct SecretKey(SigningKey);

/// Why a text is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is the other half of a pair.
    #[error("this is a private key, where the public one is expected")]
    Private,
    /// See [`Private`](KeyError::Private).
    #[error("this is a public key, where the private one is expected")]
    Public,
    /// It is a private key that only a passphrase opens, which nobody is asked for here.
    #[error(
        "this private key is encrypted, and is read as it is only: `openssl pkey -in KEY -out PLAIN` asks for its passphrase and \
         writes it in plain"
    )]
    Encrypted,
    /// It is no key of Ed25519 in PEM, or one that anybody could sign for.
    #[error("this is no Ed25519 key in PEM")]
    Invalid,
}

/// Why there is no telling who signed a module, or why it cannot be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// It is no WebAssembly module.
    #[error("it is no WebAssembly module")]
    NotAModule,
    /// Its signatures are no signatures.
    #[error("its signatures cannot be read: {0}")]
    Malformed(&'static str),
    /// Its signatures are too long.
    #[error("its signatures are longer than {} KiB", SIGNATURES_LIMIT >> 10)]
    TooLong,
}

impl PublicKey {
    /// From the text of a file as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        match VerifyingKey::from_public_key_pem(text.trim()) {
            Ok(key) if !key.is_weak() => Ok(PublicKey(key)),
            _ if text.contains("PRIVATE KEY") => Err(KeyError::Private),
            _ => Err(KeyError::Invalid),
        }
    }

    /// The text of a file that [`from_pem`](PublicKey::from_pem) reads.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(Default::default()).unwrap_or_default()
    }

    /// Its 32 bytes in hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.hex())
    }
}

impl SecretKey {
    /// From the text of a file as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn from_pem(text: &str) -> Result<SecretKey, KeyError> {
        match SigningKey::from_pkcs8_pem(text.trim()) {
            Ok(key) => Ok(SecretKey(key)),
            Err(_) if text.contains("PUBLIC KEY") => Err(KeyError::Public),
            // The second is how it was written before PKCS #8.
            Err(_) if text.contains("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") => {
                Err(KeyError::Encrypted)
            }
            Err(_) => Err(KeyError::Invalid),
        }
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey")
    }
}

/// A module, taken apart into its signatures and what they are of.
#[derive(Debug)]
pub struct Signed<'a> {
    signatures: Vec<SignedHashes<'a>>,
    content: &'a [u8],
    hash: [u8; 32],
}

/// Signatures of one list of hashes.
#[derive(Debug, Clone)]
struct SignedHashes<'a> {
    /// 32 bytes each: of the module up to each delimiter, the last of all of it.
    hashes: &'a [u8],
    signatures: Vec<&'a [u8]>,
}

impl<'a> Signed<'a> {
    /// Takes a module apart. `detached` is what a file beside it says, where there is one: it counts in addition to what
    /// stands in the module.
    ///
    /// # Errors
    ///
    /// It is no module, or its signatures cannot be read.
    pub fn read(module: &'a [u8], detached: Option<&'a [u8]>) -> Result<Signed<'a>, SignatureError> {
        let sections = module.strip_prefix(&HEADER).ok_or(SignatureError::NotAModule)?;
        let (embedded, content) = split(sections)?;
        let mut signatures = Vec::new();
        for data in embedded.into_iter().chain(detached) {
            if data.len() > SIGNATURES_LIMIT {
                return Err(SignatureError::TooLong);
            }
            signatures.extend(parse(data)?);
        }
        Ok(Signed { signatures, content, hash: Sha256::digest(content).into() })
    }

    /// Whether anybody's signature is there, right or wrong.
    pub fn has_signatures(&self) -> bool {
        self.signatures.iter().any(|set| !set.signatures.is_empty())
    }

    /// How many signatures there are of the module as it is, by whomever.
    pub fn count(&self) -> usize {
        self.of_the_whole().map(|set| set.signatures.len()).sum()
    }

    /// Whether this key signed the module, as a whole and as it is.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        self.of_the_whole().any(|set| {
            let message = message(set.hashes);
            set.signatures.iter().any(|signature| {
                Signature::from_slice(signature)
                    .is_ok_and(|signature| key.0.verify_strict(&message, &signature).is_ok())
            })
        })
    }

    /// A signature of a part of the module is no signature of it: whoever cuts the rest off could pass it on.
    fn of_the_whole(&self) -> impl Iterator<Item = &SignedHashes<'a>> {
        self.signatures.iter().filter(|set| set.hashes.ends_with(&self.hash))
    }

    /// What a file with this key's signature holds.
    pub fn detached(&self, key: &SecretKey) -> Vec<u8> {
        self.data(Vec::new(), key)
    }

    /// The module with this key's signature in it, beside those that it has.
    pub fn embedded(&self, key: &SecretKey) -> Vec<u8> {
        let public = key.public();
        // What was signed before is of another module: it says nothing any more.
        let mut kept: Vec<_> = self.of_the_whole().cloned().collect();
        for set in &mut kept {
            let message = message(set.hashes);
            set.signatures.retain(|signature| {
                let signature = Signature::from_slice(signature);
                !signature.is_ok_and(|signature| public.0.verify_strict(&message, &signature).is_ok())
            });
        }
        let data = self.data(kept, key);
        let mut module = HEADER.to_vec();
        CustomSection { name: SECTION.into(), data: data.into() }.append_to(&mut module);
        module.extend(self.content);
        module
    }

    fn data(&self, sets: Vec<SignedHashes<'_>>, key: &SecretKey) -> Vec<u8> {
        let signature = key.0.sign(&message(&self.hash)).to_bytes();
        let mut sets: Vec<SignedHashes<'_>> = sets;
        match sets.iter_mut().find(|set| set.hashes == self.hash) {
            Some(set) => set.signatures.push(&signature),
            None => sets.push(SignedHashes { hashes: &self.hash, signatures: vec![&signature] }),
        }
        let mut data = KIND.to_vec();
        sets.len().encode(&mut data);
        for set in sets {
            let mut text = Vec::new();
            (set.hashes.len() / 32).encode(&mut text);
            text.extend(set.hashes);
            set.signatures.len().encode(&mut text);
            for signature in set.signatures {
                let mut entry = vec![0, ED25519]; // no name of the key
                signature.encode(&mut entry);
                entry.as_slice().encode(&mut text);
            }
            text.as_slice().encode(&mut data);
        }
        data
    }
}

fn message(hashes: &[u8]) -> Vec<u8> {
    [DOMAIN, hashes].concat()
}

/// What the first section says, if that is one with signatures, and all that follows it.
fn split(sections: &[u8]) -> Result<(Option<&[u8]>, &[u8]), SignatureError> {
    let mut reader = BinaryReader::new(sections, 0);
    let section = |reader: &mut BinaryReader<'_>| -> wasmparser::Result<Option<(usize, usize)>> {
        if reader.read_u8()? != 0 {
            return Ok(None);
        }
        let length = reader.read_var_u32()? as usize;
        let begin = reader.original_position();
        reader.read_bytes(length)?;
        Ok(Some((begin, length)))
    };
    let Ok(Some((begin, length))) = section(&mut reader) else { return Ok((None, sections)) };
    let (section, rest) = (&sections[begin..begin + length], &sections[begin + length..]);
    let mut reader = BinaryReader::new(section, 0);
    match reader.read_string() {
        Ok(name) if name == SECTION => Ok((Some(&section[reader.original_position()..]), rest)),
        _ => Ok((None, sections)),
    }
}

/// Reads what a signature section holds. Signatures by algorithms that are not known here are left out.
fn parse(data: &[u8]) -> Result<Vec<SignedHashes<'_>>, SignatureError> {
    let rest = data
        .strip_prefix(&KIND)
        .ok_or(SignatureError::Malformed("they are of another version of the format"))?;
    let mut reader = BinaryReader::new(rest, 0);
    read_sets(&mut reader).map_err(|_| SignatureError::Malformed("they end too early"))
}

fn read_sets<'a>(reader: &mut BinaryReader<'a>) -> wasmparser::Result<Vec<SignedHashes<'a>>> {
    let mut sets = Vec::new();
    for _ in 0..reader.read_var_u32()? {
        let mut reader = read_slice(reader)?;
        let hashes = reader.read_var_u32()? as usize;
        let hashes = reader.read_bytes(hashes.saturating_mul(32))?;
        let mut signatures = Vec::new();
        for _ in 0..reader.read_var_u32()? {
            let mut reader = read_slice(&mut reader)?;
            read_slice(&mut reader)?; // the key's name, which proves nothing
            if reader.read_u8()? == ED25519 {
                let length = reader.read_var_u32()? as usize;
                signatures.push(reader.read_bytes(length)?);
            }
        }
        sets.push(SignedHashes { hashes, signatures });
    }
    Ok(sets)
}

fn read_slice<'a>(reader: &mut BinaryReader<'a>) -> wasmparser::Result<BinaryReader<'a>> {
    let length = reader.read_var_u32()? as usize;
    let at = reader.original_position();
    Ok(BinaryReader::new(reader.read_bytes(length)?, at))
}

#[cfg(test)]
mod tests;
