// A small ATH agent that does the whole walk: discover, register, authorize, token, a call,
// a call outside the scopes, revoke, and a call that is refused. With --stay it keeps the token
// instead of revoking it, and the next run goes on without the user.

import { createServer } from "node:http";
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { Access, Client, Identity, LinkRefused, Refusal, RenewalRefused } from "./ath.ts";

interface Options {
  native: boolean; provider: string; scopes: string[]; call: string; outside: string | undefined;
  more: boolean; stay: boolean; state: string;
}

async function walk(client: Client, options: Options): Promise<void> {
  let { provider } = options, api = `${client.base}/ath/proxy/${provider}`, offered: string[];
  if (options.native) {
    const app = await client.discoverApp();
    provider = app.app_id, api = app.api_base, offered = app.auth.scopes_supported;
  } else {
    const offers = (await client.discoverGateway()).supported_providers;
    const offer = offers.find((o) => o.provider_id === provider);
    if (!offer) throw new Error(`${client.base} offers ${offers.map((o) => o.provider_id).join(", ")}, not ${provider}`);
    offered = offer.available_scopes;
  }
  console.log(`1. Discover: ${provider} offers ${offered.join(" ")}`);

  let granted = options.scopes;
  try {
    const reply = await client.register(provider, options.scopes);
    granted = reply.approved_providers.find((p) => p.provider_id === provider)?.approved_scopes ?? [];
    console.log(`2. Register: ${reply.agent_status} as ${reply.client_id} for ${granted.join(" ") || "nothing"}`);
    if (granted.length === 0) throw new Error("the operator has not approved any of the scopes (yet)");
  } catch (error) {
    if (!(error instanceof Refusal && error.code === "CONFLICT" && client.identity.kept.clients[client.base])) throw error;
    console.log(`2. Register: is registered as ${client.credentials().client_id} already`);
  }

  const show = (link: string) =>
    console.log(`   the provider has ended what the user allowed: let the same user open\n   ${link}\n   and wait`);
  const approve = (more: string[]) => {
    console.log(`   the call wants more: ${more.join(" ")}; let the user open`);
    return true; // --more is the yes to it
  };
  const access = new Access(client, options.native, provider, api, { show, more: options.more ? { approve, consent } : undefined });
  if (access.token) {
    console.log("3. Authorize: the user's consent of before lasts");
  } else {
    const asked = await client.authorize(provider, granted);
    console.log("3. Authorize: let the user open");
    const token = await client.token(asked.ath_session_id, await consent(asked.authorization_url));
    if (token.agent_id !== client.identity.id) throw new Error("the token is for another agent");
    access.keep(token);
    const renews = token.refresh_token ? ", and renewed without the user" : "";
    console.log(`4. Token: for ${token.effective_scopes.join(" ")}, for ${token.expires_in} s${renews}`);
  }

  const call = (line: string) => {
    const [method = "", path = ""] = line.split(" ", 2);
    return access.call(method, path);
  };
  const refused = async (title: string, token: string, line: string) => {
    const [method = "", path = ""] = line.split(" ", 2);
    let status: number;
    try { ({ status } = await client.call(token, method, api + path)); } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return console.log(`${title}: ${line} -> ${error.message}`);
    }
    throw new Error(`${title}: ${line} -> ${status}, and should have been refused`);
  };
  const inUse = () => access.token?.access_token ?? "";
  const { status, body } = await call(options.call);
  console.log(`5. Call: ${options.call} -> ${status}\n   ${body.slice(0, 500)}`);
  if (options.outside && options.more) {
    const { status } = await call(options.outside);
    console.log(`6. Call outside the scopes: ${options.outside} -> ${status}, with a token for ${access.token?.scopes.join(" ")}`);
  } else if (options.outside) await refused("6. Call outside the scopes", inUse(), options.outside);
  if (options.stay) return console.log(`7. The token stays in ${options.state}`);
  const token = inUse();
  await access.revoke();
  console.log("7. Revoke: done");
  await refused("8. Call with the revoked token", token, options.call);
}

async function consent(link: string): Promise<string> {
  console.log(`   ${link}\n   and paste the code that the last page shows:`);
  const terminal = createInterface({ input: process.stdin });
  const code = await terminal.question("");
  terminal.close();
  return code.trim();
}

const USAGE = `usage: agent.ts URL --scope SCOPE... --call 'GET /path' [--outside 'GET /path']
  --mode gateway --provider ID | --mode native   (default: gateway)
  --more           ask the user for the scopes that --outside lacks
  --stay           keep the token for the next run, and do not revoke it
  --agent-id URL   where the identity document is published; without it, this program serves it
  --port PORT      for that, on 127.0.0.1 (default: 4000)
  --state FILE     for key and credentials (default: agent-state.json)
  --identity       only print the identity document`;

async function main(): Promise<void> {
  const text = { type: "string" } as const;
  const { values, positionals: [base] } = parseArgs({
    allowPositionals: true,
    options: {
      mode: { ...text, default: "gateway" }, provider: text, scope: { ...text, multiple: true }, call: text, outside: text,
      "agent-id": text, port: { ...text, default: "4000" }, state: { ...text, default: "agent-state.json" },
      identity: { type: "boolean", default: false }, more: { type: "boolean", default: false }, stay: { type: "boolean", default: false },
    },
  });
  const native = values.mode === "native";
  if (!base || !values.scope || !values.call || (!native && !values.provider)) throw new Error(USAGE);
  const identity = await Identity.load(values.state, values["agent-id"] ?? `http://127.0.0.1:${values.port}/agent.json`);
  if (values.identity) return console.log(JSON.stringify(identity.document(), null, 2));
  if (!values["agent-id"]) { // publish the identity document on this machine, for trying things out
    createServer((_, reply) => {
      reply.setHeader("Content-Type", "application/json").end(JSON.stringify(identity.document()));
    }).listen(Number(values.port), "127.0.0.1").unref();
  }
  const { scope: scopes, call, outside, more, stay, state } = values;
  await walk(new Client(identity, base), { native, provider: values.provider ?? "", scopes, call, outside, more, stay, state });
}

main().catch((error: unknown) => {
  const details = error instanceof Refusal && error.own ? ` ${JSON.stringify(error.details)}` : "";
  const isRefusal = [Refusal, RenewalRefused, LinkRefused].some((kind) => error instanceof kind);
  console.error(`${isRefusal ? "refused: " : ""}${error instanceof Error ? error.message : error}${details}`);
  process.exitCode = 1;
});
