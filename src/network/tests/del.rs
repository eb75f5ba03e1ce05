//! DEL, and what a failed ADD leaves to undo.

use super::*;

#[test]
fn del_runs_in_reverse_and_prev_result_exists_from_0_4_0_on() {
    for (version, has_prev_result) in [("0.3.1", false), ("0.4.0", true), ("1.1.0", true)] {
        let node = node(FakeExec::default());
        node.cni.add_network_list(&Call::default(), &list(version), &rt()).unwrap();
        node.ran();
        node.cni.del_network_list(&Call::default(), &list(version), &rt()).unwrap();
        let runs = node.runs();
        assert_eq!(node.ran(), "c DEL, b DEL, a DEL");
        for run in runs {
            let prev_result = &run.stdin["prevResult"];
            assert_eq!(prev_result.is_object(), has_prev_result, "{version}");
            assert!(!has_prev_result || prev_result["cniVersion"] == version, "{version}: {prev_result}");
        }
        assert!(node.cache_files().is_empty(), "{version}");
    }
}

#[test]
fn del_halts_at_an_error_and_keeps_the_entry() {
    let answers = HashMap::from([(("b", "DEL"), failing(3, "unknown container"))]);
    let node = node(FakeExec { answers, ..FakeExec::default() });
    node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
    node.ran();
    let error = node.cni.del_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"b\" failed (delete): unknown container");
    assert_eq!((node.ran().as_str(), node.cache_files().len()), ("c DEL, b DEL", 1));
}

#[test]
fn a_del_that_keeps_going_asks_every_plugin() {
    let answers = HashMap::from([(("c", "DEL"), failing(999, "stuck")), (("a", "DEL"), failing(7, "too"))]);
    let node = node(FakeExec { answers, ..FakeExec::default() });
    node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
    node.ran();
    let policy = DelPolicy { keep_going: true, ..DelPolicy::default() };
    assert_eq!(node.cni.del(&Call::default(), &list("1.0.0"), &rt(), policy).len(), 2);
    assert_eq!((node.ran().as_str(), node.cache_files().len()), ("c DEL, b DEL, a DEL", 1));
}

#[test]
fn what_is_gone_is_done_where_the_policy_says_so() {
    for (name, answer, gone) in [
        ("code 3", failing(3, "unknown container"), true),
        ("the kubelet's words", failing(999, "open /proc/1/ns/net: no such file or directory"), true),
        (
            "a plugin that could not be started",
            failing(0, "exec: no such file or directory").map_err(Error::with_never_ran),
            false,
        ),
        ("anything else", failing(999, "stuck"), false),
    ] {
        let answers = HashMap::from([(("b", "DEL"), answer)]);
        let node = node(FakeExec { answers, ..FakeExec::default() });
        node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
        node.ran();
        let policy = DelPolicy { gone_is_done: true, ..DelPolicy::default() };
        let errors = node.cni.del(&Call::default(), &list("1.0.0"), &rt(), policy);
        assert_eq!(errors.is_empty(), gone, "{name}");
        let ran = if gone { "c DEL, b DEL, a DEL" } else { "c DEL, b DEL" };
        assert_eq!((node.ran().as_str(), node.cache_files().is_empty()), (ran, gone), "{name}");
    }
}

#[test]
fn an_entry_that_cannot_be_read_does_not_stop_a_del() {
    for (name, content) in
        [("empty", ""), ("torn", "{\"kind\":\"cniCa"), ("of another version", r#"{"cniVersion":"7.0.0"}"#)]
    {
        let node = node(FakeExec::default());
        std::fs::create_dir_all(node.dir.path().join("results")).unwrap();
        std::fs::write(node.dir.path().join("results/net-c1-eth0"), content).unwrap();
        node.cni.del_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
        assert!(node.runs().iter().all(|run| run.stdin.get("prevResult").is_none()), "{name}");
        assert_eq!((node.ran().as_str(), node.cache_files().len()), ("c DEL, b DEL, a DEL", 0), "{name}");
    }
}

#[test]
fn an_entry_that_cannot_be_removed_fails_a_pods_del_and_not_libcnis() {
    let node = node(FakeExec::default());
    node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
    journal::refusing("unlink", Errno::ROFS, || {
        node.cni.del_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
        let errors = node.cni.del(&Call::default(), &list("1.0.0"), &rt(), DelPolicy::default());
        assert_eq!(errors.iter().map(Error::class).collect::<Vec<_>>(), [ErrorClass::Cache]);
    });
}

#[test]
fn a_bare_result_of_old_is_the_previous_result() {
    let node = node(FakeExec::default());
    std::fs::create_dir_all(node.dir.path().join("results")).unwrap();
    let old = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24"}}"#;
    std::fs::write(node.dir.path().join("results/net-c1-eth0"), old).unwrap();
    node.cni.del_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
    assert_eq!(node.runs()[0].stdin["prevResult"]["ips"][0]["address"], "10.0.0.2/24");
}

#[test]
fn a_failed_add_is_undone_in_reverse_past_every_error() {
    for (name, exec, words, ran, errors) in [
        (
            "the failing plugin is undone too",
            FakeExec { answers: HashMap::from([(("b", "ADD"), failing(999, "no"))]), ..FakeExec::default() },
            "plugin type=\"b\" failed (add): no",
            "a ADD, b ADD, b DEL, a DEL",
            0,
        ),
        (
            "a plugin that is missing was not started",
            FakeExec { missing: vec!["c"], ..FakeExec::default() },
            "plugin type=\"c\" failed (add): failed to find plugin \"c\" in path [/bin/cni]",
            "a ADD, b ADD, b DEL, a DEL",
            0,
        ),
        (
            "a plugin that cannot be executed was not started",
            FakeExec {
                answers: HashMap::from([(
                    ("b", "ADD"),
                    failing(0, "permission denied").map_err(Error::with_never_ran),
                )]),
                ..FakeExec::default()
            },
            "plugin type=\"b\" failed (add): permission denied",
            "a ADD, b ADD, a DEL",
            0,
        ),
        (
            "nothing left to delete is no error",
            FakeExec {
                answers: HashMap::from([(("b", "ADD"), failing(999, "no")), (("b", "DEL"), failing(3, "unknown"))]),
                ..FakeExec::default()
            },
            "plugin type=\"b\" failed (add): no",
            "a ADD, b ADD, b DEL, a DEL",
            0,
        ),
        (
            "an error does not stop the undoing",
            FakeExec {
                answers: HashMap::from([(("b", "ADD"), failing(999, "no")), (("b", "DEL"), failing(999, "stuck"))]),
                ..FakeExec::default()
            },
            "plugin type=\"b\" failed (add): no",
            "a ADD, b ADD, b DEL, a DEL",
            1,
        ),
    ] {
        let mut node = node(exec);
        node.cni.rollback = Some(Duration::from_secs(9));
        let error = node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap_err();
        assert_eq!(error.to_string(), words, "{name}");
        let prev = node.runs().last().unwrap().stdin["prevResult"]["interfaces"].clone();
        assert_eq!(node.ran(), ran, "{name}");
        let rollback = error.rollback().unwrap();
        assert_eq!((rollback.done, rollback.errors.len()), (errors == 0, errors), "{name}");
        assert!(prev.is_array(), "{name}: no prevResult");
        assert!(node.cache_files().is_empty(), "{name}");
    }
}

#[test]
fn what_was_written_of_an_entry_goes_when_a_failed_add_is_undone() {
    let node = node(FakeExec::default());
    node.cni.add_network_list(&Call::default(), &list("1.0.0"), &rt()).unwrap();
    assert_eq!(node.cache_files().len(), 1);
    let unfinished = Unfinished { started: Some(3), ..Unfinished::default() };
    assert!(node.cni.undo(&Call::default(), &list("1.0.0"), &rt(), &unfinished).is_empty());
    assert!(node.cache_files().is_empty());
}

#[test]
fn undoing_knows_who_has_nothing_to_undo() {
    let version = || failing(1, "incompatible CNI versions");
    for (row, answer, started, refused, left) in [
        ("gone", failing(3, "unknown container"), Some(3), false, 0),
        ("stuck", failing(999, "stuck"), Some(3), false, 1),
        ("not started", failing(999, "stuck"), Some(1), false, 0),
        ("perhaps started", failing(999, "stuck"), None, false, 1),
        ("not found any more", Err(Error::new(ErrorClass::PluginNotFound, "failed to find plugin")), Some(3), false, 1),
        ("refused at ADD, and does not know the version", version(), Some(2), true, 0),
        ("did not answer ADD, and does not know the version", version(), Some(2), false, 1),
        ("succeeded at ADD, and does not know the version now", version(), Some(3), true, 1),
    ] {
        let answers = HashMap::from([(("b", "DEL"), answer)]);
        let node = node(FakeExec { answers, ..FakeExec::default() });
        let unfinished = Unfinished { started, refused, last_result: None };
        let errors = node.cni.undo(&Call::default(), &list("1.0.0"), &rt(), &unfinished);
        assert_eq!(errors.len(), left, "{row}");
        let ran = ["a DEL", "b DEL, a DEL", "c DEL, b DEL, a DEL"];
        assert_eq!(node.ran(), ran[started.unwrap_or(3) - 1], "{row}");
    }
}
