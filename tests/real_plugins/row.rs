//! A row of the table: what it asks for, and how it is run on its node.

mod node_state;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cnirt::call::Call;
use cnirt::conf::NetworkConfigList;
use cnirt::invoke::{Environ, ProcessExec};
use cnirt::network::{Cni, CniConfig, GcArgs, GcAttachment, RuntimeConf};
use cnirt::store::Durability;
use cnirt::version::{self, PluginInfo, SpecVersion};
use cnirt::{Error, ErrorClass};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::node_state::{State, shell};

/// Whose plugins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The package containernetworking-plugins, 1.1.1.
    Debian,
    /// What `scripts/plugins` builds.
    Built,
}

impl Release {
    pub(crate) const ALL: [Self; 2] = [Self::Debian, Self::Built];

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|release| release.to_string() == name).ok_or_else(|| format!("no release {name}"))
    }

    fn dir(self) -> PathBuf {
        match self {
            Self::Debian => PathBuf::from("/usr/lib/cni"),
            Self::Built => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cni-plugins"),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::Built => "v1.9.1",
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The list's plugins.
    plugins: Vec<Map<String, Value>>,
    #[serde(default = "eth0")]
    if_name: String,
    #[serde(default)]
    capability_args: Map<String, Value>,
    /// A link type that the kernel may not have.
    pub(crate) needs: Option<String>,
    /// The only release that can, and why.
    only: Option<(String, String)>,
    /// Shell commands that make the node what the row needs.
    #[serde(default)]
    prepare: Vec<String>,
    /// The interface's addresses in the result, in order.
    addresses: Vec<String>,
    /// Before it, the plugin answers without addresses.
    addresses_since: Option<String>,
    /// A command and a text: its output has the text while the attachment is there, and neither before nor after.
    shows: Vec<(String, String)>,
    /// Links that a plugin leaves on purpose.
    #[serde(default)]
    stays: Vec<String>,
    /// A release whose CHECK fails for a defect of its own.
    #[serde(default)]
    check_fails: Defects,
    /// Alike for a DEL of what is gone.
    #[serde(default)]
    second_del_fails: Defects,
}

/// Per release: what the error says, and why.
type Defects = BTreeMap<String, (String, String)>;

fn eth0() -> String {
    "eth0".to_owned()
}

const NETWORK: &str = "net1";
const CONTAINER: &str = "pod1";

impl Row {
    pub(crate) fn all() -> Result<Vec<Self>, String> {
        serde_json::from_str(include_str!("rows.json")).map_err(|error| format!("rows.json: {error}"))
    }

    /// Why this release cannot run the row.
    pub(crate) fn skipped(&self, release: Release) -> Option<String> {
        if let Some((only, why)) = &self.only
            && *only != release.to_string()
        {
            return Some(why.clone());
        }
        let missing = self.types().into_iter().find(|name| !release.dir().join(name).exists())?;
        Some(format!("there is no plugin {missing}"))
    }

    /// The versions that every plugin of the row answers to VERSION.
    pub(crate) fn versions(&self, release: Release) -> Result<Vec<&'static str>, String> {
        let mut versions = version::ALL.to_vec();
        for name in self.types() {
            let info = plugin_info(&release.dir().join(name))?;
            versions.retain(|version| info.supported_versions.iter().any(|supported| supported == version));
        }
        if versions.is_empty() { Err("the plugins have no version in common".to_owned()) } else { Ok(versions) }
    }

    /// What of the release does not work under this version, for the test's name.
    pub(crate) fn defects(&self, release: Release, version: &str) -> String {
        let checks = SpecVersion::parse(version).is_ok_and(|version| version >= version::CHECK);
        let [check, del] = [&self.check_fails, &self.second_del_fails].map(|defects| defects.get(&release.to_string()));
        let check = check.filter(|_| checks).map(|(_, why)| format!("; CHECK fails: {why}"));
        let del = del.map(|(_, why)| format!("; a second DEL fails: {why}"));
        [check, del].into_iter().flatten().collect()
    }

    fn types(&self) -> Vec<&str> {
        let own = self.plugins.iter().filter_map(|plugin| plugin.get("type"));
        let ipam = self.plugins.iter().filter_map(|plugin| plugin.get("ipam")?.get("type"));
        own.chain(ipam).filter_map(Value::as_str).collect()
    }

    /// Attaches, checks, collects and detaches, twice: by DEL, and by GC of what nobody needs any more.
    pub(crate) fn run(&self, release: Release, version: &str) -> Result<(), String> {
        node_state::make_node()?;
        for command in &self.prepare {
            shell(command)?;
        }
        let before = State::read()?;
        for (command, text) in &self.shows {
            self.expect_shown(command, text, false)?;
        }
        let node = Attachment::new(self, release, version)?;
        node.validate()?;
        let mut left = None;
        for by_gc in [false, true] {
            node.add()?;
            for (command, text) in &self.shows {
                self.expect_shown(command, text, true)?;
            }
            node.check()?;
            node.status()?;
            let attached = State::read()?;
            node.gc(true)?;
            State::read()?.expect_as(&attached, &[], "after a GC that has the attachment as valid")?;
            if by_gc {
                node.gc(false)?;
            } else {
                node.del()?;
            }
            let now = State::read()?;
            let how = if by_gc { "after a GC that has it as stale" } else { "after DEL" };
            now.expect_as(&before, &self.stays, how)?;
            now.expect_nothing_of(&self.addresses, CONTAINER, how)?;
            for (command, text) in &self.shows {
                self.expect_shown(command, text, false)?;
            }
            // What a plugin makes once for all attachments stays as it is.
            let rules = now.into_rules();
            if left.get_or_insert_with(|| rules.clone()) != &rules {
                return Err(format!("rules grow with every attachment; {how}:\n{rules}"));
            }
        }
        Ok(())
    }

    fn expect_shown(&self, command: &str, text: &str, wanted: bool) -> Result<(), String> {
        // A command about an interface that is not there fails; so may not one that shows an attachment.
        let output = match shell(command) {
            Ok(output) => output,
            Err(why) if wanted => return Err(why),
            Err(_) => String::new(),
        };
        if output.contains(text) == wanted {
            return Ok(());
        }
        let but = if wanted { "lacks" } else { "still has" };
        Err(format!("{}: {command} {but} {text:?}:\n{output}", self.name))
    }
}

/// Asks a plugin for its versions, as libcni does.
fn plugin_info(path: &Path) -> Result<PluginInfo, String> {
    let fail = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let mut child = Command::new(path)
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| fail(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(br#"{"cniVersion": "1.0.0"}"#).map_err(|error| fail(&error))?;
    }
    let output = child.wait_with_output().map_err(|error| fail(&error))?;
    PluginInfo::decode(&output.stdout).map_err(|error| fail(&error))
}

/// The row's network under one version, and how it is run.
struct Attachment<'a> {
    row: &'a Row,
    release: Release,
    version: &'a str,
    list: NetworkConfigList,
    rt: RuntimeConf,
    cni: CniConfig,
}

impl<'a> Attachment<'a> {
    fn new(row: &'a Row, release: Release, version: &'a str) -> Result<Self, String> {
        let list = json!({"cniVersion": version, "name": NETWORK, "plugins": row.plugins}).to_string();
        Ok(Self {
            row,
            release,
            version,
            list: NetworkConfigList::from_bytes(list.as_bytes()).map_err(words)?,
            rt: RuntimeConf {
                container_id: CONTAINER.to_owned(),
                netns: node_state::NETNS.to_owned(),
                if_name: row.if_name.clone(),
                capability_args: row.capability_args.clone(),
                ..RuntimeConf::default()
            },
            cni: CniConfig {
                path: vec![release.dir()],
                cache_dir: Some("/run/cache".into()),
                durability: Durability::Atomic,
                owner: None,
                rollback: None,
                exec: Arc::new(ProcessExec::default()),
                environ: Environ::new(None, node_state::environment()).map_err(words)?,
                observer: None,
            },
        })
    }

    fn call() -> Call {
        Call::with_timeout(Some(Duration::from_secs(60)))
    }

    fn since(&self, least: SpecVersion) -> Result<bool, String> {
        version::at_least(self.version, least).map_err(words)
    }

    fn validate(&self) -> Result<(), String> {
        let capabilities = self.cni.validate_network_list(&Self::call(), &self.list).map_err(words)?;
        let declared = self.row.capability_args.keys();
        if declared.eq(capabilities.iter()) { Ok(()) } else { Err(format!("VALIDATE answered {capabilities:?}")) }
    }

    fn add(&self) -> Result<(), String> {
        let result = self.cni.add_network_list(&Self::call(), &self.list, &self.rt).map_err(words)?;
        let shown = || format!("ADD answered {}", result.to_value());
        if result.version() != self.version {
            return Err(shown());
        }
        let found: Vec<_> = result.addresses(&self.row.if_name).iter().map(ToString::to_string).collect();
        let answers = match &self.row.addresses_since {
            Some(since) => version::compare(self.version, since).map_err(words)?.is_ge(),
            None => true,
        };
        let wanted: &[String] = if answers { &self.row.addresses } else { &[] };
        if found != wanted {
            return Err(format!("{}; expected addresses: {wanted:?}", shown()));
        }
        // From 0.3.0 on a result names interfaces too.
        let value = result.to_value();
        let named = |one: &Value| one["name"] == self.row.if_name.as_str() && one["sandbox"] == node_state::NETNS;
        let has_interface = value["interfaces"].as_array().is_some_and(|list| list.iter().any(named));
        let old = value.get("ip4").is_some() || value.get("ip6").is_some();
        if answers && !has_interface && !old { Err(shown()) } else { Ok(()) }
    }

    fn check(&self) -> Result<(), String> {
        let checked = self.cni.check_network_list(&Self::call(), &self.list, &self.rt);
        if !self.since(version::CHECK)? {
            return match checked {
                Err(error) if error.class() == ErrorClass::Unsupported => Ok(()),
                other => Err(format!("CHECK below 0.4.0: {other:?}")),
            };
        }
        self.expect_defect("CHECK", checked, &self.row.check_fails)
    }

    /// Success, or where the release has a defect its words.
    fn expect_defect(&self, what: &str, outcome: cnirt::Result<()>, defects: &Defects) -> Result<(), String> {
        match (outcome, defects.get(&self.release.to_string())) {
            (Ok(()), None) => Ok(()),
            (Err(error), Some((defect, _))) if error.to_string().contains(defect) => Ok(()),
            (Err(error), _) => Err(format!("{what}: {}", words(error))),
            (Ok(()), Some((_, why))) => Err(format!("{what} succeeds although {why}")),
        }
    }

    /// Asks no plugin below 1.1.0.
    fn status(&self) -> Result<(), String> {
        self.cni.get_status_network_list(&Self::call(), &self.list).map_err(words)
    }

    /// Deletes the attachment, unless it is valid; from 1.1.0 on the plugins are told.
    fn gc(&self, valid: bool) -> Result<(), String> {
        let own = GcAttachment { container_id: self.rt.container_id.clone(), if_name: self.rt.if_name.clone() };
        let args = GcArgs { valid_attachments: Some(if valid { vec![own] } else { Vec::new() }) };
        self.cni.gc_network_list(&Self::call(), &self.list, Some(&args)).map_err(words)?;
        Self::expect_entries(usize::from(valid))
    }

    fn del(&self) -> Result<(), String> {
        self.cni.del_network_list(&Self::call(), &self.list, &self.rt).map_err(words)?;
        Self::expect_entries(0)?;
        let again = self.cni.del_network_list(&Self::call(), &self.list, &self.rt);
        self.expect_defect("a second DEL", again, &self.row.second_del_fails)
    }

    fn expect_entries(wanted: usize) -> Result<(), String> {
        let entries = fs::read_dir("/run/cache/results").map_err(|error| error.to_string())?.count();
        if entries == wanted { Ok(()) } else { Err(format!("{entries} cache entries instead of {wanted}")) }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "taken by map_err")]
fn words(error: Error) -> String {
    error.to_json().to_string()
}
