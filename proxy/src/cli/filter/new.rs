//! `tidegate filter new` and `update-sdk`: a filter's crate, and the SDK in it.

use std::path::{Path, PathBuf};

use clap::Args;
use tidegate_template::{Name, SDK_FOLDER, SDK_VERSION, Update};

use crate::cli::print;
use crate::terminal::many;

pub(super) const NEW_EXAMPLES: &str = "\
Examples:
  tidegate filter new guard
  tidegate filter new guard --path filters/guard

Next: cd guard && tidegate dev";

pub(super) const UPDATE_EXAMPLES: &str = "\
Examples:
  tidegate filter update-sdk
  tidegate filter update-sdk filters/guard

Next: tidegate filter build";

#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// What the crate is called: letters from a to z, digits, `-` and `_`
    #[arg(value_parser = Name::parse)]
    name: Name,
    /// The folder to write it into, which is empty or not there yet [default: NAME]
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UpdateArgs {
    /// The crate's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Writes a crate, and says what is in it.
///
/// # Errors
///
/// The folder is not empty, or cannot be written.
pub(super) fn create(arguments: &NewArgs) -> anyhow::Result<()> {
    let NewArgs { name, path } = arguments;
    let folder = path.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    let files = tidegate_template::create(name, &folder)?;
    let mut text = format!("Wrote the filter `{}` into {}:\n", name.as_str(), folder.display());
    let (sdk, own): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.path.starts_with(SDK_FOLDER));
    for file in own {
        text += &format!("  {}\n", file.path);
    }
    text +=
        &format!("  {SDK_FOLDER}/  the SDK of tidegate {SDK_VERSION}, {}\n", many(sdk.len() as u64, "file"));
    text += &format!("\nNext: cd {} && tidegate dev", quoted(&folder));
    print(&text)
}

/// Replaces the SDK that a crate has by this binary's.
///
/// # Errors
///
/// The crate has none, or it cannot be replaced.
pub(super) fn update_sdk(arguments: &UpdateArgs) -> anyhow::Result<()> {
    let UpdateArgs { folder } = arguments;
    let place = folder.join(SDK_FOLDER);
    let place = place.strip_prefix(".").unwrap_or(&place).display().to_string();
    match tidegate_template::update_sdk(folder)? {
        Update::Same => print(&format!("{place} is the SDK of tidegate {SDK_VERSION} already")),
        Update::Replaced { from } => {
            let from = from.filter(|from| from != SDK_VERSION);
            let before = from.map_or(String::new(), |from| format!(", in place of {from}"));
            let folder = quoted(folder);
            print(&format!(
                "{place} is the SDK of tidegate {SDK_VERSION} now{before}\n\nNext: tidegate filter build {folder}"
            ))
        }
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,:@%".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
