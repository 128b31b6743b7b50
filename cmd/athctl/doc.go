// Command athctl is the operator's command line: it approves, denies, suspends
// and removes agents through the companion of a running athd, shows what a
// scope opens, and explains how a call would be judged.
//
//	export ATHCTL_SERVER=https://gateway.example.com
//	export ATHCTL_TOKEN_FILE=admin.token
//	athctl agents list --status pending
//	athctl agents approve ath_… --expires 30d
//	athctl scopes github
//	athctl explain --token ath_tk_… GET /ath/proxy/github/user
//
// athctl try is for the other side: it does what an agent does, to try a
// server out.
//
//	athctl try run --serve 127.0.0.1:0 --provider shop --call 'GET /api/products'
//
// docs/operations.md and docs/agents.md show them at work.
package main
