//! The plugins that hang: the last one of the list, which passes on what it gets, and one around host-local.
//!
//! A call says in `CNIRT_STORM_FAULT` where and how: `<command> <site> <mode>`.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use crate::history::{Event, History};
use crate::plan::{LAST, Plan};

pub(crate) const FAULT: &str = "CNIRT_STORM_FAULT";
/// Before host-local runs, after it has, after bridge has.
pub(crate) const SITES: [&str; 3] = ["before", "after", "last"];
pub(crate) const MODES: [(&str, &str); 3] = [
    ("sleeps", "exec sleep 3600"),
    ("has a child", "sleep 3600 & wait"),
    // Which its child inherits.
    ("is stubborn", "trap '' TERM; sleep 3600 & sleep 3600"),
];
pub(crate) const FAILS: &str = "fails";

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{}", json!({"cniVersion": "1.0.0", "code": 999, "msg": why}));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let this = std::env::args().next().map(PathBuf::from).unwrap_or_default();
    let command = std::env::var("CNI_COMMAND").unwrap_or_default();
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).map_err(|error| error.to_string())?;
    if this.file_name().is_some_and(|name| name == LAST) {
        let fault = fault_at("last", &command);
        match command.as_str() {
            "VERSION" => {
                println!("{}", json!({"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}));
            }
            "ADD" => {
                suffer(fault)?;
                let conf: Value = serde_json::from_slice(&input).map_err(|error| error.to_string())?;
                println!("{}", conf["prevResult"]);
            }
            _ => suffer(fault)?,
        }
        return Ok(());
    }
    suffer(fault_at("before", &command))?;
    let path = std::env::var_os("CNI_PATH").unwrap_or_default();
    let real = std::env::split_paths(&path).map(|dir| dir.join("host-local")).find(|file| file.exists());
    let mut real = Command::new(real.ok_or("no host-local")?);
    let mut child = real.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    // A plugin that does not read says itself what it misses.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&input));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    suffer(fault_at("after", &command))?;
    std::io::stdout().write_all(&output.stdout).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    // The error object is printed.
    std::process::exit(1);
}

/// How to fail here, if at all.
fn fault_at(site: &str, command: &str) -> Option<String> {
    let fault = std::env::var(FAULT).ok()?;
    Some(fault.strip_prefix(&format!("{command} {site} "))?.to_owned())
}

fn suffer(mode: Option<String>) -> Result<(), String> {
    let Some(mode) = mode else { return Ok(()) };
    let Some((_, script)) = MODES.iter().find(|(name, _)| *name == mode) else { return Err(mode) };
    History::open(&Plan::told()?)?.add(&Event::Hangs)?;
    Err(Command::new("sh").args(["-c", script]).exec().to_string())
}
