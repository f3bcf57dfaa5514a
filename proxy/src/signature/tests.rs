//! Signatures agree with those of the format's reference implementation, and nothing but a whole module counts.

use proptest::prelude::*;
use wasmsign2::reexports::ct_codecs::{Encoder, Hex};

use super::*;

/// RFC 8032 section 7.1, test 1, as OpenSSL writes it.
const ANN: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const ANN_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn ann() -> SecretKey {
    SecretKey::from_pem(ANN).unwrap()
}

fn embedded(module: &[u8]) -> Vec<u8> {
    Signed::read(module, None).unwrap().embedded(&ann())
}

fn theirs() -> (wasmsign2::SecretKey, wasmsign2::PublicKey) {
    let secret = wasmsign2::SecretKey::from_pem(ANN).unwrap();
    let public = wasmsign2::PublicKey::from_pem(&ann().public().to_pem()).unwrap();
    (secret, public)
}

#[test]
fn a_key_is_read_as_openssl_writes_it() {
    assert_eq!(ann().public().hex(), ANN_PUBLIC);
    let public = ann().public().to_pem();
    assert_eq!(PublicKey::from_pem(&public).unwrap(), ann().public());
    assert!(matches!(PublicKey::from_pem(ANN), Err(KeyError::Private)));
    assert!(matches!(SecretKey::from_pem(&public), Err(KeyError::Public)));
    assert!(matches!(PublicKey::from_pem("key"), Err(KeyError::Invalid)));
    assert_eq!(Hex::encode_to_string(*theirs().1.pk).unwrap(), ANN_PUBLIC);
}

#[test]
fn the_reference_verifies_what_is_signed_here() {
    let module = module("(module (memory 1) (func nop))");
    let (_, public) = theirs();
    public.verify(&mut &*embedded(&module), None).unwrap();
    let detached = Signed::read(&module, None).unwrap().detached(&ann());
    public.verify(&mut &*module, Some(&detached)).unwrap();
}

#[test]
fn what_the_reference_signed_is_verified_here() {
    let module = module("(module (memory 1) (func nop))");
    let (secret, public) = theirs();
    let parsed = wasmsign2::Module::deserialize(&mut &*module).unwrap();
    let named = public.attach_default_key_id();
    let signed = secret.sign(parsed.clone(), named.key_id()).unwrap();
    let mut bytes = Vec::new();
    signed.serialize(&mut bytes).unwrap();
    assert!(Signed::read(&bytes, None).unwrap().is_by(&ann().public()));
    let (_, detached) = secret.sign_multi(parsed, None, true, false).unwrap();
    assert!(Signed::read(&module, Some(&detached)).unwrap().is_by(&ann().public()));
}

#[test]
fn a_part_of_what_was_signed_is_not_signed() {
    let module = module("(module (memory 1) (func nop))");
    let (secret, public) = theirs();
    let parsed = wasmsign2::Module::deserialize(&mut &*module).unwrap();
    let mut sections = 0;
    let parsed = parsed.split(|_| {
        sections += 1;
        sections <= 2
    });
    let (signed, _) = secret.sign_multi(parsed.unwrap(), None, false, false).unwrap();
    let mut whole = Vec::new();
    signed.serialize(&mut whole).unwrap();
    assert!(Signed::read(&whole, None).unwrap().is_by(&ann().public()));
    // Up to its first delimiter the reference has a hash of it that was signed too.
    let cut = signed.sections.iter().position(wasmsign2::Section::is_signature_delimiter).unwrap();
    let mut part = Vec::new();
    let sections = signed.sections[..=cut].to_vec();
    wasmsign2::Module { header: signed.header, sections }.serialize(&mut part).unwrap();
    public.verify(&mut &*part, None).unwrap();
    let read = Signed::read(&part, None).unwrap();
    assert!(read.has_signatures() && !read.is_by(&ann().public()));
}

#[test]
fn a_signature_is_added_to_those_that_a_module_has_and_one_of_another_content_goes() {
    let bob = SecretKey(SigningKey::from_bytes(&[7; 32]));
    let module = module("(module (memory 1))");
    let both = embedded(&Signed::read(&module, None).unwrap().embedded(&bob));
    let read = Signed::read(&both, None).unwrap();
    assert!(read.is_by(&ann().public()) && read.is_by(&bob.public()));
    assert_eq!((read.count(), Signed::read(&embedded(&both), None).unwrap().count()), (2, 2));
    let mut grown = both.clone();
    grown.extend([0, 2, 1, b'x']);
    let read = Signed::read(&grown, None).unwrap();
    assert!(!read.is_by(&ann().public()) && read.has_signatures() && read.count() == 0);
    let anew = Signed::read(&grown, None).unwrap().embedded(&bob);
    let read = Signed::read(&anew, None).unwrap();
    assert!(read.is_by(&bob.public()) && !read.is_by(&ann().public()) && read.count() == 1);
}

#[test]
fn signatures_that_are_too_long_are_not_read() {
    let module = module("(module)");
    let long = vec![1; SIGNATURES_LIMIT + 1];
    assert_eq!(Signed::read(&module, Some(&long)).unwrap_err(), SignatureError::TooLong);
    assert_eq!(Signed::read(b"text", None).unwrap_err(), SignatureError::NotAModule);
    let lying = [&KIND[..], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert!(matches!(Signed::read(&module, Some(&lying)), Err(SignatureError::Malformed(_))));
}

proptest! {
    /// The section's own bytes are not signed: there a change may be harmless, but never a crash.
    #[test]
    fn a_module_with_one_other_bit_is_not_signed(at in 0_usize..1000, bit in 0..8) {
        let mut signed = embedded(&module("(module (memory 1) (func (export \"f\") nop))"));
        let content = Signed::read(&signed, None).unwrap().content.len();
        let at = signed.len() - 1 - at % content;
        signed[at] ^= 1_u8 << bit;
        prop_assert!(!Signed::read(&signed, None).unwrap().is_by(&ann().public()));
    }

    #[test]
    fn whatever_a_signature_section_says_is_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        let module = module("(module)");
        let begun = [&KIND[..], &data].concat();
        for data in [data, begun] {
            if let Ok(signed) = Signed::read(&module, Some(&data)) {
                prop_assert!(!signed.is_by(&ann().public()));
            }
        }
    }
}
