"""The whole walk by the ATH project's own Python SDK, unchanged: it decides what is sent."""

import argparse
import http.server
import json
import sys
import threading

from ath import ATHError, ATHGatewayClient, ATHNativeClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


def main():
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("--mode", choices=["gateway", "native"], required=True)
    options.add_argument("--provider")
    options.add_argument("--scope", required=True)
    options.add_argument("--call", required=True)
    options.add_argument("--outside", required=True)
    options = options.parse_args()

    key = ec.generate_private_key(ec.SECP256R1())
    agent_id = publish(key.public_key())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    client = (ATHGatewayClient if options.mode == "gateway" else ATHNativeClient)(options.url, agent_id, pem)
    with client:
        walk(client, options)


def walk(client, options):
    found = client.discover()
    if options.mode == "gateway":
        provider = options.provider
        call = lambda line: client.proxy(provider, *line.split(" ", 1))  # noqa: E731
        offered = next(p for p in found.supported_providers if p.provider_id == provider).available_scopes
    else:
        provider, offered = found.app_id, found.auth.scopes_supported
        call = lambda line: client.api(*line.split(" ", 1))  # noqa: E731
    say(f"1. discover: {provider} offers {' '.join(offered)}")

    reply = client.register(
        developer={"name": "The SDK", "id": "dev-sdk"}, purpose="The whole walk",
        providers=[{"provider_id": provider, "scopes": [options.scope]}])
    say(f"2. register: {reply.agent_status.value} for {' '.join(reply.approved_providers[0].approved_scopes)}")
    asked = client.authorize(provider, [options.scope])
    say("3. authorize: open", asked.authorization_url, "and paste the code")
    token = client.exchange_token(sys.stdin.readline().strip(), asked.ath_session_id)
    say(f"4. token: for {' '.join(token.effective_scopes)}")
    say(f"5. call: {json.dumps(call(options.call))}")
    say("6. outside: " + refused(call, options.outside))
    revoked = client.access_token
    client.revoke()
    client.set_token(revoked)
    say("7. revoked: " + refused(call, options.call))


def refused(call, line):
    try:
        call(line)
    except ATHError as error:
        return f"{error.status} {error.code}"
    return "it passed"


def publish(key):
    """Serves the identity document and returns its URL."""
    numbers = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    document = {}

    class Document(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Document)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    document.update({
        "ath_version": "0.1", "agent_id": f"http://127.0.0.1:{server.server_port}/agent.json", "name": "The SDK's agent",
        "developer": {"name": "The SDK", "id": "dev-sdk"}, "public_key": numbers.decode()})
    return document["agent_id"]


def say(*lines):
    print(*lines, sep="\n", flush=True)


main()
