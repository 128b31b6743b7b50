"""What is tried with docker-compose.yaml, and what must come of it."""

import http.client
import json
import re
import subprocess
import time
import zlib

from composetest.browser import ADDRESS, Browser
from composetest.told import Failed, must, say, step
from parts.run import SetupError, run

PROJECT = "athd-test"  # not the name in the file: nobody's own volumes are touched
HOST = "athd.localhost:8080"
RESTARTED = ["redis", "athd", "envoy", "login", "shop"]
BUILT = ["athd", "secrets", "agent"]  # one service for each image
IMAGES = {"athd:local": "athd", "athctl:local": "athctl", "athd-demo:local": "athdemo"}  # and what each runs
# What the images are built as, in place of a tag and a commit.
VERSION, REVISION = "v9.8.7-composetest", "0123456789abcdef0123456789abcdef01234567"
LABELS = {"version": VERSION, "revision": REVISION, "source": "https://github.com/athd/athd", "licenses": "Apache-2.0"}
AIM = 25  # megabytes that athd's image takes to pull
SCOPE = "products:read"


class Steps:
    def __init__(self, engine, root):
        self.engine, self.root = engine, root

    def run(self):
        try:
            self.build()
            self.images()
            self.up()
            self.walk("native", "agent")
            self.walk("gateway", "agent-gateway")
            self.refuse()
            self.grant()
            for service in RESTARTED:
                self.restart(service)
            self.everything_restarted()
            self.down_and_up()
        except BaseException:
            self.last_words()
            raise
        finally:
            with step("down, with all volumes"):
                self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "15", timeout=120)
                left = self.engine.run("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}")
                must(not left.strip(), "nothing of it is left")

    def compose(self, *args, timeout=60):
        return run([*self.engine.compose, "-p", PROJECT, *args], timeout, cwd=self.root,
                   env={**self.engine.env, "ATHD_VERSION": VERSION, "ATHD_REVISION": REVISION})

    def build(self):
        with step("build"):
            for service in BUILT:  # one after the other: an engine without BuildKit would compile for each
                self.compose("build", service, timeout=1500)
        with step("image sizes"):
            for image in IMAGES:
                size = int(self.engine.run("image", "inspect", "--format", "{{.Size}}", image))
                say(f"{image:<16} {size / 1e6:5.1f} MB on disk, {self.pulled(image) / 1e6:5.1f} MB to pull")
            must(self.pulled("athd:local") < AIM * 1e6, f"athd takes less than {AIM} MB to pull")

    def images(self):
        with step("what the images say of themselves"):
            for image, program in IMAGES.items():
                config = json.loads(self.engine.run("image", "inspect", "--format", "{{json .Config}}", image))
                check_config(program, config)
                said = self.engine.run("run", "--rm", "--network", "none", "--read-only", image, "version").splitlines()
                must(said[:2] == [f"{program} {VERSION}", f"revision {REVISION}"], f"{program} version says {VERSION}")

    def pulled(self, image):
        """The size of the image as a registry would hold it, compressed."""
        save = subprocess.Popen([*self.engine.docker, "save", image], stdout=subprocess.PIPE,
                                env=self.engine.environment())
        compressor, size = zlib.compressobj(6), 0
        while block := save.stdout.read(1 << 20):
            size += len(compressor.compress(block))
        save.stdout.close()
        if save.wait(60) != 0:
            raise SetupError(f"docker save {image} failed")
        return size + len(compressor.flush())

    def up(self):
        with step("docker compose up"):
            self.await_up()
            say(self.compose("logs", "--no-log-prefix", "ready"))
            status, body = get("/.well-known/ath.json")
            must(status == 200 and json.loads(body)["gateway_id"] == f"http://{HOST}",
                 "Envoy answers on 127.0.0.1:8080, and athd behind it")
            published = [line for line in self.engine.run("ps", "--format", "{{.Ports}}").splitlines() if "->" in line]
            must(published == ["127.0.0.1:8080->8080/tcp"], "nothing else is published")

    def await_up(self):
        self.compose("up", "-d", "--wait", "--wait-timeout", "120", timeout=180)

    def walk(self, mode, service):
        with step(f"the whole walk by athctl try run, {mode} mode"):
            text = self.compose("run", "--rm", "-T", "--no-deps", "--use-aliases", service, timeout=90)
            say("\n".join(line for line in text.splitlines() if line.startswith("  ✓") or "checks held" in line or line[:1].isdigit()))
            must("checks held" in text, "all steps went as they must")

    def refuse(self):
        with step("what must be refused"):
            status, body = get("/api/products")
            must(status == 401 and "TOKEN_INVALID" in body, "no token, no API")
            status, _ = get("/userinfo", "login.localhost:8080", {"Authorization": "Bearer ath_tk_" + "A" * 43})
            must(status in (401, 403), "the OAuth server is open to people, not to agents")

    def grant(self):
        """A token that must last: the agent's commands one by one, and the user in a browser on
        this machine, as a person would be."""
        with step("a token that must last, by single commands and a browser on this machine"):
            # The one who has the name under which athd fetches the identity document.
            self.compose("run", "-d", "--no-deps", "--use-aliases", "--name", f"{PROJECT}-identity", "agent",
                         "agent", "identity", "--serve=0.0.0.0:7777")
            self.command("register", "--provider=shop", f"--scope={SCOPE}", "--replace")
            text = self.command("authorize", "--provider=shop", f"--scope={SCOPE}", "--redirect=paste", "--no-wait", "-o=json")
            page = Browser().consent(json.loads(text)["authorization_url"], "alice", "wonderland")
            code = re.search(r"ath_code_[\w-]+", page.html)
            must(page.status == 200 and code, "the user allows it, and is shown a code")
            self.command("token", "--provider=shop", f"--code={code[0]}")
            self.engine.run("rm", "-f", f"{PROJECT}-identity")
            self.call("with the fresh token")

    def command(self, *args):
        """One command of athctl try, on the state that its runs share."""
        return self.compose("run", "--rm", "-T", "--no-deps", "agent", "agent", *args)

    def call(self, when):
        text = self.command("call", "--provider=shop", "GET", "/api/products")
        must("Coffee mug" in text, f"a call passes {when}")

    def restart(self, service):
        with step(f"restart of {service}"):
            self.compose("restart", "--timeout", "15", service, timeout=60)
            self.await_up()
            self.call(f"after the restart of {service}, with the same token")

    def everything_restarted(self):
        with step("stop and start of everything"):
            self.compose("stop", "--timeout", "15", timeout=120)
            self.await_up()
            self.call("after it, with the same token")

    def down_and_up(self):
        with step("down, which keeps the volumes, and up"):
            self.compose("down", "--timeout", "15", timeout=120)
            self.await_up()
            self.call("after it, with the same token")

    def last_words(self):
        """What the services said last, for who has to find out."""
        try:
            say(self.compose("ps", "-a"))
            say("\n".join(self.compose("logs", "--tail", "25", "--no-color").splitlines()))
        except SetupError as error:
            say(error)


def check_config(program, config):
    """How an image is set up: its labels, its user and its health check."""
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in (config.get("Labels") or {}).items()}
    must({key: labels.get(key) for key in LABELS} == LABELS and labels.get("title") == program and labels.get("description"),
         f"{program}: labels")
    must(config["User"] == "65532:65532", f"{program}: not root")
    if program == "athd":
        must((config.get("Healthcheck") or {}).get("Test") == ["CMD", "/athd", "health"], f"{program}: a health check")


def get(path, host=HOST, headers=None, patience=5):
    """One request as the machine's own programs would send it."""
    deadline = time.monotonic() + patience
    while True:
        connection = http.client.HTTPConnection(*ADDRESS, timeout=5)
        try:
            connection.request("GET", path, headers={"Host": host, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read(1 << 20).decode()
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failed(f"GET {path}: {error}") from error
            time.sleep(0.1)
        finally:
            connection.close()
