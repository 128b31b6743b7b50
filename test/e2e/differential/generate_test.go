package differential

import (
	"strings"
)

// Bytes that a fuzzer mutates become requests by this grammar: records end
// with a newline; the first byte of one is the door, the second the method,
// the third the set of headers, the rest the target below the door's prefix.
// There a byte from 0x80 up is a piece of the dictionary, so that one mutation
// writes, moves or doubles a whole piece; 0x01 at the start makes the target
// absolute; all other bytes are themselves.
const (
	maxRecords = 12
	maxTarget  = 2048
)

// pieces are what path confusion is made of.
var pieces = []string{
	"/", "//", "/./", "/../", "..", "%2e", "%2E", "%2e%2e/", "%252e%252e", "%252E", // dots
	"%2f", "%2F", "%252f", "%252F", "%5c", "%5C", "\\", "%255c", "a%2Fb", "%2F..%2F", "%2F%2F", // slashes
	";", ";x=y", "..;/", "%3b", "%3B", "?", "%3f", "%3F", "#", "%23", "%25", "&", // delimiters
	"%00", "%0d%0a", "%0D%0A", "%01", "%09", "%7F", "\x7f", "\t", "%C2%85", // control
	"%c0%ae", "%C0%AE", "%C0%AF", "%E0%80%AF", "%ff", "%FF", "%ED%A0%80", "\xff", "\xc0\xae", "\xe2\x82\xac", // bytes
	"%C3%A9", "e%CC%81", "%c3%a9", "%EF%BC%8F", "%EF%BC%8E", "%EF%BC%BC", "%EF%BC%85", "%CD%BE", "%E2%88%95", // text
	"%E2%80%8B", "%E2%80%AE", "%E2%80%A5", "%20", "%20/", ".%20", "+", " ", // what is stripped
	"%zz", "%", "%2", "%u002e", "%u2215", "...", ".json", "~1", "%41", "%7E", "%2A", "*", // spellings
	"[", "{", "|", "^", "`", "\"", "<", "@", ":", "!", "$", "'", "(", ",", "=",
	"http://evil.example/", "//evil.example/", "?x=%2f", "?t=ath_tk_", "?t=%61th_tk_x", "?\xff", "?a#b", "?a!b", // targets
	"ath/", "ath/proxy/", "proxy/plain/", "proxy/forge/", "admin/x", "agents/", ".well-known/ath.json", "health", "shop/", "shopping", // places
	"%2523", "%253f", "..%23", "..%253F", "%2525", "proxy/marks/", // marks that an API may take
}

// verbs are methods, good and bad.
var verbs = append([]string{"TRACE", "CONNECT", "get", "FOO!", "PROPFIND", "GE\tT", "PRI", ""}, methods...)

// A headerSet is what an agent may send beside a request line. It is made of
// a token for the request's provider and one for another.
type headerSet struct {
	name string
	make func(token, other string) []header
}

var headerSets = []headerSet{
	{"good", func(token, _ string) []header { return agents("Bearer " + token) }},
	{"lower-case scheme", func(token, _ string) []header { return agents("bearer " + token) }},
	{"none", func(_, _ string) []header { return nil }},
	{"no token", func(_, _ string) []header { return agents() }},
	{"no agent", func(token, _ string) []header { return []header{{"Authorization", "Bearer " + token}} }},
	{"two tokens", func(token, other string) []header { return agents("Bearer "+token, "Bearer "+other) }},
	{"one token twice", func(token, _ string) []header { return agents("Bearer "+token, "Bearer "+token) }},
	{"two tokens joined", func(token, other string) []header { return agents("Bearer " + token + ", Bearer " + other) }},
	{"an empty one behind", func(token, _ string) []header { return agents("Bearer "+token, "") }},
	{"an empty one before", func(token, _ string) []header { return agents("", "Bearer "+token) }},
	{"Basic beside", func(token, _ string) []header { return agents("Bearer "+token, "Basic eDp5") }},
	{"comma behind", func(token, _ string) []header { return agents("Bearer " + token + ",") }},
	{"Basic", func(token, _ string) []header { return agents("Basic " + token) }},
	{"token without scheme", func(token, _ string) []header { return agents(token) }},
	{"tab", func(token, _ string) []header { return agents("Bearer\t" + token) }},
	{"two spaces", func(token, _ string) []header { return agents("Bearer  " + token) }},
	{"space behind", func(token, _ string) []header { return agents("Bearer " + token + " ") }},
	{"parameters", func(token, _ string) []header { return agents("Bearer " + token + " realm=x") }},
	{"unknown token", func(_, _ string) []header {
		return agents("Bearer ath_tk_" + strings.Repeat("A", 16) + "_" + strings.Repeat("A", 43))
	}},
	{"two agents", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"X-ATH-Agent-ID", "https://other.example/a.json"})
	}},
	{"one agent twice", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"X-ATH-Agent-ID", agentID})
	}},
	{"two agents joined", func(token, _ string) []header {
		return []header{{"Authorization", "Bearer " + token}, {"X-ATH-Agent-ID", agentID + "," + agentID}}
	}},
	{"underscores", func(token, _ string) []header { return append(agents("Bearer "+token), header{"x_ath_agent_id", "x"}) }},
	{"X-ATH headers", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"X-ATH-Session", "x"}, header{"x-ath-", "y"}, header{"X-Ath-User-Token", token})
	}},
	{"cookies", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"Cookie", "__Host-ath_session=1; a=b"}, header{"Cookie", "t=" + token})
	}},
	{"connection names the agent", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"Connection", "x-ath-agent-id"})
	}},
	{"connection names the token", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"Connection", "authorization"})
	}},
	{"form without token", func(_, _ string) []header {
		return append(agents(), header{"Content-Type", "application/x-www-form-urlencoded"})
	}},
	{"cookie alone", func(token, _ string) []header { return append(agents(), header{"Cookie", "access_token=" + token}) }},
	{"another header alone", func(token, _ string) []header { return append(agents(), header{"X-Other", "Bearer " + token}) }},
	{"the path elsewhere", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"X-Original-URL", "/admin"}, header{"X-Rewrite-URL", "/admin"}, header{"X_Original_URL", "/admin"})
	}},
	{"another method", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"X-HTTP-Method-Override", "DELETE"}, header{"X-HTTP-Method", "DELETE"}, header{"X-Method-Override", "DELETE"})
	}},
	{"two hosts", func(token, _ string) []header {
		return append(agents("Bearer "+token), header{"Host", "based.example"})
	}},
}

// agents is an agent's headers with these Authorization headers.
func agents(authorization ...string) []header {
	out := []header{{"X-ATH-Agent-ID", agentID}}
	for _, a := range authorization {
		out = append(out, header{"Authorization", a})
	}
	return out
}

// generate turns bytes into requests.
func (w *world) generate(data []byte) (tries []try) {
	for line := range strings.SplitSeq(string(data), "\n") {
		if len(line) < 3 {
			continue
		}
		if len(tries) == maxRecords {
			break
		}
		d := doors[int(line[0])%len(doors)]
		set := headerSets[int(line[2])%len(headerSets)]
		token := w.tokens[d.provider].Secret().Reveal()
		other := w.tokens["root"].Secret().Reveal()
		tries = append(tries, try{
			door: d, method: verbs[int(line[1])%len(verbs)], target: expand(d.prefix, line[3:]), headers: set.make(token, other),
		})
	}
	return tries
}

func expand(prefix, body string) string {
	var b strings.Builder
	if rest, absolute := strings.CutPrefix(body, "\x01"); absolute {
		body = rest
	} else {
		b.WriteString(prefix)
	}
	for i := range len(body) {
		if c := body[i]; c >= 0x80 {
			b.WriteString(pieces[int(c&0x7f)%len(pieces)])
		} else if c != '\r' { // it would end the request line
			b.WriteByte(c)
		}
		if b.Len() > maxTarget {
			break
		}
	}
	return b.String()
}
