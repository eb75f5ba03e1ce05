//! What is to be seen on a row's node: links, addresses, routes, packet filter rules, files.

use std::collections::BTreeSet;
use std::process::Command;

use rustix::mount::{MountFlags, mount};
use serde_json::Value;

/// The pod's namespace.
pub(super) const NETNS: &str = "/run/netns/pod";

/// Where the programs are that plugins run.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn environment() -> Vec<(String, String)> {
    vec![("PATH".to_owned(), PATH.to_owned())]
}

/// Gives the node a `/run` of its own, a `/sys` of its network namespace, and a pod.
pub(super) fn make_node() -> Result<(), String> {
    for (what, on) in [("tmpfs", "/run"), ("sysfs", "/sys")] {
        mount(what, on, what, MountFlags::empty(), None).map_err(|error| format!("mount {on}: {error}"))?;
    }
    // iptables keeps its lock here.
    shell("ip link set lo up; ip netns add pod").map(drop)
}

/// Runs a shell command; answers its standard output.
pub(super) fn shell(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).env("PATH", PATH).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(stdout) } else { Err(format!("{command}: {}\n{stdout}{stderr}", output.status)) }
}

/// The node and its pod at one moment.
pub(super) struct State {
    links: BTreeSet<String>,
    pod: BTreeSet<String>,
    /// Every file that plugins keep.
    files: BTreeSet<String>,
    rules: String,
}

impl State {
    pub(super) fn read() -> Result<Self, String> {
        let mut pod = links("ip -n pod -json addr", true)?;
        for what in ["route show table all", "-6 route show table all", "rule", "-6 rule"] {
            pod.extend(shell(&format!("ip -n pod {what}"))?.lines().map(|line| line.trim().to_owned()));
        }
        // Not whose it is: the last address of a range, a lock.
        let files = "find /run -type f ! -name 'last_reserved_ip*' ! -name '*lock' ! -path '/run/cache/*'";
        Ok(Self {
            links: links("ip -json addr", false)?,
            pod,
            files: shell(files)?.lines().map(ToOwned::to_owned).collect(),
            rules: shell("nft --stateless list ruleset")?,
        })
    }

    pub(super) fn into_rules(self) -> String {
        self.rules
    }

    /// Compares links, the pod and the files with an earlier moment; `stays` are links that may be new.
    pub(super) fn expect_as(&self, earlier: &Self, stays: &[String], when: &str) -> Result<(), String> {
        let new: BTreeSet<_> = self.links.iter().filter(|link| !stays.contains(link)).collect();
        let old: BTreeSet<_> = earlier.links.iter().filter(|link| !stays.contains(link)).collect();
        if new != old {
            return Err(format!("{when}, the node's links: {new:?} instead of {old:?}"));
        }
        for (what, new, old) in [("the pod", &self.pod, &earlier.pod), ("files", &self.files, &earlier.files)] {
            if new != old {
                let [more, less] =
                    [(new, old), (old, new)].map(|(one, other)| one.difference(other).collect::<Vec<_>>());
                return Err(format!("{when}, {what}: {more:?} too much, {less:?} missing"));
            }
        }
        Ok(())
    }

    /// No rule may know of the attachment: its addresses, its name, a chain of its own.
    pub(super) fn expect_nothing_of(&self, addresses: &[String], name: &str, when: &str) -> Result<(), String> {
        let of_it = |line: &&str| {
            let word = |word: &str| line.split(|c: char| !c.is_alphanumeric() && !".:".contains(c)).any(|w| w == word);
            let own_chain = line.trim().strip_prefix("chain CNI-").is_some_and(|chain| {
                let hash = chain.trim_start_matches("DN-").trim_start_matches("SN-");
                hash.starts_with(|c: char| c.is_ascii_hexdigit()) && hash.len() > 20 && !hash.starts_with("ADMIN")
            });
            own_chain || word(name) || addresses.iter().any(|address| word(address))
        };
        let left: Vec<_> = self.rules.lines().filter(of_it).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{when}, rules are left: {left:?}\n{}", self.rules)) }
    }
}

/// The links' names; with their addresses, which the kernel's own link-local ones are not.
fn links(command: &str, addresses: bool) -> Result<BTreeSet<String>, String> {
    let text = shell(command)?;
    let list: Vec<Value> = serde_json::from_str(&text).map_err(|error| format!("{command}: {error}\n{text}"))?;
    let mut links = BTreeSet::new();
    for link in &list {
        let name = link["ifname"].as_str().unwrap_or_default();
        links.insert(name.to_owned());
        let own = link["addr_info"].as_array().into_iter().flatten();
        let own = own.filter(|address| addresses && address["scope"] != "link");
        links.extend(own.map(|address| format!("{name} has {}", address["local"])));
    }
    Ok(links)
}
