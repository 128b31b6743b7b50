// A certified OpenID provider (npm oidc-provider), for tests: strict, ends a whole
// line of tokens when a refresh token comes twice, and lets all grants of one
// browser session share that fate. What it is told is in the environment.
import Provider from 'oidc-provider';

const { ADDRESS, ISSUER, REDIRECTS, OTHER_REDIRECTS, SECRET, OTHER_SECRET, LIFE, UNUSED, SCOPES } = process.env;
const client = (client_id, client_secret, redirects) => ({
  client_id,
  client_secret,
  redirect_uris: redirects.split(','),
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'client_secret_post',
});
const provider = new Provider(ISSUER, {
  clients: [client('athd', SECRET, REDIRECTS), client('other', OTHER_SECRET, OTHER_REDIRECTS)],
  scopes: ['openid', 'offline_access', ...SCOPES.split(' ')],
  claims: { openid: ['sub'] },
  findAccount: (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  pkce: { required: () => true },
  clockTolerance: 0,
  ttl: {
    AccessToken: (ctx, token, c) => (c.clientId === 'athd' ? Number(LIFE) : 3600),
    AuthorizationCode: 60,
    Grant: 86400,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: Number(UNUSED), // each anew: one that nobody uses ends
    Session: 86400,
  },
  rotateRefreshToken: true,
  cookies: { keys: [SECRET] },
  features: { devInteractions: { enabled: true }, revocation: { enabled: true } },
});
provider.on('server_error', (ctx, error) => console.error(error));
const [host, port] = ADDRESS.split(':');
provider.listen(Number(port), host, () => console.log(`ready ${JSON.stringify({ athd: ['athd', SECRET], other: ['other', OTHER_SECRET] })}`));
