//! For tests: the disks that a power cut may leave, made of what a `journal` holds.
//!
//! A file's content is on the disk when the file was synced, its name when its directory was; until then each change of
//! either may be there or not, whatever became of those before and after it, and what was written may be garbled. That is
//! more than journalling file systems let happen, and about what the system promises.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::store::journal::Op;

/// Path below the root → content; `None` is a directory.
pub(crate) type Disk = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What is on the disk below `root`.
pub(crate) fn read(root: &Path) -> Disk {
    let mut disk = Disk::new();
    let mut left = vec![PathBuf::new()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                left.push(path.clone());
                disk.insert(path, None);
            } else {
                disk.insert(path, Some(fs::read(entry.path()).unwrap()));
            }
        }
    }
    disk
}

/// Puts a disk below `root`, which is empty.
pub(crate) fn write(root: &Path, disk: &Disk) {
    for (path, content) in disk {
        match content {
            None => fs::create_dir(root.join(path)).unwrap(),
            Some(content) => fs::write(root.join(path), content).unwrap(),
        }
    }
}

/// A disk, and how it came about.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) disk: Disk,
    /// After so many operations.
    pub(crate) after: usize,
    pub(crate) lost: String,
}

/// The disk where processes died after these operations, and the system lives.
pub(crate) fn killed(root: &Path, before: &Disk, ops: &[Op]) -> Disk {
    Journal::new(root, before, ops).disk(ops.len(), &HashMap::new())
}

/// Every disk that a power cut at some point may leave, each once: the operations were done below `root`, which was as
/// `before`, all of it durable.
pub(crate) fn states(root: &Path, before: &Disk, ops: &[Op]) -> Vec<State> {
    let journal = Journal::new(root, before, ops);
    let mut seen = BTreeSet::new();
    let all = (0..=ops.len()).flat_map(|after| journal.states(after, true));
    // The end is special even where nothing is: what was promised must be there.
    all.filter(|state| seen.insert(state.disk.clone()) || state.after == ops.len()).collect()
}

/// The disks that a power cut after all operations may leave, where names are lost and what was written is whole.
pub(crate) fn ends(root: &Path, before: &Disk, ops: &[Op]) -> Vec<State> {
    Journal::new(root, before, ops).states(ops.len(), false).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// A directory has one path for ever.
    Directory,
    File(usize),
}

/// Half of an operation: what gets durable by itself.
#[derive(Debug)]
enum Change {
    Link(PathBuf, OsString, Node),
    Unlink(PathBuf, OsString),
    Data(usize, Vec<u8>),
}

#[derive(Debug)]
struct Step {
    op: usize,
    change: Change,
    /// The operation that makes it durable.
    durable: Option<usize>,
}

/// What becomes of a step that is not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lost,
    /// The file is empty.
    Truncated,
    /// The first half is there.
    Torn,
    Garbled,
}

struct Journal<'a> {
    root: &'a Path,
    /// The contents before, by file.
    contents: Vec<Vec<u8>>,
    steps: Vec<Step>,
}

fn split(path: &Path) -> (PathBuf, OsString) {
    (path.parent().unwrap().to_owned(), path.file_name().unwrap().to_owned())
}

impl<'a> Journal<'a> {
    fn new(root: &'a Path, before: &Disk, ops: &[Op]) -> Self {
        let mut journal = Self { root, contents: Vec::new(), steps: Vec::new() };
        // As the running processes see it.
        let mut files: HashMap<PathBuf, usize> = HashMap::new();
        for (path, content) in before {
            let path = root.join(path);
            let node = content.as_ref().map_or(Node::Directory, |content| {
                files.insert(path.clone(), journal.contents.len());
                journal.contents.push(content.clone());
                Node::File(journal.contents.len() - 1)
            });
            let (dir, name) = split(&path);
            journal.steps.push(Step { op: 0, change: Change::Link(dir, name, node), durable: Some(0) });
        }
        for (op, what) in (1..).zip(ops) {
            let mut step = |change| journal.steps.push(Step { op, change, durable: None });
            let link = |path: &Path, node| {
                let (dir, name) = split(path);
                Change::Link(dir, name, node)
            };
            let unlink = |path: &Path| {
                let (dir, name) = split(path);
                Change::Unlink(dir, name)
            };
            match what {
                Op::Mkdir(path) => step(link(path, Node::Directory)),
                Op::Create(path) => {
                    let file = journal.contents.len();
                    step(link(path, Node::File(file)));
                    journal.contents.push(Vec::new());
                    files.insert(path.clone(), file);
                }
                Op::Write(path, bytes) => step(Change::Data(files[path], bytes.clone())),
                Op::Rename(from, to) => {
                    let file = files.remove(from).unwrap();
                    step(link(to, Node::File(file)));
                    step(unlink(from));
                    files.insert(to.clone(), file);
                }
                Op::Remove(path) => {
                    step(unlink(path));
                    files.remove(path);
                }
                Op::Sync(path) => {
                    let file = files.get(path);
                    for step in &mut journal.steps {
                        let synced = match &step.change {
                            Change::Data(of, _) => Some(of) == file,
                            Change::Link(dir, ..) | Change::Unlink(dir, _) => dir == path,
                        };
                        if synced && step.durable.is_none() {
                            step.durable = Some(op);
                        }
                    }
                }
                Op::Claim(path, made) => {
                    let file = journal.contents.len();
                    let change = if *made { link(path, Node::File(file)) } else { unlink(path) };
                    journal.contents.push(Vec::new());
                    journal.steps.push(Step { op, change, durable: Some(op) });
                }
            }
        }
        journal
    }

    fn states(&self, after: usize, contents: bool) -> impl Iterator<Item = State> {
        let choices = self.choices(after, contents).into_iter();
        choices.map(move |(lost, fates)| State { disk: self.disk(after, &fates), after, lost })
    }

    /// What may become of the steps that are not durable after so many operations; of `contents`, too.
    fn choices(&self, after: usize, contents: bool) -> Vec<(String, HashMap<usize, Fate>)> {
        let is_pending = |step: &Step| step.op <= after && step.durable.is_none_or(|durable| durable > after);
        let is_meant = |step: &Step| is_pending(step) && (contents || !matches!(step.change, Change::Data(..)));
        let pending: Vec<usize> = (0..self.steps.len()).filter(|index| is_meant(&self.steps[*index])).collect();
        let lose = |steps: &[usize]| steps.iter().map(|step| (*step, Fate::Lost)).collect::<HashMap<_, _>>();
        let mut choices = vec![("nothing".to_owned(), HashMap::new()), ("everything".to_owned(), lose(&pending))];
        for &index in &pending {
            let step = &self.steps[index];
            let mut fates = vec![Fate::Lost];
            if matches!(step.change, Change::Data(..)) {
                fates.extend([Fate::Truncated, Fate::Torn, Fate::Garbled]);
            }
            for fate in fates {
                choices.push((format!("{fate:?}: {}", self.name(index)), HashMap::from([(index, fate)])));
            }
            let others: Vec<usize> = pending.iter().copied().filter(|other| *other != index).collect();
            choices.push((format!("everything but {}", self.name(index)), lose(&others)));
            let of_operation: Vec<usize> =
                pending.iter().copied().filter(|other| self.steps[*other].op == step.op).collect();
            if of_operation.len() > 1 && of_operation[0] == index {
                choices.push((format!("operation {}", step.op), lose(&of_operation)));
            }
        }
        choices
    }

    fn name(&self, step: usize) -> String {
        let Step { op, change, .. } = &self.steps[step];
        let below = |dir: &Path, name: &OsStr| dir.join(name).strip_prefix(self.root).unwrap().display().to_string();
        match change {
            Change::Link(dir, name, _) => format!("{op}, name {}", below(dir, name)),
            Change::Unlink(dir, name) => format!("{op}, no name {}", below(dir, name)),
            Change::Data(file, bytes) => format!("{op}, {} bytes of file {file}", bytes.len()),
        }
    }

    fn disk(&self, after: usize, fates: &HashMap<usize, Fate>) -> Disk {
        let mut contents = self.contents.clone();
        let mut names: BTreeMap<(&Path, &OsStr), &Node> = BTreeMap::new();
        let mut truncated = BTreeSet::new();
        for (index, step) in self.steps.iter().enumerate().filter(|(_, step)| step.op <= after) {
            match (&step.change, fates.get(&index)) {
                (_, Some(Fate::Lost)) => {}
                (Change::Link(dir, name, node), _) => {
                    names.insert((dir, name), node);
                }
                (Change::Unlink(dir, name), _) => {
                    names.remove(&(dir.as_path(), name.as_os_str()));
                }
                (Change::Data(file, _), Some(Fate::Truncated)) => {
                    truncated.insert(*file);
                }
                (Change::Data(file, bytes), fate) => {
                    let content = &mut contents[*file];
                    match fate {
                        Some(Fate::Torn) => content.extend(&bytes[..bytes.len() / 2]),
                        Some(Fate::Garbled) => content.extend(bytes.iter().map(|byte| byte ^ 0x5a)),
                        _ => content.extend(bytes),
                    }
                }
            }
        }
        for file in truncated {
            contents[file].clear();
        }
        let mut disk = Disk::new();
        let mut left = vec![self.root.to_owned()];
        while let Some(at) = left.pop() {
            for ((dir, name), node) in names.iter().filter(|((dir, _), _)| *dir == at) {
                let path = dir.join(name);
                let below = path.strip_prefix(self.root).unwrap().to_owned();
                match node {
                    Node::File(file) => disk.insert(below, Some(contents[*file].clone())),
                    Node::Directory => {
                        left.push(path);
                        disk.insert(below, None)
                    }
                };
            }
        }
        disk
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::journal::recorded;
    use crate::store::{Cache, CacheEntry, Cached, Durability, Key};
    use crate::testing;

    /// The states in words: path=content, sorted.
    fn shown(before: &Disk, ops: &[Op]) -> BTreeSet<String> {
        let show = |state: State| {
            let shown = state.disk.iter().map(|(path, content)| match content {
                None => format!("{}/", path.display()),
                Some(content) => format!("{}={}", path.display(), String::from_utf8_lossy(content)),
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        states(Path::new("/r"), before, ops).into_iter().map(show).collect()
    }

    fn set(states: &[&str]) -> BTreeSet<String> {
        states.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_synced_is_there_and_of_the_rest_anything() {
        let path = |path: &str| Path::new("/r").join(path);
        let before = Disk::from([("new".into(), Some(b"old".to_vec()))]);
        let create = Op::Create(path("tmp"));
        let write = Op::Write(path("tmp"), b"ab".to_vec());
        let (sync, rename) = (Op::Sync(path("tmp")), Op::Rename(path("tmp"), path("new")));
        let all = Op::Sync("/r".into());
        for (name, ops, expected) in [
            ("a name", vec![create.clone()], vec!["new=old", "new=old tmp="]),
            (
                "content",
                vec![create.clone(), all.clone(), write.clone()],
                vec!["new=old", "new=old tmp=", "new=old tmp=ab", "new=old tmp=a", "new=old tmp=;8"],
            ),
            (
                "a rename without a sync",
                vec![create.clone(), all.clone(), write.clone(), rename.clone()],
                vec![
                    "new=old",
                    "new=old tmp=",
                    "new=old tmp=ab",
                    "new=old tmp=a",
                    "new=old tmp=;8",
                    "new=",
                    "new=ab",
                    "new=a",
                    "new=;8",
                    "new=ab tmp=ab",
                    "new= tmp=",
                ],
            ),
            ("a removal", vec![Op::Remove(path("new"))], vec!["new=old", ""]),
            ("a synced removal", vec![Op::Remove(path("new")), all.clone()], vec!["new=old", ""]),
            (
                "a directory takes with it what is in it",
                vec![Op::Mkdir(path("d")), Op::Create(path("d/f")), Op::Sync(path("d"))],
                vec!["new=old", "d/ new=old", "d/ d/f= new=old"],
            ),
            (
                "a plugin's claim",
                vec![Op::Claim(path("c"), true), Op::Claim(path("c"), false)],
                vec!["new=old", "c= new=old"],
            ),
        ] {
            assert_eq!(shown(&before, &ops), set(&expected), "{name}");
        }
        // In this order the new content is there as soon as it has the name, and at the end for sure.
        let ops = [create, write, sync, rename, all];
        let last: BTreeSet<Option<Vec<u8>>> = states(Path::new("/r"), &before, &ops)
            .into_iter()
            .filter(|state| state.after == ops.len())
            .map(|state| state.disk[Path::new("new")].clone())
            .collect();
        assert_eq!(last, BTreeSet::from([Some(b"ab".to_vec())]));
        let torn = |state: &State| {
            let content = state.disk.get(Path::new("new")).cloned().flatten();
            ![Some(b"ab".to_vec()), Some(b"old".to_vec()), None].contains(&content)
        };
        assert!(!states(Path::new("/r"), &before, &ops).iter().any(torn));
    }

    fn entry(config: &str) -> CacheEntry {
        CacheEntry {
            key: Key::parse("net", "c1", "eth0").unwrap(),
            config: config.into(),
            netns: String::new(),
            netns_id: None,
            cni_args: None,
            capability_args: serde_json::Map::new(),
            result: Some(json!({"cniVersion": "1.1.0"})),
            owner: None,
        }
    }

    #[test]
    fn an_entry_survives_a_power_cut_whole_or_not_at_all() {
        type Step = fn(&Cache);
        let add: Step = |cache| cache.add(&entry("new")).unwrap();
        let remove: Step = |cache| cache.remove(&entry("").key).unwrap();
        let nothing: Step = |_| ();
        let add_old: Step = |cache| cache.add(&entry("old")).unwrap();
        let mut count = 0;
        for (name, before, step, first, last) in [
            ("add", nothing, add, None, Some("new")),
            ("add over another one", add_old, add, Some("old"), Some("new")),
            ("remove", add_old, remove, Some("old"), None),
        ] {
            for durability in [Durability::Full, Durability::Atomic] {
                let temp = testing::memory_dir();
                let root = temp.path().canonicalize().unwrap();
                let cache = Cache::new(root.join("cache"), durability);
                before(&cache);
                let disk = read(&root);
                let ((), ops) = recorded(|| step(&cache));
                for state in states(&root, &disk, &ops) {
                    count += 1;
                    let what = format!("{name}, {durability:?}, after {} of {ops:?} lost {}", state.after, state.lost);
                    let temp = testing::memory_dir();
                    write(temp.path(), &state.disk);
                    let cache = Cache::new(temp.path().join("cache"), Durability::Atomic);
                    let found = match cache.get(&entry("").key) {
                        Cached::Entry(entry) => Some(String::from_utf8(entry.config).unwrap()),
                        Cached::Missing => None,
                        Cached::Unreadable(_) if durability == Durability::Atomic => Some("torn".to_owned()),
                        other => panic!("{what}: {other:?}"),
                    };
                    if durability == Durability::Full {
                        let done = state.after == ops.len();
                        assert!(found.as_deref() == last || !done && found.as_deref() == first, "{what}: {found:?}");
                    }
                    cache.sweep();
                    cache.remove(&entry("").key).unwrap();
                    assert!(read(temp.path()).values().all(Option::is_none), "{what}");
                }
            }
        }
        println!("{count} states");
        assert!(count > 50, "{count}");
    }
}
