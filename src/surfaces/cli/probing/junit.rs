//! JUnit XML, which CI systems read.

use std::fmt::Write;

use crate::probe::{Report, Verdict};

/// Writes a report. A warning is a passed test with an output.
pub(super) fn write(report: &Report) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing into a String cannot fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"lastword probe {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" \
         errors=\"0\" time=\"{:.3}\" timestamp=\"{}\">",
        escape(&report.target),
        report.outcomes.len(),
        report.count(Verdict::Fail),
        report.count(Verdict::Skipped),
        report.took.as_secs_f64(),
        humantime::format_rfc3339_millis(report.started_at),
    );
    for outcome in &report.outcomes {
        let case = outcome.case;
        let (observed, consequence) =
            (escape(&outcome.observed), escape(&outcome.judgement.consequence));
        let time = outcome.measured.end_after.or(outcome.measured.close_after).unwrap_or_default();
        let _ = writeln!(
            xml,
            "  <testcase classname=\"lastword.probe\" name=\"{}\" time=\"{:.3}\">",
            case.id,
            time.as_secs_f64()
        );
        let _ = match outcome.judgement.verdict {
            Verdict::Pass => writeln!(xml, "    <system-out>{observed}</system-out>"),
            Verdict::Warn => {
                writeln!(xml, "    <system-out>warning: {observed}: {consequence}</system-out>")
            }
            Verdict::Fail => writeln!(
                xml,
                "    <failure message=\"{observed}: {consequence}\">due: {} (RFC section {})</failure>",
                escape(case.expected),
                escape(case.rfc)
            ),
            Verdict::Skipped => writeln!(xml, "    <skipped message=\"{consequence}\"/>"),
        };
        xml.push_str("  </testcase>\n");
    }
    xml.push_str("</testsuite>\n");
    xml
}

/// Escapes a text for an attribute and for text; control characters were escaped where it was observed.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_stays_inside_the_xml() {
        assert_eq!(
            escape("a<b>&\"'\u{1b}\u{ffff}ü"),
            "a&lt;b&gt;&amp;&quot;&apos;\u{fffd}\u{fffd}ü"
        );
    }
}
