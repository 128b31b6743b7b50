"""A small ATH agent that does the whole walk: discover, register, authorize, token, a call,
a call outside the scopes, revoke, and a call that is refused. With --stay it keeps the token
instead of revoking it, and the next run goes on without the user."""

import argparse
import http.server
import json
import sys
import threading

from ath import Access, Client, Identity, LinkRefused, Refusal, RenewalRefused


def walk(client, options):
    found = client.discover(options.mode)
    if options.mode == "native":
        provider, api, offered = found["app_id"], found["api_base"], found["auth"]["scopes_supported"]
    else:
        provider, api = options.provider, f"{client.base}/ath/proxy/{options.provider}"
        offers = {offer["provider_id"]: offer["available_scopes"] for offer in found["supported_providers"]}
        if provider not in offers:
            raise SystemExit(f"{client.base} offers {', '.join(offers)}, not {provider}")
        offered = offers[provider]
    say(f"1. Discover: {provider} offers {' '.join(offered)}")

    try:
        reply = client.register(provider, options.scope)
        granted = next(p for p in reply["approved_providers"] if p["provider_id"] == provider)["approved_scopes"]
        say(f"2. Register: {reply['agent_status']} as {reply['client_id']} for {' '.join(granted) or 'nothing'}")
        if not granted:
            raise SystemExit("the operator has not approved any of the scopes (yet)")
    except Refusal as refusal:
        if refusal.code != "CONFLICT" or client.base not in client.identity.kept["clients"]:
            raise
        granted = options.scope
        say(f"2. Register: is registered as {client.credentials()['client_id']} already")

    more = {"approve": approve, "consent": consent} if options.more else {}
    access = Access(client, options.mode, provider, api, show=show, **more)
    if access.token:
        say("3. Authorize: the user's consent of before lasts")
    else:
        asked = client.authorize(provider, granted)
        say("3. Authorize: let the user open")
        token = client.token(asked["ath_session_id"], consent(asked["authorization_url"]))
        if token["agent_id"] != client.identity.id:
            raise SystemExit("the token is for another agent")
        access.keep(token)
        renews = ", and renewed without the user" if token.get("refresh_token") else ""
        say(f"4. Token: for {' '.join(token['effective_scopes'])}, for {token['expires_in']} s{renews}")

    method, path = options.call.split(" ", 1)
    status, body = access.call(method, path)
    say(f"5. Call: {options.call} -> {status}\n   {body.decode(errors='replace')[:500]}")
    if options.outside and options.more:
        status, _ = access.call(*options.outside.split(" ", 1))
        say(f"6. Call outside the scopes: {options.outside} -> {status}, with a token for {' '.join(access.token['scopes'])}")
    elif options.outside:
        refused(access, access.token, "6. Call outside the scopes", options.outside)
    if options.stay:
        return say(f"7. The token stays in {options.state}")
    token = access.token
    access.revoke()
    say("7. Revoke: done")
    refused(access, token, "8. Call with the revoked token", options.call)


def refused(access, token, title, call):
    method, path = call.split(" ", 1)
    try:
        status, _ = access.client.call(token["access_token"], method, access.api + path)
    except Refusal as refusal:
        say(f"{title}: {call} -> {refusal}")
        return
    raise SystemExit(f"{title}: {call} -> {status}, and should have been refused")


def show(link):
    say(f"   the provider has ended what the user allowed: let the same user open\n   {link}\n   and wait")


def approve(scopes):
    say(f"   the call wants more: {' '.join(scopes)}; let the user open")  # --more is the yes to it
    return True


def consent(link):
    say(f"   {link}\n   and paste the code that the last page shows:")
    return sys.stdin.readline().strip()


def say(text):
    print(text, flush=True)


def publish(identity, host, port):
    """Serves the identity document on this machine, for trying things out."""

    class Document(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(identity.document()).encode())

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer((host, port), Document)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description="A small ATH agent: the whole walk.")
    parser.add_argument("base", help="URL of the ATH server, such as http://127.0.0.1:8080")
    parser.add_argument("--mode", choices=["gateway", "native"], default="gateway")
    parser.add_argument("--provider", help="in gateway mode: whose API to call")
    parser.add_argument("--scope", action="append", required=True, help="may be given several times")
    parser.add_argument("--call", required=True, metavar="'GET /path'", help="a call that the scopes cover")
    parser.add_argument("--outside", metavar="'GET /path'", help="a call that they do not cover")
    parser.add_argument("--more", action="store_true", help="ask the user for the scopes that --outside lacks")
    parser.add_argument("--stay", action="store_true", help="keep the token for the next run, and do not revoke it")
    parser.add_argument("--agent-id", help="where the identity document is published; without it, this program serves it")
    parser.add_argument("--port", type=int, default=4000, help="for that, on 127.0.0.1")
    parser.add_argument("--state", default="agent-state.json", help="file for key and credentials")
    parser.add_argument("--identity", action="store_true", help="only print the identity document")
    options = parser.parse_args()
    if options.mode == "gateway" and not options.provider:
        parser.error("gateway mode wants --provider")
    identity = Identity(options.state, options.agent_id or f"http://127.0.0.1:{options.port}/agent.json")
    if options.identity:
        return say(json.dumps(identity.document(), indent=2))
    if not options.agent_id:
        publish(identity, "127.0.0.1", options.port)
    try:
        walk(Client(identity, options.base), options)
    except Refusal as refusal:
        raise SystemExit(f"refused: {refusal} {json.dumps(refusal.details) if refusal.own else ''}")
    except (RenewalRefused, LinkRefused) as error:
        raise SystemExit(f"refused: {error}")
    except OSError as error:
        raise SystemExit(f"{options.base} cannot be asked: {error}")


if __name__ == "__main__":
    main()
