//! Plugins that share a nanny, one after another.

use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::*;
use crate::call::HeldLock;

const NANNY: &str = "read -r x x x parent x </proc/self/stat; echo $parent";

/// Says who its nanny was.
fn run(nursery: &mut Nursery, way: Way, text: &str) -> String {
    run_with(nursery, way, text, &[c"PATH=/usr/bin:/bin".to_owned()], &Call::default())
}

fn run_with(nursery: &mut Nursery, way: Way, text: &str, env: &[CString], call: &Call) -> String {
    let script = Script::new(text);
    let said = ProcessExec::default().exec_by(way, call, nursery, &script.path(), b"", env);
    String::from_utf8(said.unwrap()).unwrap().trim_end().to_owned()
}

/// A nanny that waits for another plugin. None where nannies cannot tell that a plugin left nobody (before Linux 6.9), so
/// that each plugin has one of its own.
fn idle_nanny(nursery: &mut Nursery, way: Way, call: &Call) -> Option<String> {
    let nanny = run_with(nursery, way, NANNY, &[], call);
    groups_are_seen().then_some(nanny)
}

#[test]
fn a_lists_plugins_share_a_nanny_that_goes_with_the_last_one() {
    for way in NANNIES {
        let mut nursery = Nursery::default();
        let Some(nanny) = idle_nanny(&mut nursery, way, &Call::default()) else { return };
        assert!(runs(&nanny), "{way:?}");
        let failed = Script::new("exit 1");
        let error = ProcessExec::default().exec_by(way, &Call::default(), &mut nursery, &failed.path(), b"", &[]);
        assert_eq!(error.unwrap_err().class(), ErrorClass::Plugin, "{way:?}");
        let missing = ProcessExec::default().exec_by(way, &Call::default(), &mut nursery, Path::new("/no"), b"", &[]);
        assert!(missing.unwrap_err().never_ran(), "{way:?}");
        nursery.none_follows();
        assert_eq!(run(&mut nursery, way, NANNY), nanny, "{way:?}");
        drop(nursery);
        assert!(!Path::new("/proc").join(&nanny).exists(), "{way:?}: it was waited for");
    }
}

#[test]
fn who_looks_after_what_a_plugin_left_has_no_other_plugin() {
    for way in NANNIES {
        let mut nursery = Nursery::default();
        for left in ["sleep 600 >/dev/null 2>&1 &", "setsid sleep 2 >/dev/null 2>&1 &"] {
            if idle_nanny(&mut nursery, way, &Call::default()).is_none() {
                return;
            }
            let nanny = run(&mut nursery, way, &format!("{left} {NANNY}"));
            assert!(!runs(&nanny), "{way:?}: {left}");
            assert_ne!(run(&mut nursery, way, NANNY), nanny, "{way:?}: {left}");
        }
    }
}

#[test]
fn another_nanny_comes_where_the_one_that_is_there_cannot_do_it() {
    isolated("nursery::another_nanny_comes_where_the_one_that_is_there_cannot_do_it", || {
        for way in NANNIES {
            // Or a large one would be used again.
            arena::free_all();
            let mut nursery = Nursery::default();
            let Some(first) = idle_nanny(&mut nursery, way, &Call::default()) else { return };
            sys::kill(first.parse().unwrap(), libc::SIGKILL).unwrap();
            wait_until("the nanny's end", || !runs(&first));
            let second = run(&mut nursery, way, NANNY);
            assert_ne!(second, first, "{way:?}: it was dead");
            let long = CString::new(format!("LONG={}", "x".repeat(100_000))).unwrap();
            let env = [c"PATH=/usr/bin:/bin".to_owned(), long];
            let said = run_with(&mut nursery, way, &format!("echo ${{#LONG}}; {NANNY}"), &env, &Call::default());
            let (length, third) = said.split_once('\n').unwrap();
            assert_eq!(length, "100000", "{way:?}");
            assert_ne!(third, second, "{way:?}: it had no room for the environment");
            assert_eq!(run(&mut nursery, way, "echo $LONG"), "", "{way:?}");
        }
    });
}

#[test]
fn a_nanny_without_a_plugin_holds_nothing_of_the_hosts() {
    for way in NANNIES {
        let mut nursery = Nursery::default();
        let file = tempfile::tempfile().unwrap();
        let call = Call { lock: Some(HeldLock { file: Arc::new(file.into()) }), ..Call::default() };
        let Some(nanny) = idle_nanny(&mut nursery, way, &call) else { return };
        let mut held = String::new();
        for fd in fs::read_dir(format!("/proc/{nanny}/fd")).unwrap() {
            writeln!(held, "{}", fs::read_link(fd.unwrap().path()).unwrap().display()).unwrap();
        }
        let mut kinds: Vec<_> = held.lines().map(|line| line.split(':').next().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["anon_inode", "socket"], "{way:?}: {held}");
    }
}

#[test]
fn a_nanny_without_room_for_a_plugins_pipes_says_so() {
    for (way, last) in NANNIES.into_iter().zip([false, true]) {
        let mut nursery = Nursery::default();
        let Some(nanny) = idle_nanny(&mut nursery, way, &Call::default()) else { return };
        let limit = libc::rlimit { rlim_cur: 2, rlim_max: 2 };
        // SAFETY: `limit` is what the call reads; the limit is another process's, which shares no table with this one.
        let limited = unsafe {
            libc::prlimit(nanny.parse().unwrap(), libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
        };
        assert_eq!(limited, 0);
        if last {
            nursery.none_follows();
        }
        let script = Script::new("");
        let refused = ProcessExec::default().exec_by(way, &Call::default(), &mut nursery, &script.path(), b"", &[]);
        let error = refused.unwrap_err();
        assert!(error.never_ran(), "{way:?}: {error}");
        assert!(error.to_string().contains(": recvmsg: "), "{way:?}: {error}");
        wait_until("the nanny's end", || !runs(&nanny));
        assert!(!run(&mut nursery, way, NANNY).is_empty());
    }
}

/// As where the host executes another program between two plugins, and a child that it forked has its socket: nothing
/// tells the nanny then.
#[test]
fn a_nanny_that_nobody_needs_for_long_goes() {
    for way in NANNIES {
        let mut nursery = Nursery::with_idle_limit(Duration::from_millis(100));
        let Some(nanny) = idle_nanny(&mut nursery, way, &Call::default()) else { return };
        wait_until("the nanny's end", || !runs(&nanny));
        assert_ne!(run(&mut nursery, way, NANNY), nanny, "{way:?}");
        // Asked at the moment when it goes, the one that goes or another one does it.
        for pause in 95..105 {
            std::thread::sleep(Duration::from_millis(pause));
            assert!(!run(&mut nursery, way, NANNY).is_empty(), "{way:?}");
        }
    }
}

/// As where a callback forks, and the call goes on in both processes.
#[test]
fn a_forked_childs_copy_is_its_own() {
    isolated("nursery::a_forked_childs_copy_is_its_own", || {
        for way in NANNIES {
            let mut nursery = Nursery::default();
            let Some(nanny) = idle_nanny(&mut nursery, way, &Call::default()) else { return };
            // SAFETY: there is no other thread at work in this process, the test's own.
            match unsafe { libc::fork() } {
                0 => {
                    let its_own = run(&mut nursery, way, NANNY) != nanny;
                    drop(nursery);
                    sys::exit(i32::from(!its_own));
                }
                child => assert_eq!(sys::wait_id(libc::P_PID, child, 0), Ok(Some((libc::CLD_EXITED, 0))), "{way:?}"),
            }
            assert_eq!(run(&mut nursery, way, NANNY), nanny, "{way:?}");
        }
    });
}

/// As where a log callback forks while a plugin runs, and returns in both processes.
#[test]
fn a_forked_childs_copy_of_a_running_plugin_is_left_alone() {
    isolated("nursery::a_forked_childs_copy_of_a_running_plugin_is_left_alone", || {
        for way in WAYS {
            let script = Script::new("trap 'exit 3' TERM; echo >$D/up; while [ ! -e $D/go ]; do sleep 0.01; done");
            let path = script.c_path();
            let env = [c"PATH=/usr/bin:/bin".to_owned()];
            let request = Request { path: &path, env: &env, lock: None };
            let mut nursery = Nursery::default();
            let Ok((mut child, ends)) = start(way, &mut nursery, &request, b"") else { panic!("{way:?}") };
            script.file("up");
            let call = Call::default();
            let limits = Limits { call: &call, kill_grace: Duration::ZERO, max_output: 1 << 20 };
            let run = Run::new(limits, ends, Stderr::new(Path::new("plugin"), 0));
            // SAFETY: there is no other thread at work in this process, the test's own.
            match unsafe { libc::fork() } {
                0 => {
                    let lost = run.attend(&mut *child).is_ok_and(|(end, ..)| end == End::Lost);
                    drop(child);
                    sys::exit(i32::from(!lost));
                }
                other => assert_eq!(sys::wait_id(libc::P_PID, other, 0), Ok(Some((libc::CLD_EXITED, 0))), "{way:?}"),
            }
            fs::write(script.dir.path().join("go"), "").unwrap();
            let (end, ..) = run.attend(&mut *child).unwrap();
            assert_eq!(end, End::Exited(run::Status::Exited(0)), "{way:?}");
        }
    });
}

/// As where the host reads from a number that is not its own.
#[test]
fn an_end_is_seen_whose_wake_up_somebody_else_took() {
    for table in [Table::Fetched, Table::Copied] {
        let request = Request { path: c"/bin/true", env: &[], lock: None };
        let (_ends, plugin_ends) = run::stdio(b"").unwrap();
        let mut nursery = Nursery::default();
        let Ok(mut charge) = nursery.take_in(table, &request, &plugin_ends) else { panic!("{table:?}") };
        drop(plugin_ends);
        let [Some(control), _] = charge.control() else { panic!("no control socket") };
        wait_until("the nanny's word", || sys::receive(control, &mut [0; 8]) == Ok(1));
        let call = limited(20_000);
        let limits = Limits { call: &call, kill_grace: Duration::ZERO, max_output: 1 << 20 };
        let run = Run::new(limits, run::HostEnds::NONE, Stderr::new(Path::new("plugin"), 0));
        let begun = Instant::now();
        assert_eq!(run.attend(&mut charge).unwrap().0, End::Exited(run::Status::Exited(0)), "{table:?}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{table:?}: only the deadline woke it");
    }
}

/// What an unprivileged user has on its way through sockets counts for all of its processes.
#[test]
fn descriptors_that_are_on_their_way_elsewhere_are_waited_for() {
    isolated("nursery::descriptors_that_are_on_their_way_elsewhere_are_waited_for", || {
        use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
        let most = 60;
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: `limit` is what the call reads.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
        let (sender, receiver) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let refused = (0..=most + 1).any(|_| {
            let files = [sender.as_fd()];
            let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
            ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&files));
            let data = [std::io::IoSlice::new(b"x")];
            let flags = rustix::net::SendFlags::DONTWAIT;
            rustix::net::sendmsg(&sender, &data, &mut ancillary, flags) == Err(rustix::io::Errno::TOOMANYREFS)
        });
        assert!(refused);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                drop(receiver);
            });
            for way in NANNIES {
                assert!(!run(&mut Nursery::default(), way, NANNY).is_empty());
            }
        });
    });
}

/// The host that is killed between two plugins.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let way = if dir.join("copied").exists() { NANNIES[1] } else { NANNIES[0] };
    let mut nursery = Nursery::default();
    let nanny = run(&mut nursery, way, NANNY);
    fs::write(dir.join("nanny"), format!("{nanny}\n")).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_host_leaves_no_nanny_that_waits() {
    for mark in ["fetched", "copied"] {
        let script = Script::new("");
        fs::write(script.dir.path().join(mark), "").unwrap();
        let host = Victim::start("nursery::victim", script.dir.path());
        let nanny = script.file("nanny");
        // Kills it.
        drop(host);
        wait_until("the nanny's end", || !runs(&nanny));
    }
}
