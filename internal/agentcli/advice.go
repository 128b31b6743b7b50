package agentcli

import (
	"github.com/athd/athd/ath"
	"github.com/athd/athd/attest"
)

// An advice is what an agent's author should know of a refusal. The tables of
// docs/agents.md are these, and a test holds them to it.
type advice struct{ cause, fix string }

// advices has one for every code of E-1.
func advices() map[ath.Code]advice {
	return map[ath.Code]advice{
		ath.InvalidAttestation:    {"the attestation is missing or not good; `details.reason` says which", "the table below, by `details.reason`; for `details.field` = `user_redirect_uri`, register that URI first"},
		ath.AgentNotRegistered:    {"no such `client_id`, or not its secret", "register; with a lost secret, `athctl try register --replace`"},
		ath.AgentUnapproved:       {"the agent waits for an operator, was denied or suspended, or its approval ended", "ask the operator, who sees it in `athctl agents list`; after `approval_expires`, register again"},
		ath.ProviderNotApproved:   {"nothing is approved for that provider, or it is misspelt", "register for it; `athctl try discover` lists the providers"},
		ath.ScopeNotApproved:      {"a scope that was asked for is not approved, or no scope of the token covers this call, or nothing was left of what was approved and consented to", "register for the scope, authorize again and have the user consent to it, which `athctl try call --ask` does; the operator sees the rules with `athctl scopes` and `athctl explain`"},
		ath.SessionNotFound:       {"the session is unknown, used or not consented to yet, or the code is not its own", "wait until the user is through, then send the code that the redirect or the last page holds; else authorize again"},
		ath.SessionExpired:        {"the user took longer than ten minutes", "authorize again"},
		ath.StateMismatch:         {"`state` is missing, or the browser's answer belongs to another session or browser", "send a fresh `state`, and have the link opened and finished in one browser"},
		ath.TokenInvalid:          {"there is no such ATH token, or it is not sent as `Authorization: Bearer`; or the user's grant at the provider ended (`details.reason` is `reauthorization_required`)", "send the token as `" + ath.TokenPath + "` gave it; for `reauthorization_required`, have the same user open `details.authorization_url`, if it is there and leads to the consent origin of discovery, and go on with the same token; else, or without one, authorize again"},
		ath.TokenExpired:          {"the token is older than it may be: an hour at most", "with a `refresh_token`, renew it: `athctl try renew`; else, or where that is refused, authorize again"},
		ath.TokenRevoked:          {"the agent or an operator has revoked the token, or an operator has ended what it stands for", "authorize again, if that was not on purpose"},
		ath.AgentIdentityMismatch: {"`X-ATH-Agent-ID` is missing or not the token's; or session, token or attestation are another agent's", "send the `agent_id` that registered, byte for byte"},
		ath.ProviderMismatch:      {"the token is for another provider than this URL", "use a token of that provider: authorize for it"},
		ath.UserDenied:            {"the user said no; or, with `details.reason` `user_ended`, an operator ended what the user had allowed before this authorization was through", "do not ask again at once; authorize again when the user wants it"},
		ath.OAuthError:            {"the provider's authorization server failed or refused; 503: it is away, or has given no new token for the user yet; or `grant_type` is neither `authorization_code` nor `refresh_token`", "try again later, after `Retry-After` where it is there; `details.provider_error` is the server's own error code where it sent one; if it stays, the operator sees the cause in athd's log by `decision_id`"},
		ath.InternalError:         {"503: athd, its store, the API behind it or the host of the agent's identity document (`details.reason` is `identity_unreachable`) is away, as the message says; else athd failed", "after `Retry-After` try again; if it stays, tell the operator the `decision_id`"},
		ath.InvalidRequest:        {"the request is not as it must be; `details.field` names the field; or the URL of a call is not canonical", "fix that field; send paths without `//`, `..`, `;` or needless escapes"},
		ath.Unauthorized:          {"neither the agent's own proof nor an admin token was sent", "send `client_id` and `client_secret`"},
		ath.Forbidden:             {"an admin token was sent whose role is too small", "send `client_id` and `client_secret`"},
		ath.NotFound:              {"no such path, provider or registration", "check server and path; `athctl try discover` lists the providers"},
		ath.MethodNotAllowed:      {"this path takes another method, which `Allow` names", "use that one"},
		ath.Conflict:              {"the agent is registered already and asks for nothing new; `details.client_id` is its own", "go on with that registration; with a lost secret, `athctl try register --replace`"},
		ath.PayloadTooLarge:       {"the body is larger than 64 KiB", "send less"},
		ath.RateLimited:           {"too many requests of the handshake; or, where the operator limits them, too many calls by one user's consent (discovery says how many in `calls_per_grant`), or too many streams at once (`details.reason` is `too_many_streams`). The API has its own 429 without `X-ATH-Decision-ID`", "wait as `Retry-After` says"},
	}
}

// reasons has one for every details.reason of INVALID_ATTESTATION.
func reasons() map[attest.Reason]advice {
	return map[attest.Reason]advice{
		attest.Malformed:   {"not a JWT with `iss`, `sub`, `aud`, `iat`, `exp` and `jti`", "send all six, each once; `jti` is a text of 1 to 256 bytes. The header needs `alg` only; a `typ`, if there, is `JWT`, and `crit` and `b64` are refused"},
		attest.Algorithm:   {"not signed with ES256", "sign with ES256 and a key of P-256"},
		attest.Expired:     {"`exp` is past", "sign a new one for each request; check the clock"},
		attest.Times:       {"`iat` is more than five minutes off, or `exp` more than an hour after it", "check the clock; `exp` = `iat` + 3600"},
		attest.Audience:    {"`aud` is not this server: `details.expected_audience` says what is", "sign for the server's public URL, which `--server` must name byte for byte; for `" + ath.TokenPath + "`, for that URL with `" + ath.TokenPath + "`"},
		attest.Issuer:      {"`iss` is neither the `agent_id` nor its origin", "send the `agent_id` as `iss` and as `sub`"},
		attest.Document:    {"there is no identity document at the `agent_id`, it is not acceptable, or it is at an address that athd may not ask", "it must answer 200 without redirect, from a public https address, within 64 KiB, and name that very `agent_id`, `ath_version`, `name` and `developer`; on your own machine athd needs `development: {allow_http: true, allow_private_hosts: true}`, and something must serve it: `athctl try identity --serve HOST:PORT`"},
		attest.Signature:   {"the key that signed is not the one in the identity document", "publish the document of the key you sign with: `athctl try identity`; after a change, athd looks again within a minute"},
		attest.Subject:     {"`sub` is another agent; reported without a reason, and after registration as `AGENT_IDENTITY_MISMATCH`", "sign as the agent that registered"},
		attest.Unreachable: {"reported as `INTERNAL_ERROR` (503): athd cannot reach the host of the identity document now, or it answers 5xx or 429; nothing is said against the attestation", "see that the host of the `agent_id` is up and answers within five seconds (on your own machine something must serve the document: `athctl try identity --serve HOST:PORT`), and after `Retry-After` try again"},
		attest.Replay:      {"its `jti` was used before", "sign a new one, with a `jti` of its own, for each request"},
	}
}
