//! Hosts that are odd in one way each, with real plugins: the library works in them, and they do not notice.
//!
//! Each is the C program `hosts/host.c` in network and mount namespaces of its own.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "capi/mod.rs"]
mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The most that one host may take: far more than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// An empty directory of this name, which stays.
fn empty_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).unwrap();
    directory
}

/// The program, compiled by the first test that needs it.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| common::compile("../hosts/host.c", &empty_directory("hosts")))
}

/// The one that loads the library itself.
fn loader() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| common::compile_alone("../hosts/copies.c", &empty_directory("copies")))
}

struct Host {
    process: Child,
    directory: tempfile::TempDir,
}

impl Host {
    fn start(kind: &str, spawn: Option<&str>) -> Self {
        Self::start_program(program(), kind, &[], spawn)
    }

    fn start_program(program: &Path, kind: &str, more: &[&Path], spawn: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--mount", "timeout", "--foreground", "--signal=KILL"]);
        command.arg(PATIENCE.as_secs().to_string()).arg(program).arg(kind).arg(directory.path()).args(more);
        // Also in the nannies, which have the host's memory.
        command.env("CNIRT_TEST_MARKER", directory.path()).env_remove("CNIRT_SPAWN");
        if let Some(way) = spawn {
            command.env("CNIRT_SPAWN", way);
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { process, directory }
    }

    /// It must end well, and silently.
    fn ends_well(self) {
        let output = self.process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{}\n{said}", output.status);
        assert_eq!(marked(self.directory.path()), Vec::<String>::new());
    }
}

fn host(kind: &str) {
    Host::start(kind, None).ends_well();
}

/// The processes that have the host's marker in their environment: itself, its nannies, its plugins, their children.
fn marked(directory: &Path) -> Vec<String> {
    let marker = format!("CNIRT_TEST_MARKER={}", directory.display());
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes
        .filter(|process| {
            let environ = std::fs::read(process.join("environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
        })
        .map(|process| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            format!("{} {}", process.display(), String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}

/// Waits until nothing with the host's marker runs any more.
fn nothing_is_left(directory: &Path) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let left = marked(directory);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

macro_rules! hosts {
    ($($kind:ident $test:ident;)*) => {
        $(
            #[test]
            fn $test() {
                host(stringify!($kind));
            }
        )*
    };
}

hosts! {
    plain a_host_without_oddities_stays_as_it_was;

    waits a_host_that_waits_for_any_child_finds_none;
    steals a_host_that_waits_for_clones_too_may_take_what_it_finds;
    defaults a_host_may_leave_sigchld_alone;
    ignores a_host_may_ignore_sigchld;
    no_zombies a_host_may_have_sa_nocldwait;
    reaps a_host_may_reap_all_children_in_a_handler;
    reads_signals a_host_may_read_sigchld_from_a_descriptor;
    subreaper a_host_may_be_a_subreaper;
    first a_host_may_be_the_first_process_of_its_namespace;
    adopts a_daemon_of_a_plugins_is_a_subreapers_child;

    masked a_hosts_mask_and_dispositions_are_not_its_plugins;
    sigpipe a_host_gets_no_sigpipe_and_keeps_its_own;
    interrupted a_host_whose_group_is_signalled_finishes_its_set_up;
    stopped a_host_may_be_stopped_in_a_set_up;

    no_stdio a_host_may_have_its_first_descriptors_closed;
    many_descriptors a_host_may_have_20_000_descriptors;
    few_descriptors a_host_without_descriptors_is_told_so;
    full_system a_host_whose_system_is_full_is_told_so;

    large a_host_may_have_2_gib_of_memory;
    little_memory a_host_without_room_for_stacks_is_told_so;

    umask a_host_may_have_any_umask;
    no_cwd a_host_may_have_lost_its_directory;
    chrooted a_host_may_have_changed_its_root;

    rootless a_host_may_be_root_in_a_user_namespace_only;
    powerless a_host_without_capabilities_is_told_so;
    few_processes a_host_without_processes_is_told_so;
    no_network the_library_opens_no_sockets_to_the_network;

    forking a_host_may_fork_at_any_moment;
    vforking a_program_that_a_host_executes_inherits_nothing;

    crowd sixteen_threads_get_sixteen_addresses;
    small_stack a_thread_may_have_a_stack_of_64_kib;
    coroutine a_coroutine_may_have_a_stack_of_64_kib;
    frees a_free_ends_64_running_calls_and_leaves_nothing;
    sets_variables a_host_may_set_variables_in_another_thread;

    failing_callbacks a_callback_that_fails_fails_the_call;
    slow_callback a_callback_that_is_slow_holds_up_nobody_else;
    calling_back a_callback_may_not_call_its_own_handle;
    freeing a_callback_may_free_its_handle;
}

#[test]
fn a_host_that_ends_in_a_set_up_leaves_no_process() {
    for (end, exit, signal, words) in [
        ("exits", Some(0), None, ""),
        ("killed", None, Some(9), ""),
        ("crashes", None, Some(11), ""),
        ("terminated", None, Some(15), ""),
        // Running out of memory.
        ("starves", None, Some(6), "memory allocation of "),
    ] {
        let Host { process, directory } = Host::start(end, None);
        // `timeout` ends as its program has.
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.status.signal()), (exit, signal), "{end}");
        assert!(said.starts_with(words) && said.is_empty() == words.is_empty(), "{end}: {said}");
        nothing_is_left(directory.path());
    }
}

#[test]
fn a_host_may_load_the_library_again_and_again() {
    Host::start_program(loader(), "again", &[&common::shared_library()], None).ends_well();
}

#[test]
fn two_copies_of_the_library_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy.so");
    std::fs::copy(common::shared_library(), &copy).unwrap();
    Host::start_program(loader(), "two", &[&common::shared_library(), &copy], None).ends_well();
}

#[test]
fn the_plain_way_of_starting_plugins_keeps_most_promises() {
    // The host may hear of a plugin and find it among its children; that is not checked then, all the rest is.
    for kind in [
        "plain",
        "steals",
        "ignores",
        "no_zombies",
        "no_stdio",
        "interrupted",
        "stopped",
        "few_descriptors",
        "little_memory",
        "sigpipe",
        "rootless",
        "small_stack",
        "frees",
        "sets_variables",
    ] {
        Host::start(kind, Some("direct")).ends_well();
    }
}
