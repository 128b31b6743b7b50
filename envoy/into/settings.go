package into

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"
)

// needed are the settings that are changed where they say something else, with
// the values that may stay. All others of the same name stay as they are.
var needed = map[string][]string{
	"normalize_path":                   nil,
	"path_with_escaped_slashes_action": nil,
	"use_remote_address":               nil,
	"strip_trailing_host_dot":          nil,
	"headers_with_underscores_action":  {"DROP_HEADER"},
}

// settings adds those of the connection manager, beside its filters.
func (p *plan) settings(m *manager) error {
	if there := m.get("original_ip_detection_extensions"); there.there() {
		return refuse(there.Line, "original_ip_detection_extensions and use_remote_address, by which athd's limits know clients, exclude each other",
			"remove it, and say in athd.yaml by envoy.trusted_hops how many proxies stand before Envoy")
	}
	if err := p.sameHops(m); err != nil {
		return err
	}
	missing, err := p.merge(m.spot, p.parts.settings)
	if err != nil {
		return err
	}
	p.note(m.Content[m.index("http_filters")].Line, "%s", p.wholeListener())
	return p.addMembers(m.spot, m.index("http_filters"), missing)
}

// wholeListener says what the settings do to those who are no agents.
func (p *plan) wholeListener() string {
	out := "for the whole listener: headers with underscores are refused"
	for _, one := range p.parts.settings {
		if one.key.Value == "path_with_escaped_slashes_action" && one.value.Value == "REJECT_REQUEST" {
			out += ", and so is %2F in paths"
		}
	}
	if p.config.Parts.TrustedHops == 0 {
		out += "; what clients say in X-Forwarded-For is dropped (behind a load balancer set envoy.trusted_hops in athd.yaml)"
	}
	return out
}

// sameHops wants both sides to count the same proxies.
func (p *plan) sameHops(m *manager) error {
	there := m.get("xff_num_trusted_hops")
	if !there.there() || there.Value == fmt.Sprint(p.config.Parts.TrustedHops) {
		return nil
	}
	return refuse(there.Line, fmt.Sprintf("xff_num_trusted_hops is %s, and envoy.trusted_hops of athd.yaml %d", short(there.Value), p.config.Parts.TrustedHops),
		"say in both how many proxies stand before Envoy")
}

// merge returns what an object lacks, and plans what it must say otherwise.
func (p *plan) merge(object spot, want []piece) (missing []piece, err error) {
	for _, one := range want {
		name := one.key.Value
		there := object.get(name)
		switch {
		case object.index(name) < 0:
			missing = append(missing, one)
		case !there.there():
			err = refuse(object.Content[object.index(name)].Line, name+" has no value", "remove the line")
		case name == "access_log":
			err = p.accessLog(there, one)
		case name == "scheme_header_transformation":
			p.note(there.Line, "%s stays as it is; athd bootstrap says match_upstream: true, for APIs behind TLS and HTTP/2", name)
		case name == "local_reply_config":
			err = p.localReplies(there, one)
		case name == "early_header_mutation_extensions":
			if err = there.list(name); err == nil {
				err = p.addItems(there, len(there.Content), one.children())
			}
		case one.value.Kind == yaml.MappingNode:
			err = p.mergeObject(there, one)
		default:
			err = p.setting(there, name, one.value.Value)
		}
		if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

func (p *plan) mergeObject(there spot, one piece) error {
	name := one.key.Value
	if there.Style&yaml.FlowStyle == 0 {
		if err := there.object(name); err != nil {
			return err
		}
	}
	missing, err := p.merge(there, one.children())
	if err != nil {
		return err
	}
	if there.Style&yaml.FlowStyle == 0 {
		return p.addMembers(there, 0, missing)
	}
	slices.Reverse(missing) // each goes before the one before
	for _, m := range missing {
		if m.value.Kind != yaml.ScalarNode {
			return there.object(name)
		}
		if err := p.addShort(there, name, m.key.Value+": "+m.value.Value); err != nil {
			return err
		}
	}
	return nil
}

// setting changes one word or number where it must be.
func (p *plan) setting(there spot, name, value string) error {
	may, must := needed[name]
	switch {
	case !isText(there) || there.Value == value || slices.Contains(may, there.Value):
		return nil
	case !must:
		p.note(there.Line, "%s stays %s; athd bootstrap says %s", name, short(there.Value), value)
		return nil
	}
	p.note(there.Line, "%s was %s, for the whole listener", name, short(there.Value))
	return p.replace(there, name, value)
}

// ofAthd is of requests that athd answers itself. Its own log writes them without
// what is secret in them.
const ofAthd = "{header_filter: {header: {name: ':path', string_match: {prefix: /ath/}, invert_match: true}}}"

// accessLog adds athd's log to others, and keeps those from writing the codes
// and sessions that the handshake's paths carry.
func (p *plan) accessLog(there spot, ours piece) error {
	if err := there.list("access_log"); err != nil {
		return err
	}
	without, err := member("filter", ofAthd)
	if err != nil {
		return err
	}
	for _, log := range there.items() {
		switch {
		case log.get("filter").there():
			p.note(log.Line, "this access log has a filter: see that it leaves out paths below /ath/, whose queries carry codes")
		case log.Style&yaml.FlowStyle != 0:
			err = p.addShort(log, "access_log", "filter: "+ofAthd)
		default:
			if err = log.object("access_log"); err == nil {
				err = p.addMembers(log, after(log, "name"), []piece{without.says("# The handshake's requests are in athd's log, below, without their secrets.")})
			}
		}
		if err != nil {
			return err
		}
	}
	return p.addItems(there, len(there.Content), ours.children())
}

// localReplies keeps mappers that are there from writing over athd's answers.
// The others of athd's would write over theirs, and stay out.
func (p *plan) localReplies(there spot, ours piece) error {
	if s := there.get("body_format"); s.there() {
		p.note(s.Line, "body_format changes athd's refusals, too: agents do not understand them then; give it to mappers of your own")
	}
	mappers := there.get("mappers")
	if !mappers.there() {
		return nil
	}
	if err := mappers.list("mappers"); err != nil {
		return err
	}
	for _, one := range ours.children() {
		if one.key.Value == "mappers" {
			shield := one.children()[0]
			return p.addItems(mappers, 0, []piece{shield.says("# athd's own refusals stay as they are: those have a content type.")})
		}
	}
	return nil
}
