"""Plays the kubelet for one pod of deploy/kubernetes/lastword.yaml, on this host.

    kubelet.py PROGRAM MANIFEST

It starts the container with the configuration of the ConfigMap, probes it as the Deployment asks, and
ends it as a pod is ended. Prints `ok`, or what is wrong, a line each.
"""

import asyncio
import http.client
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import websockets
import yaml
from websockets.asyncio.client import connect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from harness.daemon import Daemon  # noqa: E402

CLIENTS = 50


def main(program, manifest):
    documents = list(yaml.safe_load_all(Path(manifest).read_text(encoding="utf-8")))
    kinds = {document["kind"]: document for document in documents}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    configuration = kinds["ConfigMap"]["data"]["lastword.toml"]
    faults = times(pod, tomllib.loads(configuration)) + names(kinds, pod)
    with tempfile.TemporaryDirectory(prefix="lastword-pod-") as folder:
        file = Path(folder) / "lastword.toml"
        # An echo instead of an application that is not here.
        file.write_text(configuration.replace('kind = "relay", url = "ws://application:3000"', 'kind = "echo"'))
        with Daemon(program, 'health.listen="127.0.0.1:0"', configuration=file) as daemon:
            faults += asyncio.run(Pod(pod, daemon).play())
    print("\n".join(faults) or "ok")


def times(pod, configuration):
    """What does not fit together among the times."""
    drain, container = configuration["drain"], pod["containers"][0]
    delay, within = seconds(drain["delay"]), seconds(drain["within"])
    close = seconds(configuration.get("close", {}).get("timeout", "10s"))
    grace, probe, faults = pod["terminationGracePeriodSeconds"], container["readinessProbe"], []
    if grace <= delay + within + close:
        faults.append(f"a grace period of {grace} s is not longer than {delay} + {within} + {close} s")
    if delay <= probe["periodSeconds"] * probe["failureThreshold"]:
        faults.append(f"a delay of {delay} s is over before readiness has failed")
    return faults


def names(kinds, pod):
    """What refers to nothing."""
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in pod["containers"][0]["ports"]}
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    version = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    image, faults = pod["containers"][0]["image"], []
    if image != f"lastword:{version}":
        faults.append(f"the image is {image}, and the version {version}")
    for what, selector in (
        ("Deployment", kinds["Deployment"]["spec"]["selector"]["matchLabels"]),
        ("Service", kinds["Service"]["spec"]["selector"]),
        ("PodDisruptionBudget", kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]),
    ):
        if not selector.items() <= labels.items():
            faults.append(f"the {what} selects other pods: {selector}")
    if {port["targetPort"] for port in kinds["Service"]["spec"]["ports"]} - ports:
        faults.append("the Service names a port that the pod has not")
    if mounted != {volume["name"] for volume in pod["volumes"]}:
        faults.append(f"other volumes than those that are mounted: {mounted}")
    if pod["volumes"][0]["configMap"]["name"] != kinds["ConfigMap"]["metadata"]["name"]:
        faults.append("the volume names another ConfigMap")
    return faults


class Pod:
    """A started pod, and what its kubelet and its clients see."""

    def __init__(self, pod, daemon):
        container = pod["containers"][0]
        self.daemon, self.grace = daemon, pod["terminationGracePeriodSeconds"]
        self.readiness, self.liveness = container["readinessProbe"], container["livenessProbe"]
        printed = next(line for line in daemon.printed if line.startswith("health "))
        self.health, self.url = urlsplit(printed.split(" ", 1)[1]).netloc, daemon.url("/any")

    async def play(self):
        faults = []
        if (self.probe(self.readiness), self.probe(self.liveness)) != (200, 200):
            faults.append("it is not ready, or not alive, before it is to end")
        clients = await asyncio.gather(*(connect(self.url) for _ in range(CLIENTS)))

        began = time.monotonic()
        self.daemon.signal("TERM")
        # Readiness fails while new clients are still let in.
        unready = await self.until(lambda: self.probe(self.readiness) == 503)
        if unready is None:
            return [*faults, "readiness never failed"]
        patience = self.readiness["periodSeconds"] * self.readiness["failureThreshold"]
        while time.monotonic() - began < patience + 1:
            try:
                async with connect(self.url):
                    pass
            except (OSError, websockets.WebSocketException) as why:
                faults.append(f"{time.monotonic() - began:.1f} s after SIGTERM a client failed: {why}")
                break
            if self.probe(self.readiness) != 503 or self.probe(self.liveness) != 200:
                faults.append("while it drains it is to be alive, and not ready")
            if any(client.state is not websockets.State.OPEN for client in clients):
                faults.append("a client was closed during the delay")
            await asyncio.sleep(0.2)

        left = self.grace - (time.monotonic() - began)
        code = await asyncio.to_thread(self.daemon.await_exit, left)
        if code != 0:
            faults.append(f"exit code 0 is due, got {code}")
        for client in clients:
            await client.wait_closed()
        closes = {client.close_code for client in clients}
        if closes != {1012}:
            faults.append(f"1012 is due for every client, got {closes}")
        return faults

    async def until(self, holds):
        for _ in range(50):
            if holds():
                return True
            await asyncio.sleep(0.02)
        return None

    def probe(self, probe):
        """The status that an httpGet probe gets, or nothing."""
        connection = http.client.HTTPConnection(self.health, timeout=probe.get("timeoutSeconds", 1))
        try:
            connection.request("GET", probe["httpGet"]["path"])
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()


def seconds(text):
    if not text.endswith("s"):
        raise ValueError(f"{text}: this test knows seconds only")
    return float(text.removesuffix("s"))


main(*sys.argv[1:])
