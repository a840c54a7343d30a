"""Keeps a program registered with weft, with the standard library alone.

    weft_peer.keep("http://127.0.0.1:8787", service="payments", url="http://127.0.0.1:9090")
"""

import http.client
import json
import logging
import random
import secrets
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

log = logging.getLogger("weft_peer")


class _Refused(Exception):
    """An error that weft answered with."""

    def __init__(self, method, code, message):
        super().__init__(f"{method}: {code}: {message}")
        self.code = code


# What can go wrong with a call: weft refuses, it is not there, or it is not weft.
_FAILURES = (_Refused, OSError, http.client.HTTPException, ValueError)


def keep(server, *, service, url, namespace="default", instance=None, zone=None, weight=None, health=None,
         ttl=15.0, linger=0.2, retry_min=0.2, retry_max=None, timeout=3.0, stop=None):
    """Registers the program and keeps it registered until it is told to end.

    Then it has weft make no new calls, waits `linger` seconds for those on their
    way to arrive, takes the registration back and returns: the program may end
    when the calls in progress have. Whatever weft does meanwhile (it is away, it
    restarts, it has forgotten the lease) keep goes on trying.

    `stop`, a threading.Event, ends it. Without one SIGTERM and SIGINT do, and
    keep must be called by the main thread. `url` is where weft reaches this
    program; two programs must not share an `instance`, by default service, host
    name and chance. `health` is what weft asks every 5 seconds: a path such as
    /healthz, grpc or grpc:SERVICE. weft forgets the instance `ttl` seconds after
    its last heartbeat. While it is away the next try comes after `retry_min`
    seconds, doubled up to `retry_max`, by default a third of `ttl`.
    """
    before = {}
    if stop is None:
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            before[name] = signal.signal(name, lambda *_: stop.set())
    lease = _Lease(server.rstrip("/"), timeout, retry_min, retry_max or ttl / 3, {
        "namespace": namespace, "service": service,
        "instance": instance or f"{service}-{socket.gethostname()}-{secrets.token_hex(4)}"})
    registration = {"url": url, "zone": zone, "weight": weight, "health": health, "ttl": f"{ttl:.3f}s"}
    try:
        while not stop.wait(lease.beat(registration, ttl)):
            pass
        lease.leave(linger)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


class _Lease:
    def __init__(self, server, timeout, retry_min, retry_max, name):
        self.server, self.timeout, self.name = server, timeout, name
        self.retry_min, self.retry_max = retry_min, retry_max
        self.epoch = None  # while there is no lease
        self.interval = 0.0
        self.failures = 0

    def beat(self, registration, ttl):
        """Registers or sends a heartbeat, whichever is due, and returns how long to wait for the next."""
        try:
            if self.epoch:
                self._call("Heartbeat")
            else:
                self._register(registration, ttl)
        except _FAILURES as error:
            self.failures += 1
            wait = self._backoff()
            if self.epoch and getattr(error, "code", None) in ("not_found", "failed_precondition", "aborted"):
                self.epoch, wait = None, 0  # weft no longer knows the lease, or gave it to another
            log.warning("the lease of %s was not renewed: %s; next try in %.1f s", self.name["service"], error, wait)
            return wait
        self.failures = 0
        return self.interval * random.uniform(0.9, 1)  # many that began together do not stay together

    def leave(self, linger):
        """Ends the calls that come, and takes the registration back, if there is one."""
        if not self.epoch:
            return
        try:
            self._call("Drain")
            time.sleep(linger)
            self._call("Deregister")
        except _FAILURES as error:
            log.warning("the lease of %s was not given back, and ends by itself: %s", self.name["service"], error)
            return
        log.info("deregistered %s", self.name["service"])

    def _register(self, registration, ttl):
        answer = self._call("Register", **registration)
        if not answer.get("epoch"):
            raise ValueError("weft answered Register without an epoch")
        interval = float(answer.get("heartbeatInterval", "0s").removesuffix("s"))
        self.interval = interval if 0 < interval < ttl else ttl / 3
        self.epoch = answer["epoch"]  # a text: it has 64 bits
        log.info("registered %s at %s with epoch %s", self.name["service"], registration["url"], self.epoch)

    def _backoff(self):
        """Is the wait after so many failures in a row, with full jitter over its upper half."""
        wait = min(self.retry_min * 2 ** min(self.failures - 1, 16), self.retry_max)
        return random.uniform(wait / 2, wait)

    def _call(self, method, **fields):
        """Makes one unary Connect call in JSON."""
        body = json.dumps({k: v for k, v in {**self.name, "epoch": self.epoch, **fields}.items() if v is not None})
        request = urllib.request.Request(f"{self.server}/weft.v1.RegistryService/{method}", body.encode(),
                                         {"Content-Type": "application/json", "Connect-Protocol-Version": "1"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise _refused(method, error) from None


def _refused(method, error):
    with error:
        try:
            answer = json.load(error)
            return _Refused(method, answer["code"], answer.get("message", ""))
        except (ValueError, KeyError, TypeError):  # not weft's
            return _Refused(method, "unknown", error.reason)
