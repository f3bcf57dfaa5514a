//! `tidegate man`: the help of every command as manual pages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{CommandLine, print};
use crate::terminal::many;

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate man --out ~/.local/share/man/man1       all of them, for `man tidegate-filter-new`
  tidegate man filter new | man -l -               one of them, now

Next: man tidegate";

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command whose page is printed [default: tidegate itself]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder, one file each
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Prints a page, or writes all of them.
///
/// # Errors
///
/// There is no such command, or a page cannot be written.
pub(super) fn perform(arguments: &ManArgs) -> anyhow::Result<()> {
    let mut command = without_help(CommandLine::command());
    command.build();
    let Some(out) = &arguments.out else {
        let mut command = &command;
        for word in &arguments.command {
            let Some(found) = command.find_subcommand(word) else {
                bail!("there is no command `{word}`: `tidegate --help` lists those that there are");
            };
            command = found;
        }
        return print(page(command)?.trim_end());
    };
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let count = write(&command, out)?;
    print(&format!("Wrote {} into {}\n\nNext: man tidegate", many(count, "page"), out.display()))
}

/// What the commands `help` show is what the pages show.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Writes the pages of a command and of those below it, and says how many.
fn write(command: &Command, folder: &Path) -> anyhow::Result<u64> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.1"));
    fs::write(&file, page(command)?).with_context(|| format!("cannot write {}", file.display()))?;
    let below = command.get_subcommands();
    below.map(|command| write(command, folder)).try_fold(1, |sum, count| Ok(sum + count?))
}

fn page(command: &Command) -> anyhow::Result<String> {
    let version = concat!("tidegate ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(version).manual("tidegate");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    let mut rest = Roff::new();
    if let Some(examples) = command.get_after_help() {
        rest.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.to_string().lines().skip(1) {
            rest.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        rest.control("fi", []);
    }
    rest.control("SH", ["EXIT STATUS"]);
    rest.text([roman("0 for done, 1 for what failed, 2 for a command line that makes no sense.")]);
    rest.to_writer(&mut page)?;
    Ok(String::from_utf8(page)?)
}
