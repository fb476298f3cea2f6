#!/usr/bin/env python3
"""Judges Autobahn's reports more strictly than Autobahn does.

The suite passes an endpoint that answers a violation without any Close ("close code should have
been 1002 or empty"). CONTRACT.md, section 3, demands the Close, so this demands of every case:

1. the behaviour OK, or what ALLOWED grants it by name;
2. the Close code of DUE from the endpoint under test, exactly;
3. one Close each way (wasClean) and the closing handshake begun by the right end.

Every case of the families that were run has to be there: a missing report is a failure.

    check_reports.py DIRECTORY AGENT
"""

import json
import sys
from pathlib import Path

# Which Close code the endpoint under test has to send, by case. First match wins; a number alone
# stands for all that begins with it. None: an empty Close. Derived from DESCRIPTION, EXPECTATION
# and expectedClose of the cases in autobahntestsuite 0.8.2, and narrowed to what RFC 6455 and
# CONTRACT.md section 3 leave over where the suite lets several codes pass.
DUE = [
    # Control frames over 125 bytes (RFC 6455 section 5.5).
    (["2.5"], 1002),
    # Reserved bits, reserved opcodes (section 5.2).
    (["3", "4"], 1002),
    # Fragmented Ping, Pong (section 5.5); continuation of nothing, or a new message inside
    # another (section 5.4).
    (["5.1", "5.2", *(f"5.{n}" for n in range(9, 19))], 1002),
    # Text that is not UTF-8 (section 8.1): in one piece, in fragments, in chops, ...
    (["6.3", "6.4"], 1007),
    # ... cut within a code point, ...
    (["6.6.1", "6.6.3", "6.6.4", "6.6.6", "6.6.8", "6.6.10"], 1007),
    # ... and after Kuhn's stress test: 5- and 6-byte sequences, beyond U+10FFFF, lone
    # continuations and starts, overlong forms, surrogates. (6.5, 6.7, 6.9, 6.11.1 to 6.11.4, 6.22
    # and 6.23 are valid.)
    (["6.8", "6.10", "6.11.5", *(f"6.{n}" for n in range(12, 22))], 1007),
    # A Close without a code is answered without one (CONTRACT 3.1).
    (["7.3.1"], None),
    # A payload of 1 byte; a Close over 125 bytes (CONTRACT 3.5).
    (["7.3.2", "7.3.6"], 1002),
    # A reason that is not UTF-8: the suite takes 1002 too (CONTRACT 3.5).
    (["7.5.1"], 1007),
    # Legal codes are echoed; the suite takes 1000 too (CONTRACT 3.1).
    *(
        ([f"7.7.{number}"], code)
        for number, code in enumerate(
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999], 1
        )
    ),
    # Illegal codes: 0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999 (CONTRACT 3.5).
    (["7.9"], 1002),
    # 5000 and 65535: undefined by the RFC, so the suite only informs (CONTRACT 3.5).
    (["7.13"], 1002),
    # All else: the fuzzer closes with 1000, which is echoed.
    (["1", "2", "5", "6", "7", "9", "10"], 1000),
]

# Where another behaviour than OK is right, and why.
ALLOWED = {
    # A whole message before the violation: the suite wishes for its echo first, and leaves it to
    # the endpoint whether it still sends it (RFC 6455 section 7.1.7 does not say).
    **dict.fromkeys(["3.2", "3.3", "4.1.3", "4.1.4", "4.1.5"], "NON-STRICT"),
    **dict.fromkeys(["4.2.3", "4.2.4", "4.2.5", "5.15"], "NON-STRICT"),
    # Invalid UTF-8 within one frame, sent in chops: it may be found at the frame's end. (6.4.1 and
    # 6.4.2 send it in frames, and there it has to be found at once.)
    **dict.fromkeys(["6.4.3", "6.4.4"], "NON-STRICT"),
    # What the suite never calls OK.
    **dict.fromkeys(["7.1.6", "7.13.1", "7.13.2"], "INFORMATIONAL"),
}

# The echo behind a relay comes one hop later than the answer to a violation, which is the relay's own:
# also where the suite leaves a direct server time for it.
ALLOWED_OF_RELAY = ALLOWED | {"3.4": "NON-STRICT"}

# How many cases each family has in 0.8.2.
FAMILIES = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1}


def due(case):
    """The Close code that the endpoint under test owes in this case."""
    for prefixes, code in DUE:
        if any(case == prefix or case.startswith(prefix + ".") for prefix in prefixes):
            return code
    raise KeyError(case)


def faults(case, report, allowed=ALLOWED):
    """Yields one sentence for each thing that is wrong in the report of one case."""
    behaviour, code = report["behavior"], due(case)
    if behaviour != "OK" and behaviour != allowed.get(case):
        yield f"behaviour {behaviour}: {report['result']}"
    if report["behaviorClose"] not in ("OK", allowed.get(case)):
        yield f"close behaviour {report['behaviorClose']}: {report['resultClose']}"
    if report["remoteCloseCode"] != code:
        got = f"{report['remoteCloseCode'] or 'none'} {report['remoteCloseReason'] or ''}".strip()
        yield f"Close code {code or 'none'} is due, got {got}"
    # The suite's own expectation has to agree with DUE: else the table is out of date.
    expected = report["expectedClose"]["closeCode"]
    if code is not None and code not in expected:
        yield f"the suite expects {expected}, this table {code}: they have drifted apart"
    if not report["wasClean"]:
        yield f"not clean: {report['wasNotCleanReason']}"
    if report["closedByMe"] != report["expectedClose"]["closedByMe"]:
        yield "the closing handshake was begun by the wrong end"
    # A Close frame has to have come: "no code" is also what no Close at all looks like.
    if report["rxFrameStats"].get("8", 0) != 1:
        yield f"{report['rxFrameStats'].get('8', 0)} Close frames came, 1 is due"


def judge(directory, agent):
    """Returns the faults by case, and the cases that passed with less than OK."""
    index = json.loads((Path(directory) / "index.json").read_text())[agent]
    reports = {
        case: json.loads((Path(directory) / entry["reportfile"]).read_text())
        for case, entry in index.items()
    }
    allowed = ALLOWED_OF_RELAY if agent == "relay" else ALLOWED
    found = {case: list(faults(case, report, allowed)) for case, report in reports.items()}
    for family, count in FAMILIES.items():
        present = sum(case.split(".")[0] == family for case in reports)
        if present != count:
            found[f"{family}.*"] = [f"{present} reports of {count}"]
    passed = {case: reports[case]["behavior"] for case in reports if not found[case]}
    lenient = [f"{case} {behaviour}" for case, behaviour in passed.items() if behaviour != "OK"]
    return found, sorted(lenient, key=in_order)


def in_order(case):
    return [int(n) for n in case.split()[0].split(".") if n.isdigit()]


def main(directory, agent):
    found, lenient = judge(directory, agent)
    failed = {case: reasons for case, reasons in found.items() if reasons}
    for case in sorted(failed, key=in_order):
        print(f"FAIL {agent} case {case}: {'; '.join(failed[case])}")
    if lenient:
        print(f"passed with less than OK, as allowed: {', '.join(lenient)}")
    print(f"autobahn-{agent}: {len(found) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
