"""Shows that the checker accepts what is due and catches what Autobahn lets pass."""

import json
import tempfile
import unittest
from pathlib import Path

import check_reports

# The number of subcases; a family that ends here is listed with how many it has.
CASES = {
    "1": {"1": 8, "2": 8},
    "2": 11,
    "3": 7,
    "4": {"1": 5, "2": 5},
    "5": 20,
    "6": dict(
        zip(
            map(str, range(1, 24)),
            [3, 4, 2, 4, 5, 11, 4, 2, 4, 3, 5, 8, 5, 10, 1, 3, 5, 5, 5, 7, 8, 34, 7],
        )
    ),
    "7": {"1": 6, "3": 6, "5": 1, "7": 13, "9": 9, "13": 2},
    "9": dict(zip(map(str, range(1, 9)), [6, 6, 9, 9, 6, 6, 6, 6])),
    "10": {"1": 1},
}


def names(tree, prefix=""):
    if isinstance(tree, int):
        yield from (f"{prefix}{n}" for n in range(1, tree + 1))
    else:
        for key, below in tree.items():
            yield from names(below, f"{prefix}{key}.")


def report(case):
    """What Autobahn writes of an endpoint that does all that is due."""
    code = check_reports.due(case)
    begun_by_the_fuzzer = case.startswith("7.") or code in (None, 1000)
    return {
        "behavior": "OK",
        "behaviorClose": "OK",
        "result": "",
        "resultClose": "",
        "remoteCloseCode": code,
        "remoteCloseReason": None,
        "wasClean": True,
        "wasNotCleanReason": None,
        "closedByMe": begun_by_the_fuzzer,
        "expectedClose": {"closedByMe": begun_by_the_fuzzer, "closeCode": [1000, code]},
        "rxFrameStats": {"8": 1},
    }


class CheckReports(unittest.TestCase):
    def judge(self, **doctored):
        """Judges reports that are right but for those given: case with _ for dots."""
        doctored = {case.strip("_").replace("_", "."): d for case, d in doctored.items()}
        with tempfile.TemporaryDirectory() as directory:
            index = {}
            for case in names(CASES):
                changes = doctored.get(case, {})
                if changes is None:
                    continue
                index[case] = {"reportfile": f"{case}.json"}
                Path(directory, f"{case}.json").write_text(json.dumps(report(case) | changes))
            Path(directory, "index.json").write_text(json.dumps({"agent": index}))
            found, lenient = check_reports.judge(directory, "agent")
        self.assertGreaterEqual(len(found), 300)
        return {case: faults for case, faults in found.items() if faults}, lenient

    def assert_caught(self, case, fault, **changes):
        found, _ = self.judge(**{f"_{case.replace('.', '_')}": changes})
        self.assertEqual(list(found), [case])
        self.assertIn(fault, " ".join(found[case]))

    def test_all_that_is_due_passes(self):
        self.assertEqual(self.judge(), ({}, []))

    def test_a_violation_without_a_close_is_caught(self):
        # Autobahn itself says OK, OK here.
        silent = {"remoteCloseCode": None, "rxFrameStats": {}}
        self.assert_caught("3.1", "Close code 1002 is due, got none", **silent)
        self.assert_caught("6.3.1", "Close code 1007 is due, got none", **silent)
        self.assert_caught("6.21.8", "Close code 1007 is due, got none", **silent)

    def test_no_close_at_all_is_told_from_an_empty_one(self):
        self.assert_caught("7.3.1", "0 Close frames came", rxFrameStats={})

    def test_another_code_is_caught_where_autobahn_takes_several(self):
        self.assert_caught("7.5.1", "1007 is due, got 1002", remoteCloseCode=1002)
        self.assert_caught("7.7.10", "3000 is due, got 1000", remoteCloseCode=1000)
        self.assert_caught("7.13.1", "1002 is due, got 1000", remoteCloseCode=1000)

    def test_an_unclean_end_is_caught(self):
        self.assert_caught("1.1.1", "not clean: dropped", wasClean=False, wasNotCleanReason="dropped")

    def test_the_wrong_end_is_caught(self):
        self.assert_caught("5.18", "begun by the wrong end", closedByMe=True)

    def test_a_failed_case_is_caught(self):
        self.assert_caught("2.10", "behaviour FAILED", behavior="FAILED")
        self.assert_caught("9.1.1", "close behaviour UNCLEAN", behaviorClose="UNCLEAN")

    def test_non_strict_passes_only_where_it_is_granted(self):
        self.assert_caught("6.4.1", "behaviour NON-STRICT", behavior="NON-STRICT")
        found, lenient = self.judge(_6_4_3={"behavior": "NON-STRICT"})
        self.assertEqual((found, lenient), ({}, ["6.4.3 NON-STRICT"]))

    def test_a_missing_report_is_caught(self):
        found, _ = self.judge(_4_1_2=None)
        self.assertEqual(found, {"4.*": ["9 reports of 10"]})


if __name__ == "__main__":
    unittest.main()
