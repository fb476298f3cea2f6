//! The client commands as people and scripts have them: the built program against an API that says
//! what a test wants, and against the daemon itself.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

/// One file per question.
mod cli {
    mod changing;
    mod daemon;
    mod documents;
    mod draining;
    mod explaining;
    mod fake;
    mod following;
    mod naming;
    mod reaching;
    mod records;
    mod revoking;
    mod showing;
    mod top;

    /// The program under test.
    const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");

    /// Makes the command that runs the program with these arguments, untouched by whatever the
    /// environment of the tests holds.
    fn lastword(arguments: &[&str]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("LASTWORD")) {
                command.env_remove(name);
            }
        }
        command.args(arguments).timeout(std::time::Duration::from_secs(20));
        command
    }

    /// What a command came to.
    #[derive(Debug)]
    struct Ran {
        code: Option<i32>,
        stdout: String,
        stderr: String,
    }

    fn ran(mut command: assert_cmd::Command) -> Ran {
        let output = command.output().expect("run lastword");
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}
