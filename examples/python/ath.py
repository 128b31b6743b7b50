"""What an agent needs to speak the Agent Trust Handshake (ATH) v0.1: Identity and Client.

Copy this file; agent.py shows its use.
"""

import json
import os
import pathlib
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

TIMEOUT = 15  # seconds, of each request
LIMIT = 1 << 20  # bytes of a reply


class Refusal(Exception):
    """A reply that is not a success: what ATH servers say about it."""

    def __init__(self, status, reply):
        reply = reply if isinstance(reply, dict) else {}
        self.status, self.code = status, reply.get("code", "")
        self.message, self.details = reply.get("message", "no reason given"), reply.get("details") or {}
        super().__init__(f"{status} {self.code}: {self.message}")


class Identity:
    """Who the agent is: a URL, and the key whose public half is published there.

    The file also keeps the credentials that servers gave; all of it is secret.
    """

    def __init__(self, path, agent_id):
        self.path = pathlib.Path(path)
        self.kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        if self.kept.setdefault("agent_id", agent_id) != agent_id:
            raise SystemExit(f"{path} is of {self.kept['agent_id']}: name another file with --state")
        self.id = agent_id
        if "key" not in self.kept:
            key = ec.generate_private_key(ec.SECP256R1())
            self.kept["key"] = jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)
            self.kept["clients"] = {}
            self.save()
        self.key = jwt.algorithms.ECAlgorithm.from_jwk(self.kept["key"])

    def save(self):
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.unlink(missing_ok=True)
        with open(fresh, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(self.kept, file, indent=2)
        fresh.replace(self.path)

    def document(self):
        """What must be published at the agent's id."""
        public = {name: value for name, value in self.kept["key"].items() if name != "d"}
        return {
            "ath_version": "0.1",
            "agent_id": self.id,
            "name": "Example Agent (Python)",
            "developer": {"name": "Example Developers", "id": "example-developers"},
            "public_key": {**public, "use": "sig", "alg": "ES256", "kid": "key-1"},
        }

    def attest(self, audience):
        """Proves to one audience, once, that the key of this identity is here."""
        now = int(time.time())
        claims = {"iss": self.id, "sub": self.id, "aud": audience, "iat": now, "exp": now + 3600, "jti": str(uuid.uuid4())}
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": "key-1"})


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A secret goes to the server that it was meant for, and not to where that one points."""

    def redirect_request(self, *args):
        return None


class Client:
    """One agent at one ATH server. base is the server's URL, without a slash at its end."""

    def __init__(self, identity, base):
        self.identity, self.base = identity, base.rstrip("/")
        url = urllib.parse.urlsplit(self.base)
        if url.scheme != "https" and url.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise SystemExit("secrets are sent by https only, but to this machine")
        self.open = urllib.request.build_opener(NoRedirects).open
        self.callback = f"{self.base}/ath/callback"  # the server's own: its last page shows the code

    def send(self, method, url, body=None, headers=None):
        """Returns status and body; whatever is not 2xx is raised as Refusal."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Accept": "application/json", **(headers or {})}, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self.open(request, timeout=TIMEOUT) as reply:
                return reply.status, self.read(reply)
        except urllib.error.HTTPError as error:
            with error:
                try:
                    said = json.loads(self.read(error))
                except ValueError:
                    said = None
            raise Refusal(error.code, said) from None

    @staticmethod
    def read(reply):
        body = reply.read(LIMIT + 1)
        if len(body) > LIMIT:
            raise SystemExit(f"the reply is longer than {LIMIT} bytes")
        return body

    def ask(self, method, path, body=None):
        return json.loads(self.send(method, self.base + path, body)[1])

    def discover(self, mode):
        """Native: the one API that stands behind the server. Gateway: all providers."""
        return self.ask("GET", "/.well-known/ath-app.json" if mode == "native" else "/.well-known/ath.json")

    def register(self, provider, scopes):
        reply = self.ask("POST", "/ath/agents/register", {
            "agent_id": self.identity.id,
            "agent_attestation": self.identity.attest(self.base),
            "developer": self.identity.document()["developer"],
            "requested_providers": [{"provider_id": provider, "scopes": scopes}],
            "purpose": "To show how an agent does it",
            "redirect_uris": [self.callback],
        })
        # The secret is told once.
        self.identity.kept["clients"][self.base] = {key: reply[key] for key in ("client_id", "client_secret")}
        self.identity.save()
        return reply

    def credentials(self):
        return dict(self.identity.kept["clients"][self.base])

    def authorize(self, provider, scopes):
        return self.ask("POST", "/ath/authorize", {
            "client_id": self.credentials()["client_id"],
            "agent_attestation": self.identity.attest(self.base),
            "provider_id": provider,
            "scopes": scopes,
            "state": secrets.token_hex(16),  # an agent with a redirect of its own compares it there
            "user_redirect_uri": self.callback,
        })

    def token(self, session, code):
        return self.ask("POST", "/ath/token", {
            **self.credentials(),
            "grant_type": "authorization_code",
            "agent_attestation": self.identity.attest(f"{self.base}/ath/token"),  # not the base alone
            "code": code,
            "ath_session_id": session,
        })

    def call(self, token, method, url):
        return self.send(method, url, headers={"Authorization": f"Bearer {token}", "X-ATH-Agent-ID": self.identity.id})

    def revoke(self, token):
        return self.ask("POST", "/ath/revoke", {**self.credentials(), "token": token})
