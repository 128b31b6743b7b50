// What an agent needs to speak the Agent Trust Handshake (ATH) v0.1: Identity, Client and Access.
// Copy this file; agent.ts shows its use.

import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { type JWK, SignJWT, exportJWK, generateKeyPair } from "jose";

const TIMEOUT = 15_000; // milliseconds, of each request
const LIMIT = 1 << 20; // bytes of a reply
const AHEAD = 30_000; // milliseconds before its end in which a token is renewed
const PATIENCE = 600_000; // milliseconds for the user to open a link

interface Credentials { client_id: string; client_secret: string }
interface Offer { provider_id: string; available_scopes: string[] }
interface Gateway { gateway_id: string; consent_origin?: string; supported_providers: Offer[] }
interface App { app_id: string; api_base: string; consent_origin?: string; auth: { scopes_supported: string[]; registration_endpoint?: string } }
interface Approval { provider_id: string; approved_scopes: string[] }
interface Registration extends Credentials { agent_status: string; approved_providers: Approval[] }
interface Authorization { authorization_url: string; ath_session_id: string }
interface Token {
  access_token: string; expires_in: number; effective_scopes: string[]; agent_id: string;
  refresh_token?: string; refresh_expires_in?: number;
}
interface HeldToken { access_token: string; scopes: string[]; expires: number; refresh_token?: string | undefined }
interface Reply { status: number; body: string }

/**
 * A reply that is not a success: what ATH servers say about it. own says that it is the
 * server's: an API cannot send X-ATH-Decision-ID through the server, so that without it
 * nothing that a reply says is to be followed.
 */
export class Refusal extends Error {
  status: number;
  code: string;
  details: Record<string, unknown>;
  body: string;
  own: boolean;

  constructor(status: number, headers: Headers, body: string) {
    let said: { code?: string; message?: string; details?: Record<string, unknown> } | null = null;
    try { said = JSON.parse(body); } catch { /* something else than ATH has answered */ }
    super(`${status} ${said?.code ?? ""}: ${said?.message ?? "no reason given"}`);
    this.status = status;
    this.code = said?.code ?? "";
    this.details = said?.details ?? {};
    this.body = body;
    const decision = this.details["decision_id"];
    this.own = typeof decision === "string" && decision !== "" && headers.get("x-ath-decision-id") === decision;
  }
}

/** A token cannot be renewed any more: authorize again. */
export class RenewalRefused extends Error {}

/** A refusal has a link that does not lead to where the server asks its users: do not open it. */
export class LinkRefused extends Error {}

/**
 * Who the agent is: a URL, and the key whose public half is published there. The file also
 * keeps the credentials that servers gave; all of it is secret.
 */
export class Identity {
  path: string;
  kept: { agent_id: string; key: JWK; clients: Record<string, Credentials>; tokens?: Record<string, Record<string, HeldToken>> };

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
    if (!reply.ok) throw new Refusal(reply.status, reply.headers, text);
    return { status: reply.status, body: text };
  }

  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    return JSON.parse((await this.send(method, this.base + path, body)).body) as T;
  }

  /** Gateway mode: all providers. */
  discoverGateway() { return this.ask<Gateway>("GET", "/.well-known/ath.json"); }

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

  /** Another token, without the user. refreshToken stays good; several processes may share it. */
  async renew(refreshToken: string): Promise<Token> {
    try {
      const reply = await this.ask<Token>("POST", "/ath/token", {
        ...this.credentials(),
        grant_type: "refresh_token",
        agent_attestation: await this.identity.attest(`${this.base}/ath/token`), // a fresh one each time
        refresh_token: refreshToken,
      });
      return { refresh_token: refreshToken, ...reply };
    } catch (error) {
      if (!(error instanceof Refusal && ["TOKEN_INVALID", "TOKEN_REVOKED", "TOKEN_EXPIRED"].includes(error.code))) throw error;
      throw new RenewalRefused(`authorize again: ${error.message}`, { cause: error });
    }
  }

  /** What the API answers, whatever it is; only the server's own refusal is thrown. */
  async call(token: string, method: string, url: string): Promise<Reply> {
    try {
      return await this.send(method, url, undefined, { Authorization: `Bearer ${token}`, "X-ATH-Agent-ID": this.identity.id });
    } catch (error) {
      if (!(error instanceof Refusal) || error.own) throw error;
      return { status: error.status, body: error.body };
    }
  }

  /** Where the server asks its users, as discovery says, and not the reply to a call. */
  async consentOrigin(native: boolean): Promise<string> {
    if (native) {
      const app = await this.discoverApp();
      return new URL(app.consent_origin ?? app.auth.registration_endpoint ?? this.base).origin;
    }
    const gateway = await this.discoverGateway();
    return new URL(gateway.consent_origin ?? gateway.gateway_id).origin;
  }

  revoke(token: string) { return this.ask<unknown>("POST", "/ath/revoke", { ...this.credentials(), token }); }
}

/** What a person must do for an Access. What is not there it does not ask for. */
export interface People {
  /** A link that the same user opens, when the provider has ended the user's grant. */
  show?: (link: string) => void;
  /** Whether the user may be asked for these scopes, which the server says a call lacks; and the user's code. */
  more?: { approve: (scopes: string[]) => boolean | Promise<boolean>; consent: (link: string) => Promise<string> } | undefined;
}

/**
 * Calls as the agent for as long as the user's consent lasts; the file of its identity
 * keeps the token. It renews the token by itself. Calls may be made at once.
 */
export class Access {
  client: Client;
  native: boolean;
  provider: string;
  api: string;
  people: People;
  private tokens: Record<string, HeldToken>;
  private renewing: Promise<void> | undefined;
  private asking: Promise<boolean> | undefined;

  constructor(client: Client, native: boolean, provider: string, api: string, people: People = {}) {
    this.client = client;
    this.native = native;
    this.provider = provider;
    this.api = api;
    this.people = people;
    this.tokens = (client.identity.kept.tokens ??= {})[client.base] ??= {};
  }

  /** The token in use; undefined before the first one, and when it was given back. */
  get token(): HeldToken | undefined { return this.tokens[this.provider]; }

  keep(reply: Token): void {
    this.tokens[this.provider] = {
      access_token: reply.access_token, scopes: reply.effective_scopes,
      expires: Date.now() + reply.expires_in * 1000, refresh_token: reply.refresh_token,
    };
    this.client.identity.save();
  }

  /** Renews once for all calls that find the same token ended. */
  private async renew(old: HeldToken): Promise<void> {
    if (this.token !== old) return;
    this.renewing ??= this.client.renew(old.refresh_token ?? "").then((reply) => this.keep(reply))
      .finally(() => { this.renewing = undefined; });
    await this.renewing;
  }

  /** Gives a token back, with its renewal; without one, the token in use. */
  async revoke(token?: HeldToken): Promise<void> {
    const held = token ?? this.token;
    for (const secret of [held?.refresh_token, held?.access_token]) if (secret) await this.client.revoke(secret);
    if (token) return;
    delete this.tokens[this.provider];
    this.client.identity.save();
  }

  async call(method: string, path: string): Promise<Reply> {
    let renewed = false, asked = false, until = 0, pause = 1000;
    for (;;) {
      let token = this.token;
      if (!token) throw new Error(`no token for ${this.provider}`);
      try {
        if (token.refresh_token && Date.now() > token.expires - AHEAD && !renewed) {
          renewed = true;
          const old = token;
          await this.renew(old).catch((error: unknown) => {
            // While it is good, it is used where that fails for the moment.
            if (error instanceof RenewalRefused || Date.now() >= old.expires) throw error;
          });
          token = this.token ?? old;
        }
        return await this.client.call(token.access_token, method, this.api + path);
      } catch (error) {
        const refusal = error instanceof RenewalRefused ? error.cause : error;
        if (!(refusal instanceof Refusal && refusal.own)) throw error;
        const link = refusal.details["authorization_url"];
        if (refusal.details["reason"] === "reauthorization_required" && link && this.people.show) {
          if (until === 0) {
            this.people.show(await this.checked(link));
            until = Date.now() + PATIENCE;
          } else if (Date.now() > until) throw error;
          const wait = pause;
          await new Promise((done) => setTimeout(done, wait));
          pause = Math.min(pause * 1.5, 15_000);
          renewed = false;
        } else if (error === refusal && refusal.code === "TOKEN_EXPIRED" && token.refresh_token && !renewed) {
          renewed = true;
          await this.renew(token);
        } else if (error === refusal && refusal.code === "SCOPE_NOT_APPROVED" && this.people.more && !asked) {
          asked = true;
          const lacks = this.lacking(refusal, token);
          this.asking ??= this.askFor(lacks).finally(() => { this.asking = undefined; });
          if (!await this.asking) throw error;
        } else throw error;
      }
    }
  }

  /** The link, if it leads to the consent origin that discovery names. */
  private async checked(link: unknown): Promise<string> {
    const origin = await this.client.consentOrigin(this.native);
    if (typeof link !== "string" || !link.startsWith(`${origin}/`) || !/^[\x21-\x7e]*$/.test(link) || /["<>\\^`{|}]/.test(link)) {
      throw new LinkRefused(`the refusal has a link that does not lead to ${origin}: it is not opened`);
    }
    return link;
  }

  /** The scopes that a call lacks, if it is this provider's. */
  private lacking(refusal: Refusal, token: HeldToken): string[] {
    const next = refusal.details["next"] as { step?: unknown; provider_id?: unknown; scopes?: unknown } | undefined;
    if (next?.step !== "authorize" || next.provider_id !== this.provider || !Array.isArray(next.scopes)) return [];
    if (!next.scopes.every((s) => typeof s === "string" && /^[\x21-\x7e]+$/.test(s))) return [];
    return (next.scopes as string[]).filter((s) => !token.scopes.includes(s));
  }

  /** Asks for more scopes; what comes of it is a new token, and the old one is given back. */
  private async askFor(scopes: string[]): Promise<boolean> {
    const old = this.token, { more } = this.people;
    if (!old || !more || scopes.length === 0 || !await more.approve(scopes)) return false;
    try { // for what the operator has not approved the agent for; a new secret comes of it
      await this.client.register(this.provider, scopes);
    } catch (error) { // there may be nothing new to ask the operator for
      if (!(error instanceof Refusal && error.code === "CONFLICT")) throw error;
    }
    const asked = await this.client.authorize(this.provider, [...old.scopes, ...scopes]);
    this.keep(await this.client.token(asked.ath_session_id, await more.consent(asked.authorization_url)));
    await this.revoke(old);
    return true;
  }
}
