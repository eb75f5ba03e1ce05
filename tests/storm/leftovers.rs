//! What is there on the node that a pod had, or a call on one.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::plan::{NAMESPACES, NETWORK, Plan};

#[derive(Default)]
pub(crate) struct Leftovers {
    reservations: Vec<String>,
    /// Empty reservations. host-local makes the file first and then writes whose it is; killed in between it leaves one that
    /// no DEL finds. No runtime can help that.
    half_written: Vec<String>,
    links: Vec<String>,
    entries: Vec<String>,
    /// Everything in `cnirt/`: intents, progress, holders, temporary files.
    records: Vec<String>,
    locks: Vec<String>,
}

impl Leftovers {
    pub(crate) fn of(plan: &Plan) -> Result<Self, String> {
        let mut left = Self::default();
        files(&plan.path("ipam").join(NETWORK), &mut left.reservations);
        // Not of a pod: which address was given last.
        left.reservations.retain(|file| !file.ends_with("/lock") && !file.contains("/last_reserved_ip."));
        left.half_written =
            left.reservations.extract_if(.., |file| fs::metadata(file).is_ok_and(|file| file.len() == 0)).collect();
        left.links = links()?.into_iter().filter(|name| name.starts_with("veth")).collect();
        for number in 0..NAMESPACES {
            left.links.extend(links_in(&plan.netns(number))?.into_iter().map(|name| format!("{name} in {number}")));
        }
        files(&plan.path("cache/results"), &mut left.entries);
        files(&plan.path("cache/cnirt"), &mut left.records);
        let lock = plan.path("cache/cnirt/lock");
        left.records.retain(|file| Path::new(file) != lock);
        // Meets the locks of open file descriptions, too.
        let opened = File::options().write(true).open(&lock).map_err(|error| error.to_string());
        let locked = opened.and_then(|file| {
            rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| errno.to_string())
        });
        left.locks.extend(locked.err().map(|why| format!("{}: {why}", lock.display())));
        Ok(left)
    }

    /// All that can be helped.
    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        [&self.reservations, &self.links, &self.entries, &self.records, &self.locks].into_iter().flatten()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [reservations, links, entries, records, locks] =
            [&self.reservations, &self.links, &self.entries, &self.records, &self.locks].map(Vec::len);
        write!(
            f,
            "{reservations} reservations, {links} links, {entries} cache entries, {records} records, {locks} locks held \
             ({} reservations that host-local was killed in the middle of)",
            self.half_written.len()
        )
    }
}

/// The other processes of this pid namespace.
pub(crate) fn processes() -> Vec<String> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = numbers.filter(|pid: &u32| *pid != std::process::id());
    let line = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        format!("{} ({stat})", String::from_utf8_lossy(&line).replace('\0', " "))
    };
    others.map(line).collect()
}

/// All files below a directory.
fn files(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&entry.path(), found);
        } else {
            found.push(entry.path().display().to_string());
        }
    }
}

/// The links of this thread's network namespace, but `lo`.
fn links() -> Result<Vec<String>, String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").map_err(|error| error.to_string())?;
    let names = table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    Ok(names.filter(|name| name != "lo").collect())
}

fn links_in(netns: &Path) -> Result<Vec<String>, String> {
    let netns = cnirt::netns::open(netns).map_err(|error| error.to_string())?;
    let look = move || {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), Some(LinkNameSpaceType::Network))
            .map_err(|errno| format!("setns: {errno}"))?;
        links()
    };
    std::thread::spawn(look).join().map_err(|_| "a thread panicked".to_owned())?
}
