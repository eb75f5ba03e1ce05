//! The two sweeps, as a process of its own on a node of its own does them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use super::calls;
use super::trace::{Call, Ended, Fault, Place, Traced};
use super::watchdog::Watchdog;
use super::world::{Plugins, RECORDING, Said, Spawn, Step, World};

/// What one process sweeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sweep {
    /// The host is killed at system calls of `step`.
    Kill { plugins: Plugins, spawn: Spawn, step: Step, recovery: Step, points: Points },
    /// The calls of `step` fail.
    Fault { step: Step, part: usize },
}

/// At which points a recovery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Points {
    All,
    /// After every call that others can see the effect of, and elsewhere in turn with the other recoveries.
    Visible,
    /// At every tenth, in turn with the other recoveries.
    Tenth,
}

impl Points {
    /// Whether a kill at this place is followed by this recovery; it is the `index`th of the course, after this call.
    fn has(self, index: usize, place: Place, follows: Option<&Call>, recovery: Step) -> bool {
        let in_turn = |number: usize| Step::ALL[number % Step::ALL.len()] == recovery;
        match self {
            Self::All => true,
            // The place is the same in every process, its index is not.
            Self::Visible => in_turn(place.number()) || follows.is_some_and(calls::is_seen),
            Self::Tenth => index.is_multiple_of(10) && in_turn(index / 10),
        }
    }
}

/// Into how many processes the faults of one step are divided.
pub(crate) const PARTS: usize = 2;

/// When so many points have gone wrong, the rest is not tried.
const ENOUGH: usize = 200;

impl Sweep {
    /// Answers what was tried.
    pub(crate) fn run(self, programs: &Path) -> Result<String, String> {
        match self {
            Self::Kill { plugins, spawn, step, recovery, points } => {
                kills(&World::make(plugins, RECORDING, spawn, programs)?, step, recovery, points)
            }
            Self::Fault { step, part } => {
                // A first plugin and a last one: those between them make the same calls.
                faults(&World::make(Plugins::Recording, 2, Spawn::Nanny, programs)?, step, part)
            }
        }
    }
}

/// The calls of a step where nothing goes wrong, their places, and what the host says then; the node is clean afterwards.
struct Course {
    calls: Vec<(Place, Call)>,
    end: Place,
    said: Said,
}

impl Course {
    fn of(world: &World, step: Step) -> Result<Self, String> {
        // The first runs may find the configuration so young that it has to be read again.
        let mut last = Self::once(world, step)?;
        for _ in 0..10 {
            let next = Self::once(world, step)?;
            if next.sure() == last.sure() {
                return Ok(next);
            }
            last = next;
        }
        Err("no two runs make the same calls".to_owned())
    }

    /// The calls that every run makes.
    fn sure(&self) -> Vec<i64> {
        let sure = self.calls.iter().filter(|(_, call)| !calls::depends_on_time(call.number));
        sure.map(|(_, call)| call.number).collect()
    }

    fn once(world: &World, step: Step) -> Result<Self, String> {
        World::begin()?;
        let mut host = world.start(step.watched())?;
        let mut traced = Traced::meet(host.id())?;
        let (calls, end) = traced.calls()?;
        let said = finish(&mut traced, &mut host)?;
        world.recover(Step::TearDown)?;
        world.check()?;
        let said = said.into_iter().next_back().ok_or("the host said nothing")?;
        let words = format!("without a fault: {}: {}", said.rc, said.out);
        if said.rc == "CNI_OK" { Ok(Self { calls, end, said }) } else { Err(words) }
    }
}

/// Lets a traced host run to its end; answers what it said.
fn finish(traced: &mut Traced, host: &mut std::process::Child) -> Result<Vec<Said>, String> {
    let ended = traced.end()?;
    let mut output = String::new();
    if let Some(stdout) = &mut host.stdout {
        stdout.read_to_string(&mut output).map_err(|error| format!("the host's output: {error}"))?;
    }
    if ended == Ended::Exited(0) { Said::all(&output) } else { Err(format!("the host ended: {ended:?}\n{output}")) }
}

fn kills(world: &World, step: Step, recovery: Step, points: Points) -> Result<String, String> {
    let course = Course::of(world, step)?;
    let watchdog = Watchdog::start();
    let mut wrong = Vec::new();
    let mut kills = 0;
    // And once when the call has returned.
    let places = course.calls.iter().map(|(place, _)| *place).chain([course.end]);
    let follows = std::iter::once(None).chain(course.calls.iter().map(|(_, call)| Some(call)));
    for (index, (place, follows)) in places.zip(follows).enumerate() {
        if !points.has(index, place, follows, recovery) {
            continue;
        }
        watchdog.enter(format!("killed at {place}, then {}", recovery.word()));
        kills += 1;
        if let Err(why) = kill(world, step, recovery, place) {
            wrong.push(why);
            if wrong.len() >= ENOUGH {
                break;
            }
            // What is left must not be seen again at the next point.
            let _ = world.recover(Step::SetUp).and_then(|()| world.check());
        }
    }
    if wrong.is_empty() {
        return Ok(format!("{kills} kills at the {} points", course.calls.len() + 1));
    }
    Err(format!("{} of {kills} kills went wrong:\n{}", wrong.len(), wrong.join("\n")))
}

fn kill(world: &World, step: Step, recovery: Step, place: Place) -> Result<(), String> {
    World::begin()?;
    let host = world.start(step.watched())?;
    let mut traced = Traced::meet(host.id())?;
    let at = traced.kill_at(place)?;
    drop(host);
    world.recover(recovery).and_then(|()| world.check()).map_err(|why| match at {
        Some(call) => format!("killed at {place}, before {call}: {why}"),
        None => format!("killed at the end: {why}"),
    })
}

fn faults(world: &World, step: Step, part: usize) -> Result<String, String> {
    let course = Course::of(world, step)?;
    let watchdog = Watchdog::start();
    let mut wrong = Vec::new();
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    let mut tried = 0;
    'sweep: for (place, call) in course.calls.iter().skip(part).step_by(PARTS) {
        for kind in 0..calls::faults(call).len() {
            watchdog.enter(format!("{call} at {place}, fault {kind}"));
            let recovery = Step::ALL[tried % Step::ALL.len()];
            match fault(world, step, recovery, (*place, call, kind), &course.said) {
                Ok(None) => {}
                Ok(Some(rc)) => {
                    tried += 1;
                    *answers.entry(rc).or_default() += 1;
                }
                Err(why) => {
                    tried += 1;
                    wrong.push(why);
                    if wrong.len() >= ENOUGH {
                        break 'sweep;
                    }
                    let _ = world.recover(Step::SetUp).and_then(|()| world.check());
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(format!("{tried} faults at {} calls: {answers:?}", course.calls.len().div_ceil(PARTS)));
    }
    Err(format!("{} of {tried} faults went wrong:\n{}", wrong.len(), wrong.join("\n")))
}

/// One call goes wrong, and the same host makes good what that left. Answers the class; `None`: this time there was
/// another call at the place.
fn fault(
    world: &World,
    step: Step,
    recovery: Step,
    (place, expected, kind): (Place, &Call, usize),
    usual: &Said,
) -> Result<Option<String>, String> {
    World::begin()?;
    let steps = [step.watched(), recovery.recovery()].concat();
    let mut host = world.start(&steps)?;
    let mut traced = Traced::meet(host.id())?;
    let injected = traced
        .fault_at(place, |call| calls::faults(call).get(kind).filter(|_| call.number == expected.number).copied())?;
    let said = finish(&mut traced, &mut host);
    let Some((call, fault)) = injected else {
        return world.check().map(|()| None);
    };
    let judged = said.and_then(|said| judge(&said, world, step, &call, fault, usual)).and_then(|rc| {
        if call.removes() {
            // What could not be removed is there until somebody looks for what is old.
            world.recover(Step::Gc)?;
        }
        world.check()?;
        Ok(rc)
    });
    judged.map(Some).map_err(|why| format!("{fault} of {call} at {place}: {why}"))
}

/// Whether a host said what it may where this went wrong, holds no more than before, and can make it good.
fn judge(said: &[Said], world: &World, step: Step, call: &Call, fault: Fault, usual: &Said) -> Result<String, String> {
    let at = step.watched().len() - 1;
    let [watched, after @ ..] = said.get(at..).unwrap_or_default() else {
        return Err("the host said too little".into());
    };
    let words = || format!("{}: {}", watched.rc, watched.out);
    if !calls::allowed(call, fault).contains(&watched.rc.as_str()) {
        return Err(words());
    }
    let ok = watched.rc == "CNI_OK";
    // Where a rollback says that it is not done, that is so.
    let undone = watched.out["rollback"].get("done").is_none_or(|done| done == true);
    let claims = match (step, ok) {
        (Step::SetUp, true) => Some(world.recording),
        (Step::SetUp, false) => undone.then_some(0),
        (_, true) => Some(0),
        (_, false) => None,
    };
    if claims.is_some_and(|claims| claims != watched.claims) {
        return Err(format!("{} claims after {}", watched.claims, words()));
    }
    for (index, what) in ["descriptors", "threads", "mappings"].into_iter().enumerate() {
        // The growth counts: where a process has its memory, two mappings may or may not have become one from the start.
        let growth = (usual.after[index] - usual.before[index]).max(0);
        let (now, most) = (watched.after[index], watched.before[index] + growth);
        if now > most {
            return Err(format!("{now} {what} instead of {most} after {}", words()));
        }
    }
    for later in after {
        let exists = later.step == "setup" && later.rc == "CNI_E_EXISTS" && (ok == (step == Step::SetUp));
        if later.rc != "CNI_OK" && !exists {
            return Err(format!("after {}, {} says {}: {}", words(), later.step, later.rc, later.out));
        }
    }
    Ok(watched.rc.clone())
}
