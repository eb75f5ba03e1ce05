//! The reference plugins, run by this library: each row of `real_plugins/rows.json` with Debian's and with the plugins
//! that `scripts/plugins` built, under every version that all plugins of the row support, on a node of its own.
//!
//! A test starts this program again on its node, which has the row's name in its environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

use self::row::{Release, Row};

mod node;
#[path = "real_plugins/row.rs"]
mod row;

/// Tells the program on a node which row to run, and by which plugins: `<index>/<release>/<version>`.
const RUN: &str = "CNIRT_REAL_PLUGINS_ROW";

fn main() -> Result<ExitCode, String> {
    let rows = Row::all()?;
    if let Ok(asked) = std::env::var(RUN) {
        let mut parts = asked.splitn(3, '/');
        let mut part = || parts.next().ok_or_else(|| format!("{RUN}={asked}"));
        let index: usize = part()?.parse().map_err(|_| format!("{RUN}={asked}"))?;
        let release = Release::named(part()?)?;
        let row = rows.get(index).ok_or_else(|| format!("{RUN}={asked}"))?;
        return match row.run(release, part()?) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(why) => {
                eprintln!("{why}");
                Ok(ExitCode::FAILURE)
            }
        };
    }
    let arguments = Arguments::from_args();
    if !arguments.list {
        node::run(Command::new("scripts/plugins").current_dir(env!("CARGO_MANIFEST_DIR")))
            .map_err(|why| format!("scripts/plugins: {why}"))?;
    }
    let mut trials = Vec::new();
    let mut kernel = Kernel::default();
    for release in Release::ALL {
        for (index, row) in rows.iter().enumerate() {
            let name = format!("{release}: {}", row.name);
            if let Some(why) = kernel.lacks(row)?.or_else(|| row.skipped(release)) {
                trials.push(Trial::test(format!("{name}: skipped, {why}"), || Ok(())).with_ignored_flag(true));
                continue;
            }
            for version in row.versions(release)? {
                let asked = format!("{index}/{release}/{version}");
                let name = format!("{name}, {version}{}", row.defects(release, version));
                trials.push(Trial::test(name, move || on_a_node(&asked)));
            }
        }
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn on_a_node(asked: &str) -> Result<(), Failed> {
    let this = std::env::current_exe()?;
    node::run(node::command(this).env(RUN, asked).current_dir(Path::new("/")))?;
    Ok(())
}

/// The link types that rows asked for, and whether the kernel has them.
#[derive(Default)]
struct Kernel(BTreeMap<String, bool>);

impl Kernel {
    fn lacks(&mut self, row: &Row) -> Result<Option<String>, String> {
        let Some(device) = &row.needs else { return Ok(None) };
        let has = match self.0.get(device) {
            Some(has) => *has,
            None => Self::has(device)?,
        };
        self.0.insert(device.clone(), has);
        Ok((!has).then(|| format!("the kernel has no {device} device")))
    }

    fn has(device: &str) -> Result<bool, String> {
        let table = if device == "vrf" { " table 10" } else { "" };
        let probe = format!("PATH=$PATH:/usr/sbin:/sbin ip link add probe0 type {device}{table}");
        match node::run(node::command("sh").args(["-c", &probe])) {
            Ok(_) => Ok(true),
            Err(why) if why.contains("Unknown device type") => Ok(false),
            Err(why) => Err(why),
        }
    }
}
