//! Which configuration the demonstration runs: the example's own file, or a copy with other ports where one of its is
//! in use.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The addresses in the example's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) ingress: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) canary: SocketAddr,
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// As they are written there.
pub(crate) const WRITTEN: Addresses =
    Addresses { ingress: local(8080), admin: local(9901), api: local(9001), canary: local(9002) };

/// Port 0: the system chooses.
pub(crate) const ANY: Addresses =
    Addresses { ingress: local(0), admin: local(0), api: local(0), canary: local(0) };

impl Addresses {
    /// The first of these that somebody else listens on.
    pub(crate) fn in_use(&self) -> Option<SocketAddr> {
        [self.ingress, self.admin, self.api, self.canary]
            .into_iter()
            .find(|address| TcpListener::bind(address).is_err())
    }
}

/// Writes a copy of the example's file with these addresses into `folder`; returns its path.
pub(crate) fn write_copy(example: &Path, folder: &Path, addresses: &Addresses) -> anyhow::Result<PathBuf> {
    let text = fs::read_to_string(example).with_context(|| format!("cannot read {}", example.display()))?;
    let home = example.parent().unwrap_or(Path::new(""));
    let copy = folder.join("tidegate.yaml");
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(&copy, rewrite(&text, home, addresses))
        .with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
}

/// Paths of modules are relative to the file, so the copy names them whole.
fn rewrite(text: &str, home: &Path, to: &Addresses) -> String {
    let from = WRITTEN;
    [(from.ingress, to.ingress), (from.admin, to.admin), (from.api, to.api), (from.canary, to.canary)]
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(&from.to_string(), &to.to_string()))
        .replace("module: ../", &format!("module: {}/../", home.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../tidegate.yaml");

    #[test]
    fn the_example_has_the_addresses_that_the_demonstration_knows() {
        for address in [WRITTEN.ingress, WRITTEN.admin, WRITTEN.api, WRITTEN.canary] {
            assert!(EXAMPLE.contains(&address.to_string()), "{address}");
        }
    }

    #[test]
    fn a_copy_has_other_ports_and_whole_paths() {
        let copy = rewrite(EXAMPLE, Path::new("/home/ann/tidegate/examples/quickstart"), &ANY);
        assert!(!["8080", "9901", "9001", "9002"].iter().any(|port| copy.contains(port)), "{copy}");
        let module = "module: /home/ann/tidegate/examples/quickstart/../../target/wasm/modules/guard.wasm";
        assert!(copy.contains(module), "{copy}");
    }
}
