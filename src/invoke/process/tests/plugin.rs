//! What a plugin finds, and what becomes of what it does.

use std::sync::{Arc, Mutex};

use super::*;

#[test]
fn a_plugin_finds_a_clean_process() {
    // SAFETY: a plain duplicate, which exec would leave open.
    let leaked = unsafe { libc::dup(2) };
    assert!(leaked >= 0);
    // SAFETY: blocks a signal in this thread only.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    let cwd = format!("{}\n", std::env::current_dir().unwrap().display());
    let zero = "0000000000000000";
    for (row, text, expected) in [
        ("0, 1, 2, and what ls opens itself", "exec ls /proc/self/fd", "0\n1\n2\n3\n".to_owned()),
        (
            "no signal blocked, ignored or pending",
            "exec grep -E '^(ShdPnd|SigBlk|SigIgn)' /proc/self/status",
            format!("ShdPnd:\t{zero}\nSigBlk:\t{zero}\nSigIgn:\t{zero}\n"),
        ),
        (
            "leads its group",
            "read -r pid x x x group x </proc/self/stat; [ $pid = $group ] && echo leads",
            "leads\n".into(),
        ),
        ("the host's directory", "exec pwd", cwd),
        ("exactly the environment given", "tr '\\0' '\\n' </proc/$$/environ", "PATH=/usr/bin:/bin\n".into()),
        ("standard input can be opened by name", "exec cat /dev/stdin", "in".into()),
    ] {
        let script = Script::new(text);
        for way in WAYS {
            let out = script.run_with(&ProcessExec::default(), way, &Call::default(), b"in").unwrap();
            assert_eq!(out, expected, "{row}, {way:?}");
        }
    }
    // SAFETY: ours, from above.
    unsafe { libc::close(leaked) };
}

#[test]
fn the_first_argument_is_the_path() {
    let cat = Script::new("tr '\\0' ' ' </proc/$$/cmdline");
    for way in WAYS {
        assert_eq!(cat.run(way, &Call::default()).unwrap(), format!("/bin/sh {} ", cat.path().display()), "{way:?}");
    }
}

#[test]
fn endings_become_libcnis_errors() {
    for (row, text, words) in [
        ("success", "echo '{}'", Ok("{}\n")),
        ("success without output", "exit 0", Ok("")),
        ("an exit status", "exit 3", Err("netplugin failed with no error message: exit status 3")),
        ("a signal", "kill -9 $$", Err("netplugin failed with no error message: signal: killed")),
        ("another", "kill -TERM $$", Err("netplugin failed with no error message: signal: terminated")),
        ("standard error", "echo oh >&2; exit 1", Err("netplugin failed: \"oh\\n\": exit status 1")),
        ("an error object", r#"echo '{"code":7,"msg":"m","details":"d"}'; exit 1"#, Err("m; d")),
    ] {
        let script = Script::new(text);
        for way in WAYS {
            let result = script.run(way, &Call::default());
            let result = result.as_ref().map(String::as_str).map_err(ToString::to_string);
            assert_eq!(result, words.map_err(str::to_owned), "{row}, {way:?}");
        }
    }
}

#[test]
fn files_that_cannot_be_executed_say_why_as_go_does() {
    for (row, bytes, mode, words) in [
        ("not executable", &b"#!/bin/sh\n"[..], 0o644, "permission denied"),
        ("no program", b"\x01\x02\x03", 0o755, "exec format error"),
        ("empty", b"", 0o755, "exec format error"),
        ("no interpreter", b"#!/nowhere/sh\n", 0o755, "no such file or directory"),
    ] {
        let script = Script::bytes(bytes, mode);
        for way in WAYS {
            let error = script.run(way, &Call::default()).unwrap_err();
            let path = script.path();
            let words = format!("netplugin failed with no error message: fork/exec {}: {words}", path.display());
            assert_eq!((error.class(), error.to_string()), (ErrorClass::Plugin, words), "{row}, {way:?}");
            assert!(error.hint().is_some());
        }
    }
    let error = ProcessExec::default()
        .exec_plugin(&Call::default(), &mut Nursery::default(), Path::new("/a\0b"), b"", &[])
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
}

#[test]
fn ten_megabytes_block_nobody() {
    let exec = ProcessExec { max_output: 32 << 20, ..ProcessExec::default() };
    let input = vec![b'x'; 10_000_000];
    for (row, text, length) in [
        ("input that nobody reads", "exit 0", 0),
        ("input that is closed at once", "exec <&-; sleep 0.05", 0),
        ("output before input", "head -c 10000000 /dev/zero; exec cat >/dev/null", 10_000_000),
        ("both at once", "exec cat", 10_000_000),
        ("standard error meanwhile", "cat; head -c 10000000 /dev/zero >&2", 10_000_000),
    ] {
        let script = Script::new(text);
        for way in WAYS {
            assert_eq!(script.run_with(&exec, way, &limited(60_000), &input).unwrap().len(), length, "{row}, {way:?}");
        }
    }
}

#[test]
fn output_is_bounded() {
    let exec = ProcessExec { max_output: 1000, ..ProcessExec::default() };
    for way in WAYS {
        let error = Script::new("exec yes").run_with(&exec, way, &Call::default(), b"").unwrap_err();
        let words = "netplugin wrote more than 1000 bytes to standard output, killed";
        assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Plugin, words), "{way:?}");
        let full = Script::new("exec head -c 1000 /dev/zero").run_with(&exec, way, &Call::default(), b"").unwrap();
        assert_eq!(full.len(), 1000, "{way:?}");
        let script = Script::new("i=0; while [ $i -lt 999 ]; do echo $i >&2; i=$((i + 1)); done; echo end >&2; exit 1");
        let words = script.run_with(&exec, way, &Call::default(), b"").unwrap_err().to_string();
        assert!(words.contains("998\\nend\\n") && !words.contains("\\n700\\n"), "{way:?}: {words}");
    }
}

#[test]
fn what_hangs_is_killed_with_its_children() {
    let hang = "sleep 600 & echo $! >$D/child; trap '' TERM; echo waits >&2; echo $$ >$D/leader; wait; exec sleep 600";
    for way in WAYS {
        for (row, grace) in [("deaf to TERM", 50), ("no grace", 0)] {
            let script = Script::new(hang);
            let start = Instant::now();
            let error = script.run_with(&impatient(grace), way, &limited(1000), b"").unwrap_err();
            let words = "netplugin timed out after 1000 ms, killed";
            assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Timeout, words), "{row}, {way:?}");
            assert_eq!(error.hint(), Some("its standard error ended in \"waits\""));
            assert!(start.elapsed() < Duration::from_secs(20));
            for name in ["child", "leader"] {
                let pid = script.file(name);
                wait_until("the end", || way != Way::Direct || !runs(&pid));
                assert!(!runs(&pid), "{row}, {way:?}, {name}");
            }
        }
    }
}

#[test]
fn a_plugin_that_heeds_term_cleans_up_and_is_not_waited_for_longer() {
    let script = Script::new("trap 'echo yes >$D/term; exit 0' TERM; sleep 600 & while :; do wait; done");
    for way in WAYS {
        let start = Instant::now();
        let error = script.run_with(&impatient(60_000), way, &limited(1000), b"").unwrap_err();
        assert_eq!(error.class(), ErrorClass::Timeout, "{way:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{way:?}");
        assert_eq!(script.file("term"), "yes", "{way:?}");
        fs::remove_file(script.dir.path().join("term")).unwrap();
    }
}

/// A shell cannot leave its group; python can.
#[test]
fn a_leader_that_left_its_group_is_not_forgotten() {
    for (row, term, grace) in [("heeds TERM", "SIG_DFL", 60_000), ("deaf to TERM", "SIG_IGN", 50)] {
        for way in WAYS {
            let text = format!(
                "#!/usr/bin/env python3\nimport os, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.{term})\n\
                 child = os.fork()\nif child == 0:\n    os.setpgid(0, 0)\n    time.sleep(20)\n    os._exit(0)\n\
                 while os.getpgid(child) != child: time.sleep(0.001)\nos.setpgid(0, child)\n\
                 open(os.path.dirname(sys.argv[0]) + '/pid', 'w').write(str(os.getpid()) + '\\n')\n\
                 time.sleep(20)\n"
            );
            let script = Script::bytes(text.as_bytes(), 0o755);
            let call = Call::default();
            let start = Instant::now();
            std::thread::scope(|scope| {
                let run = scope.spawn(|| script.run_with(&impatient(grace), way, &call, b"").unwrap_err());
                let pid = script.file("pid");
                call.cancel.cancel();
                assert_eq!(run.join().unwrap().class(), ErrorClass::Cancelled, "{row}, {way:?}");
                wait_until("the end", || way != Way::Direct || !runs(&pid));
                assert!(!runs(&pid), "{row}, {way:?}");
            });
            assert!(start.elapsed() < Duration::from_secs(10), "{row}, {way:?}");
        }
    }
}

#[test]
fn a_call_is_cancelled_from_another_thread() {
    for way in WAYS {
        let script = Script::new("echo $$ >$D/pid; exec sleep 600");
        let call = Call::default();
        let error = std::thread::scope(|scope| {
            let run = scope.spawn(|| script.run(way, &call).unwrap_err());
            let pid = script.file("pid");
            call.cancel.cancel();
            let error = run.join().unwrap();
            assert!(!runs(&pid), "{way:?}");
            error
        });
        let words = "netplugin killed: the call was cancelled";
        assert_eq!((error.class(), error.to_string().as_str()), (ErrorClass::Cancelled, words), "{way:?}");
    }
}

#[test]
fn a_call_that_is_over_starts_nothing() {
    let cancelled = Call::default();
    cancelled.cancel.cancel();
    let late = Call { deadline: Some(Instant::now()), ..Call::default() };
    let script = Script::new("echo ran >$D/ran");
    for way in WAYS {
        for (call, class) in [(&cancelled, ErrorClass::Cancelled), (&late, ErrorClass::Timeout)] {
            let error = script.run(way, call).unwrap_err();
            assert!(error.class() == class && error.never_ran(), "{error}");
        }
        assert!(!script.has("ran"));
    }
}

#[test]
fn output_held_open_by_a_grandchild_is_waited_for_briefly() {
    for (row, text) in [
        ("silent", "sleep 600 & echo $! >$D/child; echo '{}'"),
        ("chatting on standard error", "while echo x >&2; do sleep 0.02; done & echo $! >$D/child; echo '{}'"),
    ] {
        for way in WAYS {
            let script = Script::new(text);
            let start = Instant::now();
            assert_eq!(script.run(way, &Call::default()).unwrap(), "{}\n", "{row}, {way:?}");
            assert!(start.elapsed() < Duration::from_secs(5), "{row}, {way:?}");
            let pid = script.file("child");
            wait_until("the end", || way != Way::Direct || !runs(&pid));
            assert!(!runs(&pid), "{row}, {way:?}");
        }
    }
}

#[test]
fn what_a_grandchild_still_says_is_heard() {
    for way in WAYS {
        let script = Script::new("(sleep 0.03; echo late) & exit 0");
        // On a busy machine it may come too late for once.
        assert!((0..10).any(|_| script.run(way, &Call::default()).unwrap() == "late\n"), "{way:?}");
    }
}

#[test]
fn a_plugin_that_is_being_written_is_tried_again() {
    for way in WAYS {
        let script = Script::new("echo '{}'");
        let open = fs::OpenOptions::new().append(true).open(script.path()).unwrap();
        let closer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            drop(open);
        });
        assert_eq!(script.run(way, &Call::default()).unwrap(), "{}\n", "{way:?}");
        closer.join().unwrap();
        let open = fs::OpenOptions::new().append(true).open(script.path()).unwrap();
        assert_eq!(script.run(way, &limited(100)).unwrap_err().class(), ErrorClass::Timeout, "{way:?}");
        drop(open);
    }
}

#[test]
fn eight_threads_disturb_each_other_not() {
    let script = Script::new("read -r line; echo $line; exit ${line#*-}");
    for way in WAYS {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let script = &script;
                scope.spawn(move || {
                    for run in 0..50 {
                        let code = run % 3;
                        let line = format!("{thread}-{code}\n");
                        let result = script.run_with(&ProcessExec::default(), way, &limited(60_000), line.as_bytes());
                        match result {
                            Ok(out) => assert_eq!((out, code), (line, 0), "{way:?}"),
                            Err(error) => {
                                let words = error.to_string();
                                assert!(code > 0 && words.contains(&format!("\"{thread}-{code}\\n\"")), "{words}");
                            }
                        }
                    }
                });
            }
        });
    }
}

/// Takes the lines that plugins log, each in some time.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>, Duration);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "cnirt::plugin"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                let _ = std::fmt::Write::write_fmt(&mut self.0, format_args!("{}={value:?};", field.name()));
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
        std::thread::sleep(self.1);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn standard_error_is_logged_line_by_line() {
    for way in WAYS {
        let script = Script::new(r"printf 'one\r\n\ntwo\n\377three' >&2");
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            script.run(way, &Call::default()).unwrap();
            // Another thread that is the first to log may have missed this subscriber when it asked who listens.
            tracing::callsite::rebuild_interest_cache();
            lines.0.lock().unwrap().clear();
            script.run(way, &Call::default()).unwrap();
        });
        let plugin = script.path();
        let line = |text: &str| format!("message={text};plugin={};", plugin.display());
        assert_eq!(*lines.0.lock().unwrap(), [line("one"), line("two"), line("\u{fffd}three")], "{way:?}");
    }
}

#[test]
fn a_host_that_is_slow_to_log_loses_nothing_that_a_plugin_printed() {
    // Leaves somebody, so that its output may go on after its end.
    let text = "head -c 60000 /dev/zero; head -c 60000 /dev/zero | tr '\\0' x >&2; sleep 600 >&- 2>&- &";
    let lines = Lines(Arc::default(), Duration::from_millis(75));
    tracing::subscriber::with_default(lines.clone(), || {
        for way in WAYS {
            let script = Script::new(text);
            tracing::callsite::rebuild_interest_cache();
            assert_eq!(script.run(way, &Call::default()).unwrap().len(), 60_000, "{way:?}");
        }
    });
    assert_eq!(lines.0.lock().unwrap().len(), 3 * 8);
}
