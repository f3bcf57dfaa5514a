//! The command line in a shell: it is completed, and has pages for `man`.

use std::path::Path;
use std::process::Command;

use crate::equipment::{Exit, Proxy, tool};

fn tidegate(arguments: &[&str]) -> String {
    let Exit { code, stdout, stderr } = Proxy::with_text("").run_in(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout
}

/// What bash offers for the last of these words.
fn complete(script: &Path, words: &[&str]) -> Vec<String> {
    let listed = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let asked = format!(
        "source '{}' && COMP_WORDS=({listed}) && COMP_CWORD={} && _tidegate tidegate '{last}' '{before}' && \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.len() - 1
    );
    let output = Command::new("bash").args(["--norc", "-c", &asked]).output().expect("there is bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let script = folder.path().join("tidegate");
    std::fs::write(&script, tidegate(&["completions", "bash"])).expect("it can be written");
    assert_eq!(complete(&script, &["tidegate", "can"]), ["canary"]);
    assert_eq!(complete(&script, &["tidegate", "run", "--no"]), ["--no-watch"]);
    assert_eq!(complete(&script, &["tidegate", "filter", "ver"]), ["verify"]);
    assert_eq!(complete(&script, &["tidegate", "filter", "inspect", "--format", "j"]), ["json"]);
    assert_eq!(complete(&script, &["tidegate", "no-such"]), [""]);
}

#[test]
fn every_shell_that_is_offered_gets_a_script_that_knows_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = tidegate(&["completions", shell]);
        assert!(script.contains("no-watch") && script.contains("canary"), "{shell}: {script}");
    }
}

#[test]
fn every_command_has_a_manual_page_that_man_can_show() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let pages = folder.path().join("man/man1");
    let said = tidegate(&["man", "--out", pages.to_str().expect("temporary folders have plain names")]);
    assert!(said.contains("\nNext: man tidegate"), "{said}");
    let files: Vec<_> =
        std::fs::read_dir(&pages).expect("it was made").flatten().map(|entry| entry.path()).collect();
    let names: Vec<_> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    assert!(said.contains(&format!("Wrote {} pages", names.len())), "{said}");
    for name in ["tidegate.1", "tidegate-run.1", "tidegate-canary-set.1", "tidegate-filter-inspect.1"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");

    let page = tidegate(&["man", "filter", "inspect"]);
    let written = std::fs::read_to_string(pages.join("tidegate-filter-inspect.1")).expect("it is text");
    assert_eq!(page.trim_end(), written.trim_end());
    let refused = Proxy::with_text("").run_in(&["man", "filter", "no-such"]);
    assert_eq!(refused.code, Some(1));

    if !tool::is_installed("groff", Path::new("/usr/bin/groff"), "packages.sh groff-base") {
        return;
    }
    for file in &files {
        let shown = Command::new("groff")
            .args(["-ww", "-man", "-Tutf8", "-P-c", "-P-b", "-P-u"])
            .arg(file)
            .output()
            .expect("it is installed");
        let (text, warnings) =
            (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        assert!(shown.status.success() && warnings.is_empty(), "{}: {warnings}", file.display());
        assert!(
            text.contains("SYNOPSIS") && text.contains("EXAMPLES\n       ") && text.contains("Next: "),
            "{text}"
        );
        assert!(!text.contains("-help(1)"), "there is no such page: {text}");
    }
}
