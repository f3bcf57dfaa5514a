//! Where in an image a module is.
//!
//! Three layouts are in use: one layer of a Wasm media type, with a configuration of the CNCF's Wasm artifact or of the
//! older WebAssembly image specification, or with none; and, for tools that know only containers, the "compat" variant,
//! an ordinary image whose last layer is an archive with the file `plugin.wasm`.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::{FetchError, MODULE_LIMIT};
use crate::config::model::Sha256;

/// Layers that are a module.
const WASM: [&str; 4] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
/// Layers that are an archive.
const ARCHIVES: [(&str, Compression); 4] = [
    ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
    ("application/vnd.oci.image.layer.v1.tar", Compression::None),
    ("application/vnd.docker.image.rootfs.diff.tar", Compression::None),
];
/// The module in an archive.
const FILE: &str = "plugin.wasm";
/// An archive's other content, in bytes: with it, no archive unpacks to more than this and a module.
const ARCHIVE_ALLOWANCE: u64 = 16 << 20;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    None,
}

/// What a manifest and an index have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Described {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Described {
    /// Whether it is a list of images, not an image.
    pub(super) fn is_index(&self) -> bool {
        match self.media_type.as_deref() {
            Some(media_type) => media_type.contains("index") || media_type.contains("manifest.list"),
            None => self.manifests.is_some(),
        }
    }
}

/// An image.
#[derive(Deserialize)]
pub(super) struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// A list of images.
#[derive(Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// A layer that can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: Sha256,
    pub(super) size: u64,
}

/// The layer with the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Module {
    /// It is the module.
    Bare(Layer),
    /// The module is a file in it.
    Archive(Layer, Compression),
}

impl Descriptor {
    fn digest(&self) -> Result<Sha256, FetchError> {
        let digest = self.digest.strip_prefix("sha256:").and_then(Sha256::from_hex);
        digest.ok_or_else(|| FetchError::Malformed("a digest in its manifest is no SHA-256".to_owned()))
    }

    fn layer(&self) -> Result<Layer, FetchError> {
        Ok(Layer { digest: self.digest()?, size: self.size })
    }
}

impl Manifest {
    /// The layer with the module.
    pub(super) fn module(&self) -> Result<Module, FetchError> {
        let mut modules = self.layers.iter().filter(|layer| WASM.contains(&&*layer.media_type));
        match (modules.next(), modules.next(), self.layers.last()) {
            (Some(layer), None, _) => layer.layer().map(Module::Bare),
            (Some(_), Some(_), _) => Err(FetchError::Layout("several of its layers are modules".to_owned())),
            (None, _, None) => Err(FetchError::Layout("it has no layers".to_owned())),
            (None, _, Some(last)) => {
                let archive = ARCHIVES.iter().find(|(media_type, _)| last.media_type == *media_type);
                match archive {
                    Some((_, compression)) => Ok(Module::Archive(last.layer()?, *compression)),
                    None => Err(FetchError::Layout(format!(
                        "its layers are of the types {}",
                        listed(&self.layers)
                    ))),
                }
            }
        }
    }
}

fn listed(layers: &[Descriptor]) -> String {
    let shown: Vec<_> =
        layers.iter().take(4).map(|layer| layer.media_type.escape_debug().to_string()).collect();
    shown.join(", ")
}

impl Index {
    /// The image for WebAssembly, or the only one. What builders put beside it to attest it is no image.
    pub(super) fn choose(&self) -> Result<Sha256, FetchError> {
        let is = |platform: &Option<Platform>, architecture: &str| {
            platform.as_ref().is_some_and(|platform| platform.architecture == architecture)
        };
        let images = || self.manifests.iter().filter(|image| !is(&image.platform, "unknown"));
        let of_wasm = images().find(|image| is(&image.platform, "wasm"));
        match (of_wasm, images().count()) {
            (Some(image), _) => image.digest(),
            (None, 1) => images().next().map_or_else(|| self.none(), Descriptor::digest),
            (None, _) => self.none(),
        }
    }

    fn none(&self) -> Result<Sha256, FetchError> {
        let platforms = self.manifests.iter().take(8).map(|image| match &image.platform {
            Some(Platform { architecture, os }) => {
                format!("{}/{}", os.escape_debug(), architecture.escape_debug())
            }
            None => "any".to_owned(),
        });
        let platforms = platforms.collect::<Vec<_>>().join(", ");
        Err(FetchError::Layout(format!(
            "it is an index with none for `wasm`, of the platforms [{platforms}]"
        )))
    }
}

/// The module in an archive. Nothing is written anywhere: the names in it lead nowhere.
pub(super) fn extract(archive: &[u8], compression: Compression) -> Result<Bytes, FetchError> {
    let unpacked: Box<dyn Read + '_> = match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(archive)),
        Compression::None => Box::new(archive),
    };
    let mut archive = tar::Archive::new(unpacked.take(MODULE_LIMIT + ARCHIVE_ALLOWANCE));
    let broken = |error: io::Error| {
        FetchError::Layout(format!("its layer is no archive, or too large a one: {error}"))
    };
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let is_module = entry.path_bytes().rsplit(|byte| *byte == b'/').next() == Some(FILE.as_bytes());
        if !is_module || !entry.header().entry_type().is_file() {
            continue;
        }
        if entry.size() > MODULE_LIMIT {
            return Err(FetchError::TooLarge { what: "the module", limit: MODULE_LIMIT });
        }
        let mut module = Vec::new();
        entry.by_ref().take(MODULE_LIMIT + 1).read_to_end(&mut module).map_err(broken)?;
        if module.len() as u64 != entry.size() {
            return Err(FetchError::Layout("its layer ends in the middle of the module".to_owned()));
        }
        return Ok(module.into());
    }
    Err(FetchError::Layout(format!("there is no {FILE} in its layer")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(archive: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(archive).unwrap();
        packed.finish().unwrap()
    }

    /// An archive of one file: its name, the size that it claims, and what there is of it.
    fn archive(name: &str, size: u64, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_cksum();
        [&header.as_bytes()[..], content].concat()
    }

    #[test]
    fn an_archive_that_unpacks_to_more_than_a_module_may_be_is_left() {
        let filler = vec![0; (MODULE_LIMIT + ARCHIVE_ALLOWANCE) as usize];
        let bomb = archive("filler", filler.len() as u64, &filler);
        let bomb = packed(&[bomb, archive("plugin.wasm", 4, b"\0asm")].concat());
        assert!(bomb.len() < 1 << 20);
        assert!(matches!(extract(&bomb, Compression::Gzip), Err(FetchError::Layout(_))));
        let claim = packed(&archive("plugin.wasm", MODULE_LIMIT + 1, b""));
        assert!(matches!(extract(&claim, Compression::Gzip), Err(FetchError::TooLarge { .. })));
    }

    #[test]
    fn an_archive_that_is_cut_off_or_none_gives_no_module() {
        let cut = packed(&archive("plugin.wasm", 100, b"\0asm"));
        let whole = packed(&archive("plugin.wasm", 4, b"\0asm"));
        for broken in [&cut[..], &whole[..whole.len() / 2], b"no archive"] {
            assert!(matches!(extract(broken, Compression::Gzip), Err(FetchError::Layout(_))));
        }
        assert!(matches!(extract(b"no archive", Compression::None), Err(FetchError::Layout(_))));
    }

    #[test]
    fn names_in_an_archive_lead_nowhere_and_links_are_no_modules() {
        let module = [archive("a/b/plugin.wasm", 4, b"\0asm"), vec![0; 508]].concat();
        assert_eq!(&extract(&module, Compression::None).unwrap()[..], b"\0asm");
        let mut link = tar::Header::new_ustar();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_path("plugin.wasm").unwrap();
        link.set_link_name("/etc/passwd").unwrap();
        link.set_size(0);
        link.set_cksum();
        assert!(matches!(extract(link.as_bytes(), Compression::None), Err(FetchError::Layout(_))));
    }
}
