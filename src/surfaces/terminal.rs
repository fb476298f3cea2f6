//! What a terminal can show, by the environment.

/// Returns whether a terminal shows colours and `NO_COLOR` does not ask for none.
pub(super) fn shows_colours(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_dumb = variable("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !is_dumb && variable("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumb_terminal_gets_no_colours() {
        let colours = |term: &'static str, no_color: &'static str| {
            shows_colours(|name| match name {
                "TERM" => Some(term.to_owned()),
                "NO_COLOR" => Some(no_color.to_owned()),
                _ => None,
            })
        };
        assert!(colours("xterm-256color", ""));
        assert!(!colours("dumb", "") && !colours("", "") && !colours("xterm", "1"));
    }
}
