// Package agentcli is `athctl try`: an agent that goes through the handshake step by
// step or all at once, keeps what it was given in a file, calls APIs with it and says
// what refusals mean. It plays an agent and knows no operator's credentials.
package agentcli
