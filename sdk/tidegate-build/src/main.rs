//! `tidegate-build`: the module builder on the command line, for `make` and for people.

use std::process::ExitCode;

use tidegate_build::{Build, Toolchain};

const USAGE: &str = "\
usage: tidegate-build toolchain            say which toolchain builds filters on this machine
       tidegate-build toolchain install    install one where there is none (Debian's, as root)
       tidegate-build FOLDER [--example NAME] [--profile NAME] [--out FILE]
                                           build the filter in FOLDER; prints the module's path";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["toolchain"] => {
            Toolchain::find().map(|found| println!("{found}")).map_err(|error| error.to_string())
        }
        ["toolchain", "install"] => {
            Toolchain::install().map(|found| println!("{found}")).map_err(|error| error.to_string())
        }
        [folder, options @ ..] if !folder.starts_with('-') => build(folder, options),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn build(folder: &str, options: &[&str]) -> Result<(), String> {
    let (mut build, mut out) = (Build::new(folder), None);
    for option in options.chunks(2) {
        match option {
            ["--example", name] => build = build.example(name),
            ["--profile", name] => build = build.profile(name),
            ["--out", file] => out = Some(*file),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let module = build.run().map_err(|error| error.to_string())?;
    if let Some(out) = out {
        std::fs::copy(&module, out).map_err(|error| format!("cannot write {out}: {error}"))?;
    }
    println!("{}", out.map_or(module.display().to_string(), str::to_owned));
    Ok(())
}
