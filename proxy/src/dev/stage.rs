//! The configuration that is served: one listener, the filter, and a cluster behind it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};

use super::{Options, Source};
use crate::recording::secrets_file;

/// What a filter's configuration is called in the folder of its crate, where nobody names it.
const CONFIGS: [&str; 2] = ["config.yaml", "config.json"];

/// The largest that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// What is served, as a file in a folder of its own, which goes when this does.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
    name: String,
    config: Option<PathBuf>,
    /// What is written here while the filter runs: no source of it, wherever it lies.
    written: Vec<PathBuf>,
    served: Mutex<Served>,
}

/// What is in the file.
#[derive(Debug, Default)]
struct Served {
    module: Option<PathBuf>,
    ends: Option<(SocketAddr, String)>,
}

impl Stage {
    /// Finds out what is to be served.
    pub(super) fn set_up(options: &Options) -> anyhow::Result<Stage> {
        let (name, beside) = match &options.source {
            Source::Crate { folder, .. } => {
                if !folder.join("Cargo.toml").is_file() {
                    bail!(
                        "there is no Cargo.toml in {}: name the folder of a filter's crate or a module, or make one \
                         with `tidegate filter new NAME`",
                        folder.display()
                    );
                }
                let whole = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
                (whole.file_name().map(|name| name.to_string_lossy().into_owned()), whole)
            }
            Source::Module(file) => {
                let whole = file.canonicalize();
                let whole = whole.with_context(|| format!("there is no module {}", file.display()))?;
                let folder = whole.parent().map(Path::to_owned).unwrap_or_default();
                (whole.file_stem().map(|name| name.to_string_lossy().into_owned()), folder)
            }
        };
        let config = match &options.config {
            Some(file) if !file.is_file() => bail!("there is no file {}", file.display()),
            Some(file) => Some(file.clone()),
            None => CONFIGS.iter().map(|name| beside.join(name)).find(|file| file.is_file()),
        };
        let module = match &options.source {
            Source::Module(file) => Some(file.canonicalize()?),
            Source::Crate { .. } => None,
        };
        let folder = std::env::temp_dir().join(format!("tidegate-dev-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let served = Mutex::new(Served { module, ends: None });
        let recording = options.record.as_deref().map(whole);
        let written = recording.into_iter().flat_map(|file| [secrets_file(&file), file]).collect();
        Ok(Stage { folder, name: name.unwrap_or_else(|| "filter".to_owned()), config, written, served })
    }

    /// What the filter is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file that the filter's configuration is in, if it has any.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Whether this process writes this file itself.
    pub(super) fn writes(&self, file: &Path) -> bool {
        self.written.iter().any(|written| written == file)
    }

    /// The file with the proxy's configuration.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("tidegate.yaml")
    }

    /// This is the filter's module from now on.
    pub(super) fn set_module(&self, module: &Path) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).module = Some(module.to_owned());
    }

    /// Writes the file: the proxy listens here, before this service.
    pub(super) fn write(&self, listen: SocketAddr, endpoint: &str) -> anyhow::Result<()> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).ends = Some((listen, endpoint.to_owned()));
        self.write_again()
    }

    /// Writes it again, as the filter's configuration is another now. Nothing is there to be written before it was
    /// once.
    pub(super) fn write_again(&self) -> anyhow::Result<()> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(module), Some((listen, endpoint))) = (&served.module, &served.ends) else { return Ok(()) };
        let config = match &self.config {
            Some(file) => {
                let text = read(file).with_context(|| format!("cannot read {}", file.display()))?;
                let indented: String = text.lines().map(|line| format!("      {line}\n")).collect();
                format!("    config:\n{indented}")
            }
            None => String::new(),
        };
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let text = format!(
            "workers: 1\nlisteners:\n  - name: dev\n    address: {listen}\n    access_log: false\n    \
             filters: [{name}]\n    routes: [{{match: {{path: {{prefix: /}}}}, cluster: upstream}}]\n\
             filters:\n  {name}:\n    module: {module}\n{config}\
             clusters:\n  upstream: {{endpoints: [{endpoint}]}}\n",
            name = quoted(&self.name),
            module = quoted(&module.to_string_lossy()),
            endpoint = quoted(endpoint),
        );
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

/// A file's whole path, which need not be there yet.
fn whole(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), file.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => file.to_owned(),
    }
}

fn read(file: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(file)?.take(MAX_CONFIG).read_to_string(&mut text)?;
    Ok(text)
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
