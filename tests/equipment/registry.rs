//! A registry: Debian's `docker-registry`, the reference implementation of the OCI Distribution Specification, with its
//! storage in a folder of the test's own; and images of every layout that modules are shipped in.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Client;
use super::process::Process;
use super::tool;
use super::wait::eventually;

const BINARY: &str = "/usr/bin/docker-registry";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Who may use a registry with a door: the name and the password, and what stands in its file.
pub(crate) const ANN: (&str, &str) = ("ann", "open-sesame");
const ANN_LINE: &str = "ann:$2y$04$Znl.JehyHSIi/Q523zX9eO/oaPtIP5Z9UGQMGL3Xy6nrb9JgN6jhS\n";

/// A running registry.
pub(crate) struct Registry {
    process: Process,
    address: SocketAddr,
    guarded: bool,
    _folder: TempDir,
}

/// An image that is in a registry.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    /// Of its manifest, `sha256:` in front.
    pub(crate) digest: String,
    /// Its manifest's length.
    pub(crate) size: usize,
}

impl Registry {
    /// Whether it is installed.
    pub(crate) fn is_installed() -> bool {
        tool::is_installed("docker-registry", Path::new(BINARY), "packages.sh docker-registry")
    }

    /// One that lets everybody in.
    pub(crate) fn start() -> Registry {
        Registry::start_with("", false)
    }

    /// One that lets only [`ANN`] in.
    pub(crate) fn start_guarded() -> Registry {
        Registry::start_with("auth: {htpasswd: {realm: modules, path: @FOLDER@/users}}\n", true)
    }

    fn start_with(more: &str, guarded: bool) -> Registry {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let at = folder.path().to_str().expect("temporary folders have plain names");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: @FOLDER@/data}}}}\n\
             http: {{addr: \"127.0.0.1:0\"}}\n{more}"
        );
        let file = folder.path().join("registry.yaml");
        std::fs::write(&file, config.replace("@FOLDER@", at)).expect("a temporary file can be written");
        std::fs::write(folder.path().join("users"), ANN_LINE).expect("a temporary file can be written");
        let process = Process::start("docker-registry", Command::new(BINARY).arg("serve").arg(&file));
        let address = process.find(&process.stderr, "the registry to listen", |lines| {
            let line = lines.iter().find_map(|line| line.split_once("listening on "))?.1;
            line.split(['"', ' ', ',']).next()?.parse().ok()
        });
        let address = address.unwrap_or_else(|| panic!("the registry ended:\n{}", process.stderr.text()));
        Registry { process, address, guarded, _folder: folder }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked for something whose path has this in it.
    pub(crate) fn count(&self, part: &str) -> usize {
        let asked =
            |line: &&String| line.contains("GET /v2/") && line.contains(part) && line.contains("HTTP/1.1\"");
        self.process.stdout.lines().iter().filter(asked).count()
    }

    /// Puts an image with this module into it, laid out as `layout` says.
    pub(crate) fn push(&self, name: &str, tag: &str, module: &[u8], layout: Layout) -> Pushed {
        let (media_type, layers) = layout.layers(module);
        let (config_type, config) = layout.config();
        let layers: Vec<Value> =
            layers.iter().map(|(media_type, content)| self.blob(name, media_type, content)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.blob(name, config_type, config.as_bytes()),
            "layers": layers,
        });
        self.manifest(name, tag, media_type, &manifest)
    }

    /// Puts an index of these images into it, each with its platform.
    pub(crate) fn push_index(&self, name: &str, tag: &str, images: &[(&Pushed, &str, &str)]) -> Pushed {
        let image = |(pushed, os, architecture): &(&Pushed, &str, &str)| {
            json!({
                "mediaType": OCI_MANIFEST,
                "digest": pushed.digest,
                "size": pushed.size,
                "platform": {"os": os, "architecture": architecture},
            })
        };
        let images: Vec<Value> = images.iter().map(image).collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": images});
        self.manifest(name, tag, OCI_INDEX, &index)
    }

    fn blob(&self, name: &str, media_type: &str, content: &[u8]) -> Value {
        let digest = digest(content);
        let mut client = self.client();
        let begun = self.request(&mut client, "POST", &format!("/v2/{name}/blobs/uploads/"), "", &[]);
        assert_eq!(begun.0, 202, "an upload begins");
        let location = begun.1.expect("the registry says where to");
        let path =
            location.split_once("://").map_or(&*location, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let mark = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{mark}digest={digest}");
        let done = self.request(&mut client, "PUT", &target, "application/octet-stream", content);
        assert_eq!(done.0, 201, "a blob is taken");
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    fn manifest(&self, name: &str, tag: &str, media_type: &str, manifest: &Value) -> Pushed {
        let text = manifest.to_string();
        let path = format!("/v2/{name}/manifests/{tag}");
        let done = self.request(&mut self.client(), "PUT", &path, media_type, text.as_bytes());
        assert_eq!(done.0, 201, "a manifest is taken: {text}");
        Pushed { digest: digest(text.as_bytes()), size: text.len() }
    }

    fn client(&self) -> Client {
        eventually("the registry to take a connection", || Client::try_connect(self.address).ok())
    }

    /// Status and `location` of the answer.
    fn request(
        &self,
        client: &mut Client,
        method: &str,
        path: &str,
        media_type: &str,
        body: &[u8],
    ) -> (u16, Option<String>) {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        if !media_type.is_empty() {
            head += &format!("content-type: {media_type}\r\n");
        }
        if self.guarded {
            head += &format!("authorization: Basic {}\r\n", base64(&format!("{}:{}", ANN.0, ANN.1)));
        }
        client.send(&(head + "\r\n"));
        client.send_bytes(body);
        let response = client.response_to(method);
        (response.status(), response.field("location").map(str::to_owned))
    }
}

/// How a module lies in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// WebAssembly image specification, variant "oci".
    Module,
    /// The CNCF's Wasm artifact.
    Artifact,
    /// One layer of the type that some tools write.
    Content,
    /// Variant "compat", with OCI's types.
    Compat,
    /// Variant "compat", with Docker's types, above a layer of something else.
    CompatDocker,
    /// An image of something else.
    NoModule,
    /// A layer of a type that says nothing.
    Unknown,
    /// Two modules.
    Two,
}

impl Layout {
    fn layers(self, module: &[u8]) -> (&'static str, Vec<(&'static str, Vec<u8>)>) {
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let bare = |media_type| vec![(media_type, module.to_vec())];
        match self {
            Layout::Module => (OCI_MANIFEST, bare("application/vnd.module.wasm.content.layer.v1+wasm")),
            Layout::Artifact => (OCI_MANIFEST, bare("application/wasm")),
            Layout::Content => (OCI_MANIFEST, bare("application/vnd.wasm.content.layer.v1+wasm")),
            Layout::Compat => (
                OCI_MANIFEST,
                vec![(gzip, archive(&[("runtime-config.json", b"{}"), ("./plugin.wasm", module)]))],
            ),
            Layout::CompatDocker => {
                let below = archive(&[("etc/motd", b"hello")]);
                (DOCKER_MANIFEST, vec![(docker, below), (docker, archive(&[("plugin.wasm", module)]))])
            }
            Layout::NoModule => (OCI_MANIFEST, vec![(gzip, archive(&[("bin/sh", module)]))]),
            Layout::Unknown => (OCI_MANIFEST, bare("application/octet-stream")),
            Layout::Two => (OCI_MANIFEST, [bare("application/wasm"), bare("application/wasm")].concat()),
        }
    }

    fn config(self) -> (&'static str, &'static str) {
        match self {
            Layout::Module => ("application/vnd.module.wasm.config.v1+json", "{}"),
            Layout::Artifact => {
                ("application/vnd.wasm.config.v0+json", r#"{"architecture":"wasm","os":"wasip1"}"#)
            }
            Layout::Content => ("application/vnd.wasm.config.v1+json", "{}"),
            Layout::CompatDocker => ("application/vnd.docker.container.image.v1+json", "{}"),
            _ => ("application/vnd.oci.image.config.v1+json", "{}"),
        }
    }
}

/// A packed archive of these files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *content).expect("memory can be written");
    }
    let archive = archive.into_inner().expect("memory can be written");
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&archive).expect("memory can be written");
    packed.finish().expect("memory can be written")
}

/// `sha256:` and the digest in hexadecimal digits.
pub(crate) fn digest(content: &[u8]) -> String {
    format!("sha256:{}", tidegate::config::model::Sha256::of(content))
}

/// What stands in a header with a name and a password.
pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
