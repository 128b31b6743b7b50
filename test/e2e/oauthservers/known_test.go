package oauthservers

// rows are the table's, in the order in which it is printed.
var rows = []string{
	"metadata", "iss on the callback", "access token's life", "refresh token", "a refresh rotates", "a refresh ends the old access token",
	"garbage as refresh token", "a refresh token twice", "… then the newer one", "two refreshes at once", "a refresh token is revoked",
	"… then its access token", "… the user's grant of the same browser", "… of another browser",
	"athd: handshake by the issuer alone", "athd: knows that it is one user", "athd: calls outlive the access token", "athd: refreshes for 17 calls at once",
	"athd: after a theft of a spent refresh token", "athd: after the end at the server", "athd: two agents of one browser", "athd: two agents of two browsers",
	"athd: one of two agents is ended, the other", "athd: grants revoked with the last agent",
}

// known is what each server does, and what athd makes of it.
var known = map[string]map[string]string{
	"oidc-provider": {
		"metadata": "OpenID", "iss on the callback": "yes", "access token's life": "3600", "refresh token": "yes",
		"a refresh rotates": "yes", "a refresh ends the old access token": "no", "garbage as refresh token": "400 invalid_grant",
		"a refresh token twice": "400 invalid_grant", "… then the newer one": "400 invalid_grant",
		"two refreshes at once": "1 of 2, 0 can go on", "a refresh token is revoked": "200", "… then its access token": "dead",
		"… the user's grant of the same browser": "dead", "… of another browser": "lives",
		"athd: handshake by the issuer alone": "yes", "athd: knows that it is one user": "yes", "athd: calls outlive the access token": "yes",
		"athd: refreshes for 17 calls at once": "1", "athd: after a theft of a spent refresh token": "asks for a new consent",
		"athd: after the end at the server": "asks for a new consent",
		"athd: two agents of one browser":   "calls go on, calls go on", "athd: two agents of two browsers": "calls go on, calls go on",
		"athd: one of two agents is ended, the other": "calls go on", "athd: grants revoked with the last agent": "2",
	},
	"cloudflare": {
		"metadata": "RFC 8414", "iss on the callback": "yes", "access token's life": "3600", "refresh token": "yes",
		"a refresh rotates": "yes", "a refresh ends the old access token": "no", "garbage as refresh token": "400 invalid_grant",
		"a refresh token twice": "200", "… then the newer one": "400 invalid_grant",
		"two refreshes at once": "2 of 2, 1 can go on", "a refresh token is revoked": "200", "… then its access token": "dead",
		"… the user's grant of the same browser": "dead", "… of another browser": "lives",
		"athd: handshake by the issuer alone": "yes", "athd: knows that it is one user": "no", "athd: calls outlive the access token": "yes",
		"athd: refreshes for 17 calls at once": "1", "athd: after a theft of a spent refresh token": "asks for a new consent",
		"athd: after the end at the server": "asks for a new consent",
		// A new consent ends all that the user gave to the client before.
		"athd: two agents of one browser": "asks for a new consent, calls go on", "athd: two agents of two browsers": "asks for a new consent, calls go on",
		"athd: one of two agents is ended, the other": "calls go on", "athd: grants revoked with the last agent": "0",
	},
	"zitadel": {
		"metadata": "OpenID", "iss on the callback": "no", "access token's life": "299", "refresh token": "yes",
		"a refresh rotates": "yes", "a refresh ends the old access token": "yes", "garbage as refresh token": "400 invalid_grant",
		"a refresh token twice": "400 invalid_grant", "… then the newer one": "200",
		"two refreshes at once": "1 of 2, 1 can go on", "a refresh token is revoked": "200", "… then its access token": "dead",
		"… the user's grant of the same browser": "lives", "… of another browser": "lives",
		"athd: handshake by the issuer alone": "yes", "athd: knows that it is one user": "yes", "athd: calls outlive the access token": "yes",
		"athd: refreshes for 17 calls at once": "1", "athd: after a theft of a spent refresh token": "calls go on",
		"athd: after the end at the server": "asks for a new consent",
		"athd: two agents of one browser":   "calls go on, calls go on", "athd: two agents of two browsers": "calls go on, calls go on",
		"athd: one of two agents is ended, the other": "calls go on", "athd: grants revoked with the last agent": "2",
	},
	"dex": {
		"metadata": "OpenID", "iss on the callback": "no", "access token's life": "599", "refresh token": "yes",
		"a refresh rotates": "yes", "a refresh ends the old access token": "no", "garbage as refresh token": "400 invalid_request",
		"a refresh token twice": "400 invalid_request", "… then the newer one": "200",
		"two refreshes at once": "1 of 2, 1 can go on", "a refresh token is revoked": "no endpoint", "… then its access token": "-",
		"… the user's grant of the same browser": "-", "… of another browser": "-",
		"athd: handshake by the issuer alone": "yes", "athd: knows that it is one user": "yes", "athd: calls outlive the access token": "yes",
		"athd: refreshes for 17 calls at once": "1", "athd: after a theft of a spent refresh token": "calls go on",
		"athd: after the end at the server": "-",
		// There is one refresh token for each user and client.
		"athd: two agents of one browser": "asks for a new consent, calls go on", "athd: two agents of two browsers": "asks for a new consent, calls go on",
		"athd: one of two agents is ended, the other": "calls go on", "athd: grants revoked with the last agent": "0",
	},
	"keycloak": { // with Revoke Refresh Token
		"metadata": "OpenID", "iss on the callback": "yes", "access token's life": "300", "refresh token": "yes",
		"a refresh rotates": "yes", "a refresh ends the old access token": "no", "garbage as refresh token": "400 invalid_grant",
		"a refresh token twice": "400 invalid_grant", "… then the newer one": "400 invalid_grant",
		"two refreshes at once": "1 of 2, 0 can go on", "a refresh token is revoked": "200", "… then its access token": "dead",
		"… the user's grant of the same browser": "dead", "… of another browser": "lives",
		"athd: handshake by the issuer alone": "yes", "athd: knows that it is one user": "yes", "athd: calls outlive the access token": "yes",
		"athd: refreshes for 17 calls at once": "1", "athd: after a theft of a spent refresh token": "asks for a new consent",
		"athd: after the end at the server": "asks for a new consent",
		"athd: two agents of one browser":   "calls go on, calls go on", "athd: two agents of two browsers": "calls go on, calls go on",
		"athd: one of two agents is ended, the other": "calls go on", "athd: grants revoked with the last agent": "2",
	},
	"spring": { // with reuse-refresh-tokens: false
		"metadata": "OpenID", "iss on the callback": "no", "access token's life": "299", "refresh token": "yes",
		"a refresh rotates": "yes", "a refresh ends the old access token": "yes", "garbage as refresh token": "400 invalid_grant",
		"a refresh token twice": "400 invalid_grant", "… then the newer one": "200",
		"two refreshes at once": "1 of 2, 1 can go on|2 of 2, 1 can go on", "a refresh token is revoked": "200", "… then its access token": "dead",
		"… the user's grant of the same browser": "lives", "… of another browser": "lives",
		"athd: handshake by the issuer alone": "yes", "athd: knows that it is one user": "yes", "athd: calls outlive the access token": "yes",
		"athd: refreshes for 17 calls at once": "1", "athd: after a theft of a spent refresh token": "calls go on",
		"athd: after the end at the server": "asks for a new consent",
		"athd: two agents of one browser":   "calls go on, calls go on", "athd: two agents of two browsers": "calls go on, calls go on",
		"athd: one of two agents is ended, the other": "calls go on", "athd: grants revoked with the last agent": "2",
	},
}
