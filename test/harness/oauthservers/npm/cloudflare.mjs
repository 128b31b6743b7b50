// Cloudflare's OAuth server for Workers, which many MCP servers are built on, in
// plain Node: its key-value store is a Map here, its Worker an http server. It has
// no log-in of its own: the user is who the page is told. What it is told is in the
// environment; ids and secrets of its clients are of its own choice.
import http from 'node:http';
import { register } from 'node:module';

register('./workers.mjs', import.meta.url);
const { OAuthAuthorizationServer } = await import('@cloudflare/workers-oauth-provider');
const { ADDRESS, ISSUER, REDIRECTS, OTHER_REDIRECTS, SCOPES, RESOURCE } = process.env;

class Store {
  held = new Map();
  live(key) {
    const entry = this.held.get(key);
    return entry && (!entry.ends || entry.ends > Date.now()) ? entry : undefined;
  }
  async get(key, as) {
    const entry = this.live(key);
    if (!entry) return null;
    return as === 'json' || as?.type === 'json' ? JSON.parse(entry.value) : entry.value;
  }
  async put(key, value, { metadata, expirationTtl, expiration } = {}) {
    const ends = expirationTtl ? Date.now() + expirationTtl * 1000 : (expiration ?? 0) * 1000;
    this.held.set(key, { value, metadata, ends });
  }
  async delete(key) {
    this.held.delete(key);
  }
  async list({ prefix = '' } = {}) {
    const keys = [...this.held.keys()].filter((name) => name.startsWith(prefix) && this.live(name));
    return { keys: keys.map((name) => ({ name, metadata: this.held.get(name).metadata })), list_complete: true };
  }
}

const env = { OAUTH_KV: new Store() };
const ctx = { waitUntil() {}, passThroughOnException() {} };
const clients = {};
const server = new OAuthAuthorizationServer({
  issuer: ISSUER,
  resources: [RESOURCE],
  scopesSupported: SCOPES.split(' '),
});
const api = server.getOAuthApi(env, ctx);
for (const [name, redirects] of [['athd', REDIRECTS], ['other', OTHER_REDIRECTS]]) {
  const client = await api.createClient({
    clientName: name,
    redirectUris: redirects.split(','),
    tokenEndpointAuthMethod: 'client_secret_post',
    grantTypes: ['authorization_code', 'refresh_token'],
  });
  clients[name] = [client.clientId, client.clientSecret];
}

async function authorize(request) {
  try {
    const asked = await api.parseAuthRequest(request.method === 'POST' ? new Request(request.url) : request);
    if (request.method !== 'POST') {
      const page = '<form method="post"><input name="username"><button>Allow</button></form>';
      return new Response(page, { headers: { 'content-type': 'text/html' } });
    }
    const userId = new URLSearchParams(await request.text()).get('username');
    const done = await api.completeAuthorization({ request: asked, userId, metadata: {}, scope: asked.scope, props: {} });
    return Response.redirect(done.redirectTo, 302);
  } catch (error) {
    if (error.redirectTo) return Response.redirect(error.redirectTo, 302);
    return new Response(`${error.code ?? 'error'}: ${error.description ?? error.message}`, { status: 400 });
  }
}

// What an API does with a token: it asks the library.
async function check(request) {
  const token = (request.headers.get('authorization') ?? '').replace(/^Bearer /, '');
  return new Response(null, { status: (await server.validateToken(RESOURCE, token, env)) ? 204 : 401 });
}

const [host, port] = ADDRESS.split(':');
http
  .createServer(async (req, res) => {
    try {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      const body = req.method === 'POST' ? Buffer.concat(chunks) : undefined;
      const request = new Request(ISSUER + req.url, { method: req.method, headers: req.headers, body });
      const { pathname } = new URL(request.url);
      const own = { '/authorize': authorize, '/api': check }[pathname];
      const out = await (own ? own(request) : server.fetch(request, env, ctx));
      res.writeHead(out.status, Object.fromEntries(out.headers));
      res.end(Buffer.from(await out.arrayBuffer()));
    } catch (error) {
      console.error(error);
      res.writeHead(500).end();
    }
  })
  .listen(Number(port), host, () => console.log(`ready ${JSON.stringify(clients)}`));
