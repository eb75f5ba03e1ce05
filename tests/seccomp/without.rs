//! Runs a program, and all that it starts, where some system calls are refused: `without CALL=ERROR… -- PROGRAM…`.

mod filter;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let why = run(std::env::args().skip(1));
    eprintln!("without: {why}");
    ExitCode::from(125)
}

/// Becomes the program, or says why not.
fn run(mut arguments: impl Iterator<Item = String>) -> String {
    let refusals: Vec<_> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    for refusal in &refusals {
        let applied = filter::filter(refusal)
            .and_then(|filter| seccompiler::apply_filter(&filter).map_err(|error| error.to_string()));
        if let Err(why) = applied {
            return why;
        }
    }
    match arguments.next() {
        Some(program) if !refusals.is_empty() => Command::new(program).args(arguments).exec().to_string(),
        _ => "usage: without CALL=ERROR… -- PROGRAM [ARGUMENT…]".to_owned(),
    }
}
