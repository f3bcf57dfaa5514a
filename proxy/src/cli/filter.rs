//! `tidegate filter`: what the authors of filters ask.

#[cfg(feature = "kit")]
mod bench;
#[cfg(feature = "kit")]
mod build;
#[cfg(feature = "kit")]
mod new;
mod progress;
mod record;
mod replay;
#[cfg(feature = "kit")]
mod test;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
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
    /// Write the crate of a new filter, which builds, passes its tests and runs
    ///
    /// It is in Rust, with everything that it needs but a toolchain: the SDK is in it, and its dependencies are those of
    /// tidegate. Asks nothing, and changes nothing that is there.
    #[cfg(feature = "kit")]
    #[command(after_help = new::NEW_EXAMPLES)]
    New(new::NewArgs),
    /// Build a filter's crate into a module
    ///
    /// Finds a toolchain for wasm32-unknown-unknown, and says what to install where there is none. What cargo and rustc say
    /// is shown as they say it. Ends with 0 if there is a module that will load, with 1 if not.
    #[cfg(feature = "kit")]
    #[command(after_help = build::EXAMPLES)]
    Build(build::BuildArgs),
    /// Bring the SDK that a filter's crate has in it to this tidegate's
    ///
    /// Replaces the folder vendor/tidegate-sdk, which `tidegate filter new` wrote, as a whole, and nothing else.
    #[cfg(feature = "kit")]
    #[command(after_help = new::UPDATE_EXAMPLES)]
    UpdateSdk(new::UpdateArgs),
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
    /// Say what a module is, what it needs, and whether it will load
    ///
    /// Shows the version of the ABI, what it was made with, what it asks to be allowed, exports and imports, its memory, every reason why
    /// it would not load, and what its author may not have meant. The module is compiled and not run. Ends with 0 if it
    /// will load, with 1 if not.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Record what a filter of a running proxy sees and answers
    ///
    /// Asks the admin listener. Exchanges that match go through an instance of the filter that is there for the
    /// recording alone, from its start on: that is what `replay` needs to repeat it. The recording ends with the last of
    /// them, or at Ctrl-C. Secrets are masked, unless they are to be kept: headers and fields whose names tell of
    /// tokens, keys, passwords, sessions or cookies, wherever their values appear.
    #[command(after_help = record::EXAMPLES)]
    Record(record::RecordArgs),
    /// Replay a recording against a build of the filter, and say what it does otherwise
    ///
    /// Calls the build for the same in the same order, with the same time, randomness and answers of others, and compares
    /// decisions, headers, bodies, logs, effects and instructions. Nothing is sent anywhere. Ends with 0 if the
    /// build did the same, with 1 if not. Recordings are made by `dev --record` and `filter record`.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::ReplayArgs),
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
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  tidegate filter inspect filter.wasm
  tidegate filter inspect builtin:authz
  tidegate filter inspect filter.wasm --format json | jq .module.imports

Next: name it as `module` of a filter in a configuration, and tidegate check tidegate.yaml";

const SIGN_EXAMPLES: &str = "\
Examples:
  openssl genpkey -algorithm ed25519 -out private.pem       a new key, which stays where modules are made
  openssl pkey -in private.pem -pubout -out public.pem      its public half, for `trusted_keys`
  tidegate filter sign --key private.pem filter.wasm
  tidegate filter sign --key private.pem --detached filter.wasm    writes filter.wasm.sig

Next: tidegate filter verify --key public.pem filter.wasm";

const VERIFY_EXAMPLES: &str = "\
Examples:
  tidegate filter verify --key public.pem filter.wasm
  tidegate filter verify --key old.pem --key new.pem --signature filter.wasm.sig filter.wasm

Next: list the key in `trusted_keys`, and have listeners `require_signature_by` it";

/// Where one begins, and what follows.
#[cfg(feature = "kit")]
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate filter new guard
  tidegate filter build guard --out guard.wasm
  tidegate filter inspect guard.wasm

Next: tidegate filter new --help";

/// The same where none can be made.
#[cfg(not(feature = "kit"))]
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate filter inspect filter.wasm
  tidegate filter sign --key private.pem filter.wasm

Next: tidegate filter inspect --help";

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
        #[cfg(feature = "kit")]
        FilterCommand::New(arguments) => new::create(&arguments).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "kit")]
        FilterCommand::Build(arguments) => build::perform(&arguments),
        #[cfg(feature = "kit")]
        FilterCommand::UpdateSdk(arguments) => new::update_sdk(&arguments).map(|()| ExitCode::SUCCESS),
        FilterCommand::Inspect(InspectArgs { file, format }) => {
            let bytes = module(&file)?;
            let detached = match bytes {
                Cow::Borrowed(_) => None,
                Cow::Owned(_) => origin::read_signatures(&origin::signature_file(&file))?,
            };
            let progress = progress::Progress::begin("compiling");
            let report = Report::of(&Engine::new(None)?, &bytes).with_signatures(&bytes, detached.as_deref());
            drop(progress);
            match format {
                Format::Text => print(&report.text(&file.display().to_string()))?,
                Format::Json => print(&serde_json::to_string_pretty(&report)?)?,
            }
            Ok(if report.loads { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        FilterCommand::Record(arguments) => record::perform(&arguments),
        FilterCommand::Replay(arguments) => replay::perform(&arguments),
        FilterCommand::Sign(arguments) => sign(&arguments),
        FilterCommand::Verify(arguments) => verify(&arguments),
        #[cfg(feature = "kit")]
        FilterCommand::Test(arguments) => test::perform(&arguments),
        #[cfg(feature = "kit")]
        FilterCommand::Bench(arguments) => bench::perform(&arguments),
    }
}

/// A module's bytes: of a file, or of one that the binary has.
fn module(file: &Path) -> anyhow::Result<Cow<'static, [u8]>> {
    match file.to_str().and_then(|name| name.strip_prefix("builtin:")) {
        Some(name) => shipped(name),
        None => Ok(read_module(file)?.into()),
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
    if !key.exists() {
        bail!("there is no {0}: `openssl genpkey -algorithm ed25519 -out {0}` makes a key", key.display());
    }
    let key = SecretKey::from_pem(&text_of(key)?).with_context(|| format!("{}", key.display()))?;
    let bytes = read_module(file)?;
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
    let bytes = read_module(file)?;
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
        (false, _) => "it has no signature, which `tidegate filter sign` gives it",
        (true, 0) => "its signatures are of another module, or it was changed since",
        (true, _) => "others signed it",
    };
    bail!("{} is not signed by any of these keys: {why}", file.display())
}

/// A module's bytes. Who names something else is told how a module is made.
fn read_module(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file.join("Cargo.toml").is_file() {
        bail!("{0} is a crate: `tidegate filter build {0}` makes its module", file.display());
    }
    origin::read_named(file).map_err(|error| match file.exists() {
        true => error.into(),
        false => anyhow!("{error}; `tidegate filter build` makes the module of a crate"),
    })
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
