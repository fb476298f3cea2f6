"""What an ending has to say."""

import json


def clean(code, reason, **more):
    """The ending after the peer's Close was answered with the same."""
    frame = {"code": None if code == 1005 else code, "reason": reason}
    return {
        "kind": "clean",
        "fault": "none",
        "cause": "peer",
        "first_close": "peer",
        "state": "closed",
        "close_received": frame,
        "close_sent": frame,
        "close_code": code,
        "transport_end": "fin",
    } | more


def differences(ending, due):
    """What is wrong with an ending: everything that is not as it is due."""
    return [
        f"ending: {key} {json.dumps(value, ensure_ascii=False)} is due, "
        f"got {json.dumps(ending.get(key, 'nothing'), ensure_ascii=False)}"
        for key, value in due.items()
        if key not in ending or ending[key] != value
    ]
