"""What an agent needs to speak the Agent Trust Handshake (ATH) v0.1: Identity, Client and Access.

Copy this file; agent.py shows its use.
"""

import json
import os
import pathlib
import secrets
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

TIMEOUT = 15  # seconds, of each request
LIMIT = 1 << 20  # bytes of a reply
AHEAD = 30  # seconds before its end in which a token is renewed
PATIENCE = 600  # seconds for the user to open a link


class Refusal(Exception):
    """A reply that is not a success: what ATH servers say about it.

    own says that it is the server's: an API cannot send X-ATH-Decision-ID through the
    server, so that without it nothing that a reply says is to be followed.
    """

    def __init__(self, status, headers, body):
        try:
            reply = json.loads(body)
        except ValueError:
            reply = None
        reply = reply if isinstance(reply, dict) else {}
        self.status, self.headers, self.body, self.code = status, headers, body, reply.get("code", "")
        details = reply.get("details")
        self.message, self.details = reply.get("message", "no reason given"), details if isinstance(details, dict) else {}
        decision = self.details.get("decision_id")
        self.own = bool(decision) and headers.get_all("X-ATH-Decision-ID") == [decision]
        super().__init__(f"{status} {self.code}: {self.message}")


class RenewalRefused(Exception):
    """A token cannot be renewed any more: authorize again."""


class LinkRefused(Exception):
    """A refusal has a link that does not lead to where the server asks its users: do not open it."""


class Identity:
    """Who the agent is: a URL, and the key whose public half is published there.

    The file also keeps the credentials that servers gave; all of it is secret.
    """

    def __init__(self, path, agent_id):
        self.path, self.saving = pathlib.Path(path), threading.Lock()
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
        with self.saving:  # threads share the new file
            fresh = self.path.with_name(self.path.name + ".new")
            fresh.unlink(missing_ok=True)
            with open(fresh, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(json.dumps(self.kept))  # at once: other threads add to it
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
                raise Refusal(error.code, error.headers, self.read(error)) from None

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

    def renew(self, refresh_token):
        """Another token, without the user. refresh_token stays good; several processes may share it."""
        try:
            reply = self.ask("POST", "/ath/token", {
                **self.credentials(),
                "grant_type": "refresh_token",
                "agent_attestation": self.identity.attest(f"{self.base}/ath/token"),  # a fresh one each time
                "refresh_token": refresh_token,
            })
        except Refusal as refusal:
            if refusal.code in ("TOKEN_INVALID", "TOKEN_REVOKED", "TOKEN_EXPIRED"):
                raise RenewalRefused(f"authorize again: {refusal}") from refusal
            raise
        return {"refresh_token": refresh_token, **reply}

    def call(self, token, method, url):
        """What the API answers, whatever it is; only the server's own refusal is raised."""
        try:
            return self.send(method, url, headers={"Authorization": f"Bearer {token}", "X-ATH-Agent-ID": self.identity.id})
        except Refusal as refusal:
            if refusal.own:
                raise
            return refusal.status, refusal.body

    def consent_origin(self, mode):
        """Where the server asks its users, as discovery says, and not the reply to a call."""
        found = self.discover(mode)
        named = found.get("consent_origin") or (found["auth"].get("registration_endpoint") or self.base if mode == "native" else found["gateway_id"])
        url = urllib.parse.urlsplit(named)
        return f"{url.scheme}://{url.netloc}"

    def revoke(self, token):
        return self.ask("POST", "/ath/revoke", {**self.credentials(), "token": token})


class Access:
    """Calls as the agent for as long as the user's consent lasts; the file of its identity keeps the token.

    It renews the token by itself. What a person must do, it asks for by
      show(link)       a link that the same user opens, when the provider has ended the user's grant
      approve(scopes)  whether the user may be asked for these, which the server says a call lacks
      consent(link)    takes the user there, and returns the code that the last page shows
    and where one is None, it does not. Threads may share it.
    """

    def __init__(self, client, mode, provider, api, show=None, approve=None, consent=None):
        self.client, self.mode, self.provider, self.api = client, mode, provider, api
        self.show, self.approve, self.consent = show, approve, consent
        self.tokens = client.identity.kept.setdefault("tokens", {}).setdefault(client.base, {})
        self.renewing, self.asking = threading.Lock(), threading.Lock()
        self.failed = None  # why the last renewal was none

    @property
    def token(self):
        """The token in use; None before the first one, and when it was given back."""
        return self.tokens.get(self.provider)

    def keep(self, reply):
        self.tokens[self.provider] = {
            "access_token": reply["access_token"], "scopes": reply["effective_scopes"],
            "expires": time.time() + reply["expires_in"], "refresh_token": reply.get("refresh_token"),
        }
        self.client.identity.save()

    def renew(self, old):
        before = self.failed
        with self.renewing:
            if self.token is not old:
                return  # another thread has done it
            if self.failed is not before:
                raise self.failed  # another thread has tried it meanwhile
            try:
                self.keep(self.client.renew(old["refresh_token"]))
            except (Refusal, RenewalRefused, OSError) as error:
                self.failed = error
                raise

    def renew_ahead(self, token):
        """Renews what is about to end; while it is good, it is used where that fails for the moment."""
        try:
            self.renew(token)
        except (Refusal, OSError):
            if time.time() >= token["expires"]:
                raise
        return self.token

    def revoke(self, token=None):
        """Gives a token back, with its renewal; without one, the token in use."""
        held = token or self.token
        for secret in filter(None, (held["refresh_token"], held["access_token"])):
            self.client.revoke(secret)
        if token is None:
            del self.tokens[self.provider]
            self.client.identity.save()

    def call(self, method, path):
        renewed = asked = False
        until, pause = None, 1
        while True:
            token = self.token
            try:
                if token["refresh_token"] and time.time() > token["expires"] - AHEAD and not renewed:
                    renewed = True
                    token = self.renew_ahead(token)
                return self.client.call(token["access_token"], method, self.api + path)
            except (Refusal, RenewalRefused) as error:
                refusal = error.__cause__ if isinstance(error, RenewalRefused) else error
                if not refusal.own:
                    raise
                reason, link = refusal.details.get("reason"), refusal.details.get("authorization_url")
                if reason == "reauthorization_required" and link and self.show:
                    if until is None:
                        self.show(self.checked(link))
                        until = time.time() + PATIENCE
                    elif time.time() > until:
                        raise
                    time.sleep(pause)
                    pause, renewed = min(pause * 1.5, 15), False
                elif error is refusal and refusal.code == "TOKEN_EXPIRED" and token["refresh_token"] and not renewed:
                    renewed = True
                    self.renew(token)
                elif error is refusal and refusal.code == "SCOPE_NOT_APPROVED" and self.approve and not asked:
                    asked = True
                    if not self.ask_for(self.lacking(refusal, token)):
                        raise
                else:
                    raise

    def checked(self, link):
        """The link, if it leads to the consent origin that discovery names."""
        origin = self.client.consent_origin(self.mode)
        if not (isinstance(link, str) and link.startswith(origin + "/") and link.isascii() and link.isprintable() and not set(link) & set(' "<>\\^`{|}')):
            raise LinkRefused(f"the refusal has a link that does not lead to {origin}: it is not opened")
        return link

    def lacking(self, refusal, token):
        """The scopes that a call lacks, if it is this provider's."""
        step = refusal.details.get("next")
        if not isinstance(step, dict) or step.get("step") != "authorize" or step.get("provider_id") != self.provider:
            return []
        scopes = step.get("scopes")
        if not isinstance(scopes, list) or not all(isinstance(s, str) and s.isascii() and s.isprintable() and " " not in s for s in scopes):
            return []
        return [scope for scope in scopes if scope not in token["scopes"]]

    def ask_for(self, scopes):
        """Asks for more scopes; what comes of it is a new token, and the old one is given back."""
        with self.asking:
            old = self.token
            if all(scope in old["scopes"] for scope in scopes):
                return bool(scopes)  # another thread has asked for them
            if not self.approve(scopes):
                return False
            try:  # for what the operator has not approved the agent for; a new secret comes of it
                self.client.register(self.provider, scopes)
            except Refusal as refusal:
                if refusal.code != "CONFLICT":  # there is nothing new to ask the operator for
                    raise
            asked = self.client.authorize(self.provider, old["scopes"] + scopes)
            self.keep(self.client.token(asked["ath_session_id"], self.consent(asked["authorization_url"])))
            self.revoke(old)
            return True
