//! The configuration that is served: one listener, the filter, and a cluster behind it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};

use super::settings::Settings;
use super::{Options, Source};
use crate::recording::secrets_file;

/// How many names are tried for the folder, where one was left behind by a process that was killed.
const FOLDERS: usize = 100;

/// What is served, as a file in a folder of its own, which goes when this does.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    name: String,
    settings: Arc<Settings>,
    /// What is written here while the filter runs: no source of it, wherever it lies.
    written: Vec<PathBuf>,
    served: Mutex<Served>,
}

/// What is in the file.
#[derive(Debug, Default)]
struct Served {
    module: Option<PathBuf>,
    listen: Option<SocketAddr>,
}

impl Stage {
    /// Finds out what is to be served. `sample` is the sample service, where one is needed.
    pub(super) fn set_up(options: &Options, sample: Option<SocketAddr>) -> anyhow::Result<Stage> {
        let (name, beside, module) = match &options.source {
            Source::Crate { folder, .. } => {
                if !folder.join("Cargo.toml").is_file() {
                    bail!(
                        "there is no Cargo.toml in {}: name the folder of a filter's crate or a module, or make one \
                         with `tidegate filter new NAME`",
                        folder.display()
                    );
                }
                let whole = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
                (whole.file_name().map(|name| name.to_string_lossy().into_owned()), whole, None)
            }
            Source::Module(file) => {
                let whole = file.canonicalize();
                let whole = whole.with_context(|| format!("there is no module {}", file.display()))?;
                let folder = whole.parent().map(Path::to_owned).unwrap_or_default();
                (whole.file_stem().map(|name| name.to_string_lossy().into_owned()), folder, Some(whole))
            }
        };
        let settings = Arc::new(Settings::set_up(options, beside, sample)?);
        let folder = own_folder()?;
        let recording = options.record.as_deref().map(whole);
        let written = recording.into_iter().flat_map(|file| [secrets_file(&file), file]).collect();
        let served = Mutex::new(Served { module, listen: None });
        Ok(Stage { folder, name: name.unwrap_or_else(|| "filter".to_owned()), settings, written, served })
    }

    /// What the filter is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it is given.
    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether this process writes this file itself.
    pub(super) fn writes(&self, file: &Path) -> bool {
        file.starts_with(&self.folder) || self.written.iter().any(|written| written == file)
    }

    /// The file with the proxy's configuration.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("tidegate.yaml")
    }

    /// This is the filter's module from now on.
    pub(super) fn set_module(&self, module: &Path) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).module = Some(module.to_owned());
    }

    /// Writes the file: the proxy listens here.
    pub(super) fn write(&self, listen: SocketAddr) -> anyhow::Result<()> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).listen = Some(listen);
        self.write_again()
    }

    /// Writes it again, as the filter's settings are others now. Nothing is there to be written before it was once.
    pub(super) fn write_again(&self) -> anyhow::Result<()> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(module), Some(listen)) = (&served.module, served.listen) else { return Ok(()) };
        let text = self.settings.served(&self.name, module, listen)?;
        let part = self.folder.join("tidegate.yaml.new");
        fs::write(&part, text).and_then(|()| fs::rename(&part, self.file()))?;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder that nobody else reads: what a filter is configured with may be secret.
fn own_folder() -> anyhow::Result<PathBuf> {
    let name = |at: usize| match at {
        0 => format!("tidegate-dev-{}", std::process::id()),
        _ => format!("tidegate-dev-{}-{at}", std::process::id()),
    };
    for at in 0..FOLDERS {
        let folder = std::env::temp_dir().join(name(at));
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder.canonicalize()?),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let made = format!("cannot make {}; TMPDIR names another place", folder.display());
                return Err(anyhow::Error::from(error).context(made));
            }
        }
    }
    bail!("{} is full of folders that were left behind", std::env::temp_dir().display())
}

/// A file's whole path, which need not be there yet.
pub(super) fn whole(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), file.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => file.to_owned(),
    }
}

/// Where to listen: there, or at another port of the same address where that one is in use.
pub(super) fn free(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let bound = TcpListener::bind(wanted).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse => TcpListener::bind(SocketAddr::new(wanted.ip(), 0)),
        _ => Err(error),
    });
    // It is let go at once and bound by the proxy; in between, nobody is likely to take it.
    let bound =
        bound.with_context(|| format!("cannot listen at {wanted}; --listen names another address"))?;
    Ok(bound.local_addr()?)
}
