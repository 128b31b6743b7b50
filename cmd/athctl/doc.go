// Command athctl is the operator's command line: it approves, denies, suspends
// and removes agents through the companion of a running athd.
//
//	export ATHCTL_SERVER=https://gateway.example.com
//	export ATHCTL_TOKEN_FILE=admin.token
//	athctl agents list -status pending
//	athctl agents approve ath_… -expires 30d
//
// docs/operations.md shows it at work.
package main
