//! What the host notices of its plugins: nothing.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use super::*;

static SIGCHLDS: AtomicI32 = AtomicI32::new(0);

extern "C" fn count_sigchld(_: libc::c_int) {
    SIGCHLDS.fetch_add(1, Ordering::SeqCst);
}

fn set_sigchld(handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: sigaction is plain data; the handler only counts.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// `waitpid(-1)`, of every kind of child or of the usual ones.
fn wait_any(flags: libc::c_int) -> (i32, i32) {
    // SAFETY: NULL for the optional status.
    let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), flags) };
    (pid, std::io::Error::last_os_error().raw_os_error().unwrap())
}

fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Every way to end.
fn all_endings(way: Way) {
    for (text, ms) in [("exit 0", 60_000), ("exit 1", 60_000), ("kill -9 $$", 60_000), ("exec sleep 600", 50)] {
        let _ = Script::new(text).run_with(&impatient(50), way, &limited(ms), b"x");
    }
    let _ = Script::bytes(b"", 0o755).run(way, &Call::default());
    let _ = Script::new("sleep 600 & exit 0").run(way, &Call::default());
}

#[test]
fn nothing_is_left() {
    isolated("guest::nothing_is_left", || {
        for way in WAYS {
            all_endings(way);
            let before = (open_fds(), mappings());
            for _ in 0..5 {
                all_endings(way);
            }
            assert_eq!(open_fds(), before.0, "{way:?}");
            assert!(mappings() <= before.1 + 4, "{way:?}: {} mappings, {} before", mappings(), before.1);
            assert_eq!(wait_any(libc::WNOHANG | libc::__WALL), (-1, libc::ECHILD), "{way:?}");
        }
    });
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn no_sigchld_comes_and_no_child_is_seen() {
    isolated("guest::no_sigchld_comes_and_no_child_is_seen", || {
        set_sigchld(count_sigchld as *const () as libc::sighandler_t, libc::SA_RESTART);
        for way in NANNIES {
            all_endings(way);
            let script = Script::new("echo $$ >$D/pid; exec sleep 600");
            let call = Call::default();
            std::thread::scope(|scope| {
                scope.spawn(|| script.run(way, &call).unwrap_err());
                script.file("pid");
                assert_eq!(wait_any(libc::WNOHANG), (-1, libc::ECHILD), "{way:?}");
                call.cancel.cancel();
            });
        }
        assert_eq!(SIGCHLDS.load(Ordering::SeqCst), 0);
    });
}

/// The right status or, where the host is the parent and the kernel forgets, an error that says so.
fn statuses_are_right() {
    let scripts: Vec<_> = ["exit 0", "exit 3", "kill -9 $$"].map(Script::new).into();
    for way in WAYS {
        for run in 0..30 {
            let result = scripts[run % 3].run(way, &Call::default());
            let lost = result.as_ref().is_err_and(|error| error.class() == ErrorClass::Io);
            if way == Way::Direct && lost {
                assert!(result.unwrap_err().to_string().ends_with(": exit status lost"));
                continue;
            }
            match run % 3 {
                0 => assert_eq!(result.unwrap(), "", "{way:?}"),
                1 => assert!(result.unwrap_err().to_string().ends_with(": exit status 3"), "{way:?}"),
                _ => assert!(result.unwrap_err().to_string().ends_with(": signal: killed"), "{way:?}"),
            }
        }
    }
}

#[test]
fn statuses_are_right_where_sigchld_is_ignored() {
    isolated("guest::statuses_are_right_where_sigchld_is_ignored", || {
        set_sigchld(libc::SIG_IGN, 0);
        statuses_are_right();
    });
}

#[test]
fn statuses_are_right_where_children_are_not_to_be_waited_for() {
    isolated("guest::statuses_are_right_where_children_are_not_to_be_waited_for", || {
        set_sigchld(count_sigchld as *const () as libc::sighandler_t, libc::SA_NOCLDWAIT);
        statuses_are_right();
    });
}

#[test]
fn statuses_are_right_where_another_thread_takes_all_children() {
    isolated("guest::statuses_are_right_where_another_thread_takes_all_children", || {
        std::thread::spawn(|| {
            loop {
                if wait_any(0).0 < 0 {
                    std::thread::yield_now();
                }
            }
        });
        statuses_are_right();
    });
}

#[test]
fn a_host_without_standard_descriptors_works() {
    isolated("guest::a_host_without_standard_descriptors_works", || {
        let scripts = WAYS.map(|_| Script::new("ls /proc/self/fd; cat; echo err >&2; exit 0"));
        let results = testing::without_standard_fds(|| {
            [0_usize, 1, 2]
                .map(|row| scripts[row].run_with(&ProcessExec::default(), WAYS[row], &limited(60_000), b"in"))
        });
        for result in results {
            assert_eq!(result.unwrap(), "0\n1\n2\n3\nin");
        }
    });
}

/// The host's printing goes nowhere, and above all not into a file, pipe or socket of ours.
#[test]
fn a_host_that_prints_to_closed_descriptors_disturbs_nothing() {
    isolated("guest::a_host_that_prints_to_closed_descriptors_disturbs_nothing", || {
        let script = Script::new("cat");
        let (printed, results) = testing::without_standard_fds(|| {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let noise = scope.spawn(|| {
                    let mut printed = 0;
                    while !over.load(Ordering::SeqCst) {
                        for fd in [1, 2] {
                            // SAFETY: what `printf` does.
                            printed += i32::from(unsafe { libc::write(fd, c"noise\n".as_ptr().cast(), 6) } > 0);
                        }
                    }
                    printed
                });
                let run = |run: usize| script.run_with(&ProcessExec::default(), WAYS[run % 3], &limited(60_000), b"in");
                let results: Vec<_> = (0..90).map(run).collect();
                over.store(true, Ordering::SeqCst);
                (noise.join().unwrap(), results)
            })
        });
        for result in results {
            assert_eq!(result.unwrap(), "in");
        }
        assert_eq!(printed, 0);
    });
}

#[test]
fn no_sigpipe_reaches_the_host() {
    isolated("guest::no_sigpipe_reaches_the_host", || {
        // SAFETY: the disposition that kills.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        for way in WAYS {
            let input = vec![b'x'; 1 << 20];
            Script::new("exec <&-; exit 0").run_with(&ProcessExec::default(), way, &Call::default(), &input).unwrap();
        }
    });
}

#[test]
fn no_sigxfsz_reaches_a_host_that_may_not_write_large_files() {
    isolated("guest::no_sigxfsz_reaches_a_host_that_may_not_write_large_files", || {
        let script = Script::new("cat");
        testing::limit_file_size(100);
        for way in WAYS {
            let run = |size| script.run_with(&ProcessExec::default(), way, &Call::default(), &vec![b'x'; size]);
            assert_eq!(run(100).unwrap().len(), 100, "{way:?}");
            let error = run(101).unwrap_err();
            let words = "cannot start a plugin: pwrite: file too large";
            assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Io, words), "{way:?}");
            assert!(error.never_ran() && error.hint().unwrap().contains("RLIMIT_FSIZE"), "{way:?}");
        }
    });
}

#[test]
fn a_signal_to_the_hosts_group_kills_no_plugin() {
    isolated("guest::a_signal_to_the_hosts_group_kills_no_plugin", || {
        sys::lead_group(0).unwrap();
        // SAFETY: ignored here, deadly for a plugin.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        std::thread::spawn(|| {
            loop {
                sys::kill(0, libc::SIGINT).unwrap();
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        let script = Script::new("exit 0");
        for way in WAYS {
            for _ in 0..60 {
                script.run(way, &Call::default()).unwrap();
            }
        }
    });
}

#[test]
fn running_out_of_descriptors_is_said_and_leaks_nothing() {
    isolated("guest::running_out_of_descriptors_is_said_and_leaks_nothing", || {
        let script = Script::new("exit 0");
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is what both calls take.
        unsafe { assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0) };
        for way in WAYS {
            let mut refusals = Vec::new();
            let before = open_fds();
            for spare in 0..14 {
                // One is the directory that the counting itself opens.
                let tight = libc::rlimit { rlim_cur: before as u64 - 1 + spare, ..limit };
                // SAFETY: as above.
                unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const tight), 0) };
                let result = script.run(way, &Call::default());
                // SAFETY: as above.
                unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0) };
                if let Err(error) = result {
                    assert_eq!(error.class(), ErrorClass::Io, "{way:?}: {error}");
                    assert!(error.to_string().ends_with(": too many open files"), "{error}");
                    assert!(error.never_ran(), "{error}");
                    refusals.push(error);
                }
                assert_eq!(open_fds(), before, "{way:?}");
                assert_eq!(wait_any(libc::WNOHANG | libc::__WALL).0, -1);
            }
            assert!((7..14).contains(&refusals.len()), "{way:?}: {}", refusals.len());
        }
    });
}

#[test]
fn a_small_stack_is_enough() {
    let script = Script::new("cat; echo oh >&2; exit 0");
    for way in WAYS {
        let script = Script { dir: tempfile::TempDir::new_in(script.dir.path()).unwrap() };
        fs::write(script.path(), "#!/bin/sh\nexec cat\n").unwrap();
        fs::set_permissions(script.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let run = move || script.run_with(&ProcessExec::default(), way, &Call::default(), b"in").unwrap();
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(run).unwrap();
        assert_eq!(thread.join().unwrap(), "in", "{way:?}");
    }
}

#[test]
fn many_descriptors_of_the_host_are_nobodys_business() {
    isolated("guest::many_descriptors_of_the_host_are_nobodys_business", || {
        let files: Vec<_> = (0..500).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        for file in &files {
            // SAFETY: as hosts do that do not know better.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
        }
        for way in WAYS {
            assert_eq!(Script::new("exec ls /proc/self/fd").run(way, &Call::default()).unwrap(), "0\n1\n2\n3\n");
        }
        std::io::stdout().flush().unwrap();
    });
}
