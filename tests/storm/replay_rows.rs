//! The replay sees what it is there for: short histories, and what is wrong with them.

use libtest_mimic::{Failed, Trial};

use crate::history::{Begun, Ended, Event, Kind, Replay};

/// By a call's number and pod, or a process: call `n` is of process `n / 10`.
enum Short {
    Begins(u64, Kind, u32),
    Gives(u64, &'static str, &'static str),
    Ends(u64, &'static str),
    Dies(usize),
}
use Short::{Begins, Dies, Ends, Gives};

fn event(short: &Short) -> Event {
    let call = |number: u64| (usize::try_from(number / 10).unwrap_or_default(), 0, number);
    let ended = |number: u64, class: &str, given: Option<[String; 2]>| {
        Event::Ended(Ended { call: call(number), class: class.to_owned(), ms: 1, given, error: None })
    };
    match short {
        Begins(number, kind, pod) => {
            Event::Begun(Begun { call: call(*number), kind: *kind, pods: vec![*pod], disturbed: false, limit_ms: 1 })
        }
        Gives(number, address, link) => ended(*number, "CNI_OK", Some([(*address).to_owned(), (*link).to_owned()])),
        Ends(number, class) => ended(*number, class, None),
        Dies(process) => Event::Killed(*process, 0),
    }
}

const OK: &str = "CNI_OK";

pub(crate) fn trials() -> Vec<Trial> {
    let rows: [(&str, &[Short], usize, &str); 10] = [
        (
            "two pods with two addresses are fine",
            &[Begins(10, Kind::SetUp, 1), Begins(20, Kind::SetUp, 2), Gives(10, "a", "v"), Gives(20, "b", "w")],
            2,
            "",
        ),
        (
            "an address is given twice",
            &[Begins(10, Kind::SetUp, 1), Gives(10, "a", "v"), Begins(20, Kind::SetUp, 2), Gives(20, "a", "w")],
            2,
            "a is pod 1's",
        ),
        (
            "a link is given twice",
            &[Begins(10, Kind::SetUp, 1), Gives(10, "a", "v"), Begins(20, Kind::SetUp, 2), Gives(20, "b", "v")],
            2,
            "v is pod 1's",
        ),
        (
            "a pod is set up twice",
            &[Begins(10, Kind::SetUp, 1), Gives(10, "a", "v"), Begins(20, Kind::SetUp, 1), Gives(20, "a", "v")],
            1,
            "a is pod 1's",
        ),
        (
            "an address is free when its teardown begins",
            &[
                Begins(10, Kind::SetUp, 1),
                Gives(10, "a", "v"),
                Begins(11, Kind::TearDown, 1),
                Begins(20, Kind::SetUp, 2),
                Gives(20, "a", "v"),
            ],
            1,
            "",
        ),
        (
            "a set-up beside a teardown proves nothing",
            &[
                Begins(10, Kind::SetUp, 1),
                Begins(20, Kind::TearDown, 1),
                Ends(20, OK),
                Gives(10, "a", "v"),
                Begins(20, Kind::SetUp, 2),
                Gives(20, "a", "v"),
            ],
            1,
            "",
        ),
        (
            "what a killed process was at is over",
            &[
                Begins(10, Kind::TearDown, 1),
                Dies(1),
                Begins(20, Kind::SetUp, 1),
                Gives(20, "a", "v"),
                Begins(30, Kind::SetUp, 2),
                Gives(30, "a", "w"),
            ],
            2,
            "a is pod 1's",
        ),
        (
            "an undisturbed teardown must not fail",
            &[Begins(10, Kind::TearDown, 1), Ends(10, "CNI_E_PLUGIN")],
            0,
            "may not end",
        ),
        (
            "a live pod is found in order",
            &[Begins(10, Kind::SetUp, 1), Gives(10, "a", "v"), Begins(11, Kind::Check, 1), Ends(11, "CNI_E_PLUGIN")],
            1,
            "may not end",
        ),
        (
            "a replacement ends what was before",
            &[
                Begins(10, Kind::SetUp, 1),
                Gives(10, "a", "v"),
                Begins(20, Kind::Replace, 1),
                Gives(20, "b", "w"),
                Begins(30, Kind::SetUp, 2),
                Gives(30, "b", "x"),
            ],
            2,
            "b is pod 1's",
        ),
    ];
    let trial = |(name, shorts, live, wrong): (&str, &[Short], usize, &'static str)| {
        let events: Vec<_> = shorts.iter().map(event).collect();
        Trial::test(format!("replay: {name}"), move || judge(&events, live, wrong))
    };
    rows.into_iter().map(trial).collect()
}

fn judge(events: &[Event], live: usize, wrong: &str) -> Result<(), Failed> {
    let replay = Replay::of(events);
    let found =
        if wrong.is_empty() { replay.wrong.is_empty() } else { replay.wrong.iter().any(|found| found.contains(wrong)) };
    if found && replay.live().len() == live {
        return Ok(());
    }
    Err(format!("{:?}, {} live", replay.wrong, replay.live().len()).into())
}
