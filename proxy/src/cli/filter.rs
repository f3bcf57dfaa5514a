//! `tidegate filter`: what the authors of filters ask.

#[cfg(feature = "kit")]
mod bench;
#[cfg(feature = "kit")]
mod progress;
#[cfg(feature = "kit")]
mod test;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::{Format, print};
use crate::builtin;
use crate::inspect::Report;
use crate::origin;
use crate::signature::{PublicKey, SecretKey, Signed};
use crate::wasm::Engine;

/// What can be done with a filter.
#[derive(Debug, Subcommand)]
pub(super) enum FilterCommand {
    /// Say what a module is, what it needs, and whether it will load
    ///
    /// Shows the version of the ABI, what it was made with, what it asks to be allowed, exports and imports, its memory, every reason why
    /// it would not load, and what its author may not have meant. The module is compiled and not run. Ends with 0 if it
    /// will load, with 1 if not.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Sign a module
    ///
    /// Puts an Ed25519 signature into the module, beside those that it has, or into a file of its own. The format is
    /// that of the WebAssembly tool conventions, which other tools read and write. The module stays what it is for every
    /// host. A signature in the module changes the module's SHA-256: sign first, then pin.
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(SignArgs),
    /// Say whether a module is signed by a key
    ///
    /// Looks for a signature in the module, and in FILE.sig where there is one, and names the key whose it is by its 32 bytes,
    /// as `sign` does. Ends with 0 if one of the keys signed the module as it is, with 1 if none did.
    #[command(after_help = "Example:\n  tidegate filter verify --key public.pem filter.wasm")]
    Verify(VerifyArgs),
    /// Run cases against a module: what it is sent, and what is expected of it
    ///
    /// Cases are in YAML, and the module is from any language. It runs on the proxy's own pipeline, in a world that the cases
    /// make: the upstream and the clusters are scripted, time passes when a case says so, randomness has a seed, and a callback costs the same
    /// number of instructions in every run. Ends with 0 if every case passes, with 1 otherwise.
    #[cfg(feature = "kit")]
    #[command(after_help = test::EXAMPLES)]
    Test(test::TestArgs),
    /// Measure what a module's callbacks cost
    ///
    /// Sends it the requests of cases, or a GET and POSTs of 1 KiB and 64 KiB. Instructions, memory and size are exact, and
    /// can be held against a baseline: then it ends with 1 if one of them has grown. Times are measured around each call, as the proxy
    /// does, and belong to this machine; --against measures two modules in turn, whose times can be compared.
    #[cfg(feature = "kit")]
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::BenchArgs),
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  tidegate filter inspect filter.wasm
  tidegate filter inspect builtin:authz
  tidegate filter inspect filter.wasm --format json | jq .module.imports";

const SIGN_EXAMPLES: &str = "\
Examples:
  openssl genpkey -algorithm ed25519 -out private.pem       a new key, which stays where modules are made
  openssl pkey -in private.pem -pubout -out public.pem      its public half, for `trusted_keys`
  tidegate filter sign --key private.pem filter.wasm
  tidegate filter sign --key private.pem --detached filter.wasm    writes filter.wasm.sig";

#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// The module, of 64 MiB at most
    file: PathBuf,
    /// The private key: Ed25519, in PEM, as openssl writes it
    #[arg(long, value_name = "PRIVATE")]
    key: PathBuf,
    /// Write the signature into a file of its own, and leave the module alone
    #[arg(long)]
    detached: bool,
    /// Where to write [default: the module itself; with --detached FILE.sig]
    #[arg(long, short, value_name = "OUT")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The module, of 64 MiB at most
    file: PathBuf,
    /// The public key: Ed25519, in PEM, as openssl writes it. May be given several times: one of them has to match
    #[arg(long, value_name = "PUBLIC", required = true)]
    key: Vec<PathBuf>,
    /// The file with the signature [default: FILE.sig, where there is one]
    #[arg(long, value_name = "SIGNATURE")]
    signature: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The module, of 64 MiB at most, or one that is shipped: builtin:NAME
    file: PathBuf,
    /// How it is said
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn perform(command: FilterCommand) -> anyhow::Result<ExitCode> {
    match command {
        FilterCommand::Inspect(InspectArgs { file, format }) => {
            let (bytes, detached) = match file.to_str().and_then(|name| name.strip_prefix("builtin:")) {
                Some(name) => (shipped(name)?, None),
                None => (
                    origin::read_named(&file)?.into(),
                    origin::read_signatures(&origin::signature_file(&file))?,
                ),
            };
            let report = Report::of(&Engine::new(None)?, &bytes).with_signatures(&bytes, detached.as_deref());
            match format {
                Format::Text => print(&report.text(&file.display().to_string()))?,
                Format::Json => print(&serde_json::to_string_pretty(&report)?)?,
            }
            Ok(if report.loads { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        FilterCommand::Sign(arguments) => sign(&arguments),
        FilterCommand::Verify(arguments) => verify(&arguments),
        #[cfg(feature = "kit")]
        FilterCommand::Test(arguments) => test::perform(&arguments),
        #[cfg(feature = "kit")]
        FilterCommand::Bench(arguments) => bench::perform(&arguments),
    }
}

/// What the binary has under this name. A file that is called so is `./builtin:…`.
fn shipped(name: &str) -> anyhow::Result<Cow<'static, [u8]>> {
    match builtin::module(name) {
        Some(bytes) => Ok(bytes.into()),
        None => {
            bail!("there is no built-in filter `{name}`: shipped are {}", builtin::names().join(", "))
        }
    }
}

fn sign(arguments: &SignArgs) -> anyhow::Result<ExitCode> {
    let SignArgs { file, key, detached, output } = arguments;
    let key = SecretKey::from_pem(&text_of(key)?).with_context(|| format!("{}", key.display()))?;
    let bytes = origin::read_named(file)?;
    let module = Signed::read(&bytes, None).with_context(|| format!("{}", file.display()))?;
    let (beside, content) = match detached {
        true => (origin::signature_file(file), module.detached(&key)),
        false => (file.clone(), module.embedded(&key)),
    };
    let output = output.as_ref().unwrap_or(&beside);
    replace(output, &content).with_context(|| format!("cannot write {}", output.display()))?;
    print(&format!("{} is signed by {}", file.display(), key.public().hex()))?;
    Ok(ExitCode::SUCCESS)
}

fn verify(arguments: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let VerifyArgs { file, key, signature } = arguments;
    let bytes = origin::read_named(file)?;
    let detached = match signature {
        Some(path) => Some(origin::read_named(path)?.into()),
        None => origin::read_signatures(&origin::signature_file(file))?,
    };
    let module = Signed::read(&bytes, detached.as_deref()).with_context(|| format!("{}", file.display()))?;
    for path in key {
        let key = PublicKey::from_pem(&text_of(path)?).with_context(|| format!("{}", path.display()))?;
        if module.is_by(&key) {
            print(&format!("{} is signed by {} ({})", file.display(), key.hex(), path.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let why = match (module.has_signatures(), module.count()) {
        (false, _) => "it has no signature",
        (true, 0) => "its signatures are of another module, or it was changed since",
        (true, _) => "others signed it",
    };
    bail!("{} is not signed by any of these keys: {why}", file.display())
}

/// A key's file, which is small.
fn text_of(path: &Path) -> anyhow::Result<String> {
    let bytes = origin::read_named(path)?;
    String::from_utf8(bytes).with_context(|| format!("{} is no text", path.display()))
}

/// Writes beside the file and renames, so that nobody finds half a module.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let written = std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}
