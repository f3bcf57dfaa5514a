//! `tidegate completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{CommandLine, print};

pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate completions bash > ~/.local/share/bash-completion/completions/tidegate
  tidegate completions zsh > ~/.zfunc/_tidegate             a folder of fpath
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish
  source <(tidegate completions bash)                       for this shell alone

Next: open a new shell, and press Tab behind `tidegate filter`";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(super) fn perform(arguments: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "tidegate", &mut script);
    print(String::from_utf8(script)?.trim_end())
}
