use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::testing;

fn pod() -> ContainerId {
    ContainerId::parse("pod1").unwrap()
}

fn intent() -> Intent {
    let attachment = |network: &str, if_name: &str| Intended {
        entry: CacheEntry {
            key: Key::parse(network, "pod1", if_name).unwrap(),
            config: b"{}".to_vec(),
            netns: "/run/netns/pod1".to_owned(),
            netns_id: None,
            cni_args: Some(vec![("K8S_POD_NAME".to_owned(), "a".to_owned())]),
            capability_args: Map::new(),
            result: None,
            owner: Some("me".to_owned()),
        },
        started: None,
        refused: false,
    };
    let attachments = vec![attachment("net1", "eth0"), attachment("net2", "eth1")];
    Intent { container_id: pod(), loopback: true, owner: Some("me".to_owned()), of_earlier_boot: false, attachments }
}

fn intents() -> (TempDir, Intents) {
    let temp = tempfile::tempdir().unwrap();
    let dir = OwnDir::new(temp.path(), Durability::Full);
    (temp, Intents::new(dir))
}

fn read(intents: &Intents) -> Intent {
    match intents.read(&pod()).unwrap() {
        Recorded::Intent(intent) => intent,
        other => panic!("{other:?}"),
    }
}

fn started(intent: &Intent) -> Vec<Option<usize>> {
    intent.attachments.iter().map(|attachment| attachment.started).collect()
}

#[test]
fn an_intent_comes_back_with_how_far_the_set_up_was() {
    let (_temp, intents) = intents();
    assert!(matches!(intents.read(&pod()).unwrap(), Recorded::Nothing));
    let mut progress = intents.begin(&intent()).unwrap();
    assert_eq!(started(&read(&intents)), [None, None]);
    progress.note(0, 1, None).unwrap();
    assert_eq!(started(&read(&intents)), [Some(1), Some(0)], "nothing starts before it is noted");
    progress.note(0, 2, Some(&json!({"cniVersion": "1.0.0"}))).unwrap();
    progress.note(1, 1, None).unwrap();
    let known = read(&intents);
    assert_eq!(started(&known), [Some(2), Some(1)]);
    assert_eq!(known.attachments[0].entry.result, Some(json!({"cniVersion": "1.0.0"})));
    assert!(known.loopback && known.owner.as_deref() == Some("me"));
    let bare = Intended { started: None, ..known.attachments[1].clone() };
    assert_eq!(bare, intent().attachments[1]);
    assert_eq!(intents.all().unwrap().0.len(), 1);
    intents.remove(&pod()).unwrap();
    intents.remove(&pod()).unwrap();
    assert!(matches!(intents.read(&pod()).unwrap(), Recorded::Nothing) && intents.all().unwrap().0.is_empty());
}

#[test]
fn progress_that_has_no_room_is_refused_without_a_signal() {
    testing::isolated("store::intent::tests::progress_that_has_no_room_is_refused_without_a_signal", || {
        let (_temp, intents) = intents();
        let mut progress = intents.begin(&intent()).unwrap();
        testing::limit_file_size(4096);
        let result = json!({"x": "x".repeat(1000)});
        let refused = (0..5).map(|at| progress.note(0, at, Some(&result))).find_map(Result::err).unwrap();
        assert_eq!(refused.os_error(), Some(libc::EFBIG), "{refused}");
    });
}

#[test]
fn what_another_set_up_noted_and_lines_without_an_end_do_not_count() {
    let (temp, intents) = intents();
    let mut killed = intents.begin(&intent()).unwrap();
    killed.note(0, 2, None).unwrap();
    let mut progress = intents.begin(&intent()).unwrap();
    assert_eq!(started(&read(&intents)), [None, None]);
    progress.note(0, 1, None).unwrap();
    let path = temp.path().join("cnirt/progress/pod1");
    let mut text = std::fs::read(&path).unwrap();
    let line = text.clone();
    text.extend_from_slice(&line[..line.len() / 2]);
    std::fs::write(&path, text).unwrap();
    assert_eq!(started(&read(&intents)), [Some(1), Some(0)]);
}

#[test]
fn after_a_power_cut_nobody_knows_how_far_it_was() {
    let (temp, intents) = intents();
    intents.begin(&intent()).unwrap().note(0, 1, None).unwrap();
    let path = temp.path().join("cnirt/intents/pod1");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    value["holder"]["bootId"] = json!("another");
    std::fs::write(&path, value.to_string()).unwrap();
    let known = read(&intents);
    assert!(known.of_earlier_boot);
    assert_eq!(started(&known), [None, None]);
}

#[test]
fn what_is_left_of_an_intent_keeps_what_is_known() {
    let (_temp, intents) = intents();
    intents.begin(&intent()).unwrap().note(0, 1, None).unwrap();
    let mut left = intent();
    (left.attachments[0].started, left.attachments[0].refused) = (Some(2), true);
    intents.keep(&left).unwrap();
    let known = read(&intents);
    assert_eq!((started(&known), known.attachments[0].refused), (vec![Some(2), None], true));
}

#[test]
fn a_torn_intent_is_told_from_none_and_can_be_removed() {
    let (temp, intents) = intents();
    intents.begin(&intent()).unwrap();
    let path = temp.path().join("cnirt/intents/pod1");
    let whole = std::fs::read_to_string(&path).unwrap();
    let other = whole.replace("pod1", "pod2");
    // In the attachments alone, which come first among the sorted keys.
    let foreign = whole.replacen("\"containerId\":\"pod1\"", "\"containerId\":\"pod2\"", 1);
    for (content, words) in [
        ("", "EOF while parsing"),
        ("[]", "not a JSON object"),
        (r#"{"kind": "cniCacheV1"}"#, "not this pod's intent"),
        (other.as_str(), "not this pod's intent"),
        (r#"{"kind": "cnirtIntentV1", "containerId": "pod1"}"#, "key \"attachments\": not a list"),
        (r#"{"kind": "cnirtIntentV1", "containerId": "pod1", "attachments": [{}]}"#, "attachments[0]: without valid"),
        (foreign.as_str(), "attachments[0]: without valid names of this pod's"),
    ] {
        std::fs::write(&path, content).unwrap();
        let Recorded::Torn(error) = intents.read(&pod()).unwrap() else { panic!("{content}") };
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.class(), ErrorClass::Cache);
    }
    intents.remove(&pod()).unwrap();
    assert!(!path.exists());
}
