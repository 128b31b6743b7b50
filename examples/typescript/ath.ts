// What an agent needs to speak the Agent Trust Handshake (ATH) v0.1: Identity and Client.
// Copy this file; agent.ts shows its use.

import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { type JWK, SignJWT, exportJWK, generateKeyPair } from "jose";

const TIMEOUT = 15_000; // milliseconds, of each request
const LIMIT = 1 << 20; // bytes of a reply

interface Credentials { client_id: string; client_secret: string }
interface Offer { provider_id: string; available_scopes: string[] }
interface App { app_id: string; api_base: string; auth: { scopes_supported: string[] } }
interface Approval { provider_id: string; approved_scopes: string[] }
interface Registration extends Credentials { agent_status: string; approved_providers: Approval[] }
interface Authorization { authorization_url: string; ath_session_id: string }
interface Token { access_token: string; expires_in: number; effective_scopes: string[]; agent_id: string }
interface Reply { status: number; body: string }

/** A reply that is not a success: what ATH servers say about it. */
export class Refusal extends Error {
  status: number;
  code: string;
  details: Record<string, unknown>;

  constructor(status: number, body: string) {
    let said: { code?: string; message?: string; details?: Record<string, unknown> } | null = null;
    try { said = JSON.parse(body); } catch { /* something else than ATH has answered */ }
    super(`${status} ${said?.code ?? ""}: ${said?.message ?? "no reason given"}`);
    this.status = status;
    this.code = said?.code ?? "";
    this.details = said?.details ?? {};
  }
}

/**
 * Who the agent is: a URL, and the key whose public half is published there. The file also
 * keeps the credentials that servers gave; all of it is secret.
 */
export class Identity {
  path: string;
  kept: { agent_id: string; key: JWK; clients: Record<string, Credentials> };

  private constructor(path: string, kept: Identity["kept"]) {
    this.path = path;
    this.kept = kept;
  }

  static async load(path: string, agentId: string): Promise<Identity> {
    if (existsSync(path)) {
      const kept = JSON.parse(readFileSync(path, "utf8")) as Identity["kept"];
      if (kept.agent_id !== agentId) throw new Error(`${path} is of ${kept.agent_id}: name another file with --state`);
      return new Identity(path, kept);
    }
    const { privateKey } = await generateKeyPair("ES256", { extractable: true });
    const identity = new Identity(path, { agent_id: agentId, key: await exportJWK(privateKey), clients: {} });
    identity.save();
    return identity;
  }

  save(): void {
    rmSync(`${this.path}.new`, { force: true });
    writeFileSync(`${this.path}.new`, JSON.stringify(this.kept, null, 2), { mode: 0o600, flag: "wx" });
    renameSync(`${this.path}.new`, this.path);
  }

  get id(): string { return this.kept.agent_id; }

  /** What must be published at the agent's id. */
  document() {
    const { kty, crv, x, y } = this.kept.key;
    return {
      ath_version: "0.1",
      agent_id: this.id,
      name: "Example Agent (TypeScript)",
      developer: { name: "Example Developers", id: "example-developers" },
      public_key: { kty, crv, x, y, use: "sig", alg: "ES256" },
    };
  }

  /** Proves to one audience, once, that the key of this identity is here. */
  attest(audience: string): Promise<string> {
    return new SignJWT()
      .setProtectedHeader({ alg: "ES256" })
      .setIssuer(this.id).setSubject(this.id).setAudience(audience)
      .setIssuedAt().setExpirationTime("1h").setJti(randomUUID())
      .sign(this.kept.key);
  }
}

/** One agent at one ATH server. base is the server's URL, without a slash at its end. */
export class Client {
  identity: Identity;
  base: string;
  callback: string; // the server's own: its last page shows the code

  constructor(identity: Identity, base: string) {
    this.identity = identity;
    this.base = base.replace(/\/+$/, "");
    this.callback = `${this.base}/ath/callback`;
    const url = new URL(this.base);
    if (url.protocol !== "https:" && !["127.0.0.1", "localhost", "[::1]"].includes(url.hostname)) {
      throw new Error("secrets are sent by https only, but to this machine");
    }
  }

  /** Whatever is not 2xx is thrown as Refusal. */
  async send(method: string, url: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    const reply = await fetch(url, {
      method,
      headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? null : JSON.stringify(body),
      redirect: "manual", // a secret goes to the server that it was meant for, and not to where that one points
      signal: AbortSignal.timeout(TIMEOUT),
    });
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of reply.body ?? []) {
      if ((size += part.length) > LIMIT) throw new Error(`the reply is longer than ${LIMIT} bytes`);
      parts.push(part);
    }
    const text = Buffer.concat(parts).toString("utf8");
    if (!reply.ok) throw new Refusal(reply.status, text);
    return { status: reply.status, body: text };
  }

  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    return JSON.parse((await this.send(method, this.base + path, body)).body) as T;
  }

  /** Gateway mode: all providers. */
  discoverGateway() { return this.ask<{ supported_providers: Offer[] }>("GET", "/.well-known/ath.json"); }

  /** Native mode: the one API that stands behind the server. */
  discoverApp() { return this.ask<App>("GET", "/.well-known/ath-app.json"); }

  async register(provider: string, scopes: string[]): Promise<Registration> {
    const reply = await this.ask<Registration>("POST", "/ath/agents/register", {
      agent_id: this.identity.id,
      agent_attestation: await this.identity.attest(this.base),
      developer: this.identity.document().developer,
      requested_providers: [{ provider_id: provider, scopes }],
      purpose: "To show how an agent does it",
      redirect_uris: [this.callback],
    });
    // The secret is told once.
    this.identity.kept.clients[this.base] = { client_id: reply.client_id, client_secret: reply.client_secret };
    this.identity.save();
    return reply;
  }

  credentials(): Credentials {
    const credentials = this.identity.kept.clients[this.base];
    if (!credentials) throw new Error(`not registered at ${this.base}`);
    return credentials;
  }

  async authorize(provider: string, scopes: string[]): Promise<Authorization> {
    return this.ask("POST", "/ath/authorize", {
      client_id: this.credentials().client_id,
      agent_attestation: await this.identity.attest(this.base),
      provider_id: provider,
      scopes,
      state: randomBytes(16).toString("hex"), // an agent with a redirect of its own compares it there
      user_redirect_uri: this.callback,
    });
  }

  async token(session: string, code: string): Promise<Token> {
    return this.ask("POST", "/ath/token", {
      ...this.credentials(),
      grant_type: "authorization_code",
      agent_attestation: await this.identity.attest(`${this.base}/ath/token`), // not the base alone
      code,
      ath_session_id: session,
    });
  }

  call(token: string, method: string, url: string): Promise<Reply> {
    return this.send(method, url, undefined, { Authorization: `Bearer ${token}`, "X-ATH-Agent-ID": this.identity.id });
  }

  revoke(token: string) { return this.ask<unknown>("POST", "/ath/revoke", { ...this.credentials(), token }); }
}
